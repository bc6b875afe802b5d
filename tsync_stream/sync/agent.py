"""The sync agent: makes Typesense show what MongoDB now holds for the keys of a batch.

Invariants: every attempt at a batch reads the documents again (`sync/attempt.py`), so a retry never writes old data
over new; a result is always reported, and says whether a write may still reach Typesense later.
"""

import logging
from collections.abc import Awaitable, Callable

from faust.types import StreamT

from tsync_stream.core.errors import DependencyUnavailable, TsyncError, unforeseen, without_frames
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult

log = logging.getLogger(__name__)

# Documents in one import request at the most; after a time-out fewer, down to one.
MAX_LINES = 1_000


class Sync:
    """What the agent does with a batch; one per replica."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._max_lines = MAX_LINES

    async def run(self, batch: SyncBatch) -> SyncResult:
        """Make one attempt at a batch. Raises `SyncFailed`: its sender decides about a retry (`sync/dispatch.py`)."""
        try:
            result = await self._attempt.run(batch, self._max_lines)
        except TsyncError as error:
            in_doubt = isinstance(error, DependencyUnavailable) and error.in_doubt
            if in_doubt:
                # Too much for the deadline, perhaps: the same request would only time out again.
                self._max_lines = max(1, self._max_lines // 2)
            # It is kept until the next attempt has ended, or longer: not with this one's documents.
            raise SyncFailed(without_frames(error), in_doubt=in_doubt) from None
        self._max_lines = min(MAX_LINES, self._max_lines * 2)
        return result


def sync_agent(sync: Callable[[], Sync]) -> Callable[[StreamT[SyncBatch]], Awaitable[None]]:
    """The agent's function. It always reports a result: the sender of the batch waits for one."""

    async def synchronise(batches: StreamT[SyncBatch]) -> None:
        async for batch in batches:
            try:
                result = await sync().run(batch)
            except SyncFailed as error:
                _report(batch, error)
            except Exception as error:  # noqa: BLE001 - it is reported, and the batch is retried
                log.error("sync: unforeseen %s; the batch is retried", unforeseen(error))  # noqa: TRY400
                cause = DependencyUnavailable(f"the sync agent failed with a batch in hand ({type(error).__name__})")
                _report(batch, SyncFailed(cause, in_doubt=True))
            else:
                if not batch.result.done():
                    batch.result.set_result(result)
            finally:
                # Without a result here, the agent was cancelled with the batch in hand.
                _report(batch, SyncFailed(DependencyUnavailable("the sync agent was stopped"), in_doubt=True))

    return synchronise


def _report(batch: SyncBatch, error: SyncFailed) -> None:
    if not batch.result.done():
        batch.result.set_exception(error)
