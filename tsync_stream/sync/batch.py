"""What travels between the queue and the sync agent: a batch of entries one way, its result the other."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bson.timestamp import Timestamp

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.model import Entry
from tsync_stream.source.documents import DocumentReader


@dataclass(slots=True)
class SyncBatch:
    """Entries of one lane's partitions, on their way to Typesense; `result` is always set, whatever happens."""

    reader: DocumentReader
    entries: Sequence[Entry]
    not_before: Timestamp
    lease_left_s: Callable[[], float]
    result: asyncio.Future["SyncResult"]


@dataclass(slots=True)
class SyncResult:
    """What a batch came to. `doubtful`: an attempt before the last one may still reach Typesense later."""

    written: int = 0
    deleted: int = 0
    dead_letters: int = 0
    doubtful: bool = False


class SyncFailed(TsyncError):
    """A batch was not synced: `cause` says why; `doubtful` whether an attempt may still reach Typesense."""

    def __init__(self, cause: TsyncError, *, doubtful: bool) -> None:
        self.cause = cause
        self.doubtful = doubtful
        super().__init__(str(cause))
