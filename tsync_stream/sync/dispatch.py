"""Sends a lane's batch to the sync agent until it is synced, however long that takes: the one retry loop of sync.

The first TYPESENSE_MAX_RETRIES attempts follow soon after each other. From then on health is red, and a server that
timed out is given longer pauses.

Invariants: a batch is given up only when it has to be (a lease is gone or wanted back, a stop), and then it stays
unacked; whatever may have been sent by then is stored as rechecks, or remembered as a doubt. An agent that gives no
sign of life loses its batch, and the right to send anything more of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from tsync_stream.cluster.assignment import partition_lease
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.model import Entry
from tsync_stream.core.wake import Backoff
from tsync_stream.source.documents import DocumentReader
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult
from tsync_stream.sync.in_doubt import Doubts
from tsync_stream.sync.lane_tools import LaneTools

# An agent gives a sign before every request, when its turn has come. A request ends by its deadline, a wait for a turn
# by twice that, and reading the documents soon.
SILENCE_S = 60.0
SILENCE_IN_REQUESTS = 4


class Syncing:
    """What stands between one lane and the sync agent. `may_go_on(fences)`: these leases are ours, and to be kept."""

    def __init__(
        self,
        name: str,
        tools: LaneTools,
        reader: DocumentReader,
        doubts: Doubts,
        may_go_on: Callable[[Mapping[int, int]], bool],
    ) -> None:
        self._check = f"sync, {name}"
        self._tools = tools
        self._reader = reader
        self._doubts = doubts
        self._may_go_on = may_go_on
        self._silence_s = max(SILENCE_S, SILENCE_IN_REQUESTS * tools.longest_request_s)
        self._backoff = Backoff(tools.backoff_s, tools.wake, busy_s=tools.deadline_s)

    async def sync(self, entries: Sequence[tuple[int, Entry]], fences: Mapping[int, int]) -> list[tuple[int, Entry]]:
        """Have the entries synced; returns those whose write is doubtful.

        Raises `DependencyUnavailable` when the batch has to be given up.
        """
        doubtful, done, size, failures = False, 0, len(entries), 0
        while done < len(entries):
            piece = entries[done : done + size]
            try:
                result = await self._sync_once([entry for _, entry in piece], fences)
            except SyncFailed as error:
                doubtful = doubtful or error.doubtful
                if error.doubtful:
                    self._doubts.add(fences)
                    # Too much for the deadlines, perhaps: less at once comes further before the next one passes.
                    size = max(1, len(piece) // 2)
                failures += 1
                self._tools.metrics.batches_retried.inc()
                person = isinstance(error.cause, ConfigurationError)
                waiting = person or failures >= self._tools.attempts
                if waiting:
                    self._show_failure(error.cause, needs_person=person)
                if not self._may_go_on(fences):
                    await self._give_up(entries, doubtful=doubtful)
                timed_out = isinstance(error.cause, DependencyUnavailable) and error.cause.timed_out
                await self._backoff.pause(busy=waiting and timed_out)
            else:
                failures = 0
                self._backoff.reset()
                self._tools.health.green(self._check)
                doubtful = doubtful or result.doubtful
                done, size = done + size, size * 2
        if doubtful:
            self._doubts.add(fences)
            return list(entries)
        lost = {partition for partition in fences if not self._still_owned(partition, fences[partition])}
        return [item for item in entries if item[0] in lost]

    def has_nothing_to_do(self) -> None:
        """What the last batch failed with is for its next owner to tell; no success of ours would end it."""
        self._tools.health.green(self._check)

    async def _give_up(self, entries: Sequence[tuple[int, Entry]], *, doubtful: bool) -> NoReturn:
        if doubtful:
            await self._tools.rechecks.add(entries)
        raise DependencyUnavailable("a batch is left in the queue for its next owner")

    async def _sync_once(self, entries: Sequence[Entry], fences: Mapping[int, int]) -> SyncResult:
        result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        leases = self._tools.leases
        sign_s, given_up = clock.now_s(), False

        def lease_left_s() -> float:
            """Of this batch's leases: a replica that was declared expired has new ones, but not these."""
            nonlocal sign_s
            sign_s = clock.now_s()
            ours = not given_up and all(self._still_owned(*item) for item in fences.items())
            return leases.time_left_s() if ours else 0.0

        batch = SyncBatch(self._reader, entries, leases.operation_time, lease_left_s, result)
        try:
            async with asyncio.timeout(self._silence_s):
                await self._tools.send(batch)
        except TimeoutError:
            raise SyncFailed(DependencyUnavailable("no sync agent takes a batch"), doubtful=False) from None
        while True:
            done, _ = await asyncio.wait({result}, timeout=self._silence_s)
            if done:
                return result.result()
            if clock.now_s() - sign_s >= self._silence_s:
                given_up = True
                result.cancel()
                raise SyncFailed(DependencyUnavailable("the sync agent gives no sign of life"), doubtful=True)

    def _still_owned(self, partition: int, fence: int) -> bool:
        return self._tools.leases.still_ours(partition_lease(partition), fence)

    def _show_failure(self, cause: TsyncError, *, needs_person: bool) -> None:
        next_step = "nothing is written until it is fixed" if needs_person else "retrying; the queue grows meanwhile"
        self._tools.health.red(self._check, f"{cause}; {next_step}", needs_person=needs_person)
