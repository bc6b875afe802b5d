"""The sync agent: makes Typesense show what MongoDB now holds for the keys of a batch.

Invariants: every attempt at a batch reads again (`sync/attempt.py`), so that a retry can never put old data over new;
a result is always reported; what an attempt may have left behind at Typesense is told with it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import stamina
from faust.types import StreamT

from tsync_stream.core.errors import DependencyUnavailable, TsyncError, unforeseen, without_frames
from tsync_stream.core.model import Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult

log = logging.getLogger(__name__)

# Documents in one import request at the most; after a time-out fewer, down to one.
MAX_LINES = 1_000


@dataclass(slots=True)
class _Doubt:
    """Whether any attempt at a batch may still reach Typesense."""

    any: bool = False


class Sync:
    """What the agent does with a batch; one per replica."""

    def __init__(
        self,
        route: Route,
        target: TypesenseTarget,
        dead_letters: DeadLetters,
        metrics: Metrics,
        settings: Settings,
        schema: LiveSchema,
    ) -> None:
        self._attempt = Attempt(route, target, dead_letters, metrics, settings, schema)
        self._backoff_s = settings.typesense.retry_backoff_s
        more_attempts = settings.typesense.max_retries - 1
        self._retry = _retry(more_attempts, 2 * self._backoff_s) if more_attempts else None
        self._max_lines = MAX_LINES

    async def run(self, batch: SyncBatch) -> SyncResult:
        """Sync one batch. Raises `SyncFailed` when its attempts are used up, or at once if waiting cannot help."""
        doubt = _Doubt()
        try:
            try:
                # Nearly always the only one: a retry's machinery would take longer than all that we do.
                result = await self._noted_attempt(batch, doubt)
            except DependencyUnavailable:
                if self._retry is None:
                    raise
                await asyncio.sleep(self._backoff_s)
                result = await self._retry(self._noted_attempt, batch, doubt)
        except TsyncError as error:
            raise SyncFailed(error, doubtful=doubt.any) from error
        result.doubtful = result.doubtful or doubt.any
        self._max_lines = min(MAX_LINES, self._max_lines * 2)
        return result

    async def _noted_attempt(self, batch: SyncBatch, doubt: _Doubt) -> SyncResult:
        try:
            return await self._attempt.run(batch, self._max_lines)
        except TsyncError as error:
            if isinstance(error, DependencyUnavailable) and error.doubtful:
                doubt.any = True
                # Too much for the deadline, perhaps: the same request would only time out again.
                self._max_lines = max(1, self._max_lines // 2)
            # It is kept until the next attempt has ended, or longer: not with this one's documents.
            raise without_frames(error)  # noqa: B904 - that would be a cause again


def _retry(attempts: int, first_pause_s: float) -> stamina.BoundAsyncRetryingCaller:
    return stamina.AsyncRetryingCaller(attempts=attempts, timeout=None, wait_initial=first_pause_s).on(
        DependencyUnavailable
    )


def sync_agent(sync: Callable[[], Sync]) -> Callable[[StreamT[SyncBatch]], Awaitable[None]]:
    """The agent's function. It always reports a result: whoever sent the batch waits for one."""

    async def synchronise(batches: StreamT[SyncBatch]) -> None:
        async for batch in batches:
            try:
                result = await sync().run(batch)
            except SyncFailed as error:
                _report(batch, error)
            except Exception as error:  # noqa: BLE001 - it is told, and the batch is not lost
                log.error("sync: unforeseen %s; the batch is tried again", unforeseen(error))  # noqa: TRY400
                cause = DependencyUnavailable(f"the sync agent failed with a batch in hand ({type(error).__name__})")
                _report(batch, SyncFailed(cause, doubtful=True))
            else:
                if not batch.result.done():
                    batch.result.set_result(result)
            finally:
                # Cancelled, then: the agent is being stopped under the batch.
                _report(batch, SyncFailed(DependencyUnavailable("the sync agent was stopped"), doubtful=True))

    return synchronise


def _report(batch: SyncBatch, error: SyncFailed) -> None:
    if not batch.result.done():
        batch.result.set_exception(error)
