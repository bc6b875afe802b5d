"""What passes between a lane and the sync agent: a batch of entries one way, its result the other.

A batch mixes routes. Invariant: the outcome of each route's part is known apart, so that a part that is done is not
written again because another one failed.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from bson.timestamp import Timestamp

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.model import Entry
from tsync_stream.source.documents import DocumentReader


@dataclass(slots=True)
class SyncBatch:
    """Entries of one lane's partitions. `result` is always set, whatever happens.

    `lease_left_s` returns for how many more seconds the batch's leases are ours; each call is also a sign of life.
    """

    reader: DocumentReader
    entries: Sequence[Entry]
    not_before: Timestamp
    lease_left_s: Callable[[], float]
    result: asyncio.Future["SyncResult"]


@dataclass(slots=True)
class Part:
    """The entries of one route in a batch. `turn`: the parts of a batch share its reader, one at a time.

    `parts` is how many parts may be under way at once: they also share the bytes of one import request.
    """

    reader: DocumentReader
    turn: asyncio.Lock
    entries: Sequence[Entry]
    not_before: Timestamp
    lease_left_s: Callable[[], float]
    parts: int = 1


@dataclass(slots=True)
class SyncResult:
    """How many documents were written, deleted and refused.

    `in_doubt` are the routes of which a write may still reach Typesense later.
    """

    written: int = 0
    deleted: int = 0
    dead_letters: int = 0
    in_doubt: Collection[str] = ()


class SyncFailed(TsyncError):
    """An attempt at a batch, or at a part, failed. `cause` says why.

    `in_doubt`: a write of it may still reach Typesense later.
    """

    def __init__(self, cause: TsyncError, *, in_doubt: bool) -> None:
        self.cause = cause
        self.in_doubt = in_doubt
        super().__init__(str(cause))


class PartsFailed(SyncFailed):
    """Some routes' parts of a batch failed: `failed`, by route. All others are synced.

    `in_doubt_but_synced` are those of the others of which a write may still reach Typesense later.
    """

    def __init__(self, failed: Mapping[str, SyncFailed], in_doubt_but_synced: Collection[str] = ()) -> None:
        first = next(iter(failed.values()))
        self.failed = failed
        self.in_doubt_but_synced = in_doubt_but_synced
        super().__init__(first.cause, in_doubt=any(failure.in_doubt for failure in failed.values()))
