"""The sync agent: makes Typesense show what MongoDB now holds for the keys of a batch.

The parts of a batch, one for each route, are synced side by side: they read in turns, and their requests overlap, since
Typesense works off each collection by itself.

Invariants: every attempt at a batch reads the documents again (`sync/attempt.py`), so a retry never writes old data
over new; a result is always reported, and says whether a write may still reach Typesense later. When it is reported, no
part is under way any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from faust.types import StreamT

from tsync_stream.core.errors import DependencyUnavailable, TsyncError, unforeseen, without_frames
from tsync_stream.core.events import event
from tsync_stream.core.model import Entry
from tsync_stream.core.tasks import end_tasks
from tsync_stream.sink.load_control import MOST_DOCUMENTS
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import Part, PartsFailed, SyncBatch, SyncFailed, SyncResult

log = logging.getLogger(__name__)

# Documents in one import request at the most; after a time-out fewer, down to one.
MAX_LINES = MOST_DOCUMENTS
# Of one batch. More would hardly be faster, and each needs memory for a request.
PARTS_AT_ONCE = 4


class Sync:
    """What the agent does with a batch; one per replica. `attempts` are those at each route, by its name."""

    def __init__(self, attempts: Mapping[str, Attempt]) -> None:
        self._attempts = attempts
        self._max_lines = dict.fromkeys(attempts, MAX_LINES)

    async def run(self, batch: SyncBatch) -> SyncResult:
        """Make one attempt at a batch. Raises `SyncFailed`: its sender decides about a retry (`sync/dispatch.py`)."""
        only = next(iter(self._attempts)) if len(self._attempts) == 1 else None
        entries = by_route(batch.entries) if only is None else {only: batch.entries}
        at_once, turn = min(len(entries), PARTS_AT_ONCE), asyncio.Lock()
        parts = {
            route: Part(batch.reader, turn, some, batch.not_before, batch.lease_left_s, at_once)
            for route, some in entries.items()
        }
        if len(parts) > 1:
            return await self._run_parts(parts)
        ((route, part),) = parts.items()
        try:
            return await self._run_part(route, part)
        except SyncFailed as error:
            raise PartsFailed({route: error}) from None

    async def _run_parts(self, parts: Mapping[str, Part]) -> SyncResult:
        places = asyncio.Semaphore(PARTS_AT_ONCE)

        async def run(route: str, part: Part) -> SyncResult | SyncFailed:
            async with places:
                try:
                    return await self._run_part(route, part)
                except SyncFailed as error:
                    return error

        tasks = {route: asyncio.create_task(run(route, part)) for route, part in parts.items()}
        try:
            await asyncio.wait(tasks.values())
        finally:
            await end_tasks(tasks.values())
        return _together({route: task.result() for route, task in tasks.items()})

    async def _run_part(self, route: str, part: Part) -> SyncResult:
        max_lines = self._max_lines
        try:
            result = await self._attempts[route].run(part, max_lines[route])
        except TsyncError as error:
            in_doubt = isinstance(error, DependencyUnavailable) and error.in_doubt
            if in_doubt:
                # Too much for the deadline, perhaps: the same request would only time out again.
                max_lines[route] = max(1, max_lines[route] // 2)
            # It is kept until the next attempt has ended, or longer: not with this one's documents.
            raise SyncFailed(without_frames(error), in_doubt=in_doubt) from None
        max_lines[route] = min(MAX_LINES, max_lines[route] * 2)
        return result


def by_route(entries: Iterable[Entry]) -> Mapping[str, Sequence[Entry]]:
    """The entries of each route, in their order (pure)."""
    found: dict[str, list[Entry]] = {}
    for route, some in groupby(entries, key=attrgetter("route")):
        found.setdefault(route, []).extend(some)
    return found


def _together(outcomes: Mapping[str, SyncResult | SyncFailed]) -> SyncResult:
    """The result of a batch from those of its parts (pure). Raises `PartsFailed` if any of them failed."""
    results = [outcome for outcome in outcomes.values() if isinstance(outcome, SyncResult)]
    in_doubt = [route for result in results for route in result.in_doubt]
    failed = {route: outcome for route, outcome in outcomes.items() if isinstance(outcome, SyncFailed)}
    if failed:
        raise PartsFailed(failed, in_doubt)
    return SyncResult(
        written=sum(result.written for result in results),
        deleted=sum(result.deleted for result in results),
        dead_letters=sum(result.dead_letters for result in results),
        in_doubt=in_doubt,
    )


def sync_agent(sync: Callable[[], Sync]) -> Callable[[StreamT[SyncBatch]], Awaitable[None]]:
    """The agent's function. It always reports a result: the sender of the batch waits for one."""

    async def synchronise(batches: StreamT[SyncBatch]) -> None:
        async for batch in batches:
            try:
                result = await sync().run(batch)
            except SyncFailed as error:
                _report(batch, error)
            except Exception as error:  # noqa: BLE001 - it is reported, and the batch is retried
                log.error(  # noqa: TRY400
                    "sync: unforeseen %s; the batch is retried", unforeseen(error), extra=event("sync.unforeseen")
                )
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
