"""What passes between a lane and the sync agent: a batch of entries one way, its result the other."""

import asyncio
from collections.abc import Callable, Sequence
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
class SyncResult:
    """How many documents were written, deleted and refused. `in_doubt`: a write may still reach Typesense later."""

    written: int = 0
    deleted: int = 0
    dead_letters: int = 0
    in_doubt: bool = False


class SyncFailed(TsyncError):
    """An attempt at a batch failed. `cause` says why; `in_doubt`: a write of it may still reach Typesense later."""

    def __init__(self, cause: TsyncError, *, in_doubt: bool) -> None:
        self.cause = cause
        self.in_doubt = in_doubt
        super().__init__(str(cause))
