"""The change feed: reads the change stream, on a connection of its own, into the capture agent's channel.

Invariants: the feed reads whole batches and never skips one; while it is paused, the oplog holds the changes. Until
the first batch arrives, health says since when nothing is captured, and why. A term that ends while its stream still
opens, or a stop, leaves no scan running on the server.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from bson.timestamp import Timestamp

from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.term import LONGEST_READ_S, CapturedChanges, CaptureTerm
from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace, linger_s
from tsync_stream.core.model import Position, Token
from tsync_stream.core.tasks import end_tasks
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import Settings
from tsync_stream.source.change_stream import ChangeBatch, ChangeStream
from tsync_stream.source.driver import LONGEST_OPENING_S, end_client, stream_client
from tsync_stream.source.stream_scope import StreamScope

LOOK_INTERVAL_S = 0.5
REPORT_AFTER_S = 5.0
REPORT_INTERVAL_S = 10.0
CLOSE_S = 1.0


class ChangeStreams:
    """Opens the change stream of a scope, and reports how that goes."""

    def __init__(self, settings: Settings, scope: StreamScope, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self._scope = scope
        self._health = health
        self._metrics = metrics

    @asynccontextmanager
    async def opened(
        self, after: Token, since: Timestamp, stopping: Callable[[], bool]
    ) -> AsyncIterator[ChangeStream | None]:
        """The stream after a token whose cluster time is `since`; None if this replica stops before it is open.

        Raises the errors of `ChangeStream`.
        """
        client = stream_client(self._settings)
        try:
            batch_size = self._settings.buffer.batch_size
            opening = asyncio.create_task(ChangeStream.open(client, self._scope, after, batch_size, LONGEST_OPENING_S))
            try:
                await self._report_until_done(opening, since, stopping)
            finally:
                if not opening.done():
                    await end_tasks([opening])
            stream = None if opening.cancelled() else opening.result()
            if stream is not None:
                self._metrics.capturing.set(1)
                for check in ("capture", "position"):
                    self._health.green(check)
            try:
                yield stream
            finally:
                if stream is not None:
                    await stream.close()
        finally:
            # Closing says goodbye to the server, which may be frozen: not in the event loop, and not for long.
            await asyncio.wait([asyncio.create_task(asyncio.to_thread(end_client, client))], timeout=CLOSE_S)

    async def _report_until_done(
        self, opening: asyncio.Task[ChangeStream], since: Timestamp, stopping: Callable[[], bool]
    ) -> None:
        began_s = clock.now_s()
        report_s = began_s + REPORT_AFTER_S
        while not opening.done() and not stopping():
            await asyncio.wait([opening], timeout=LOOK_INTERVAL_S)
            now_s = clock.now_s()
            if now_s >= report_s:
                report_s = now_s + REPORT_INTERVAL_S
                self._health.fault("capture", describe_opening(since, now_s - began_s))


def describe_opening(since: Timestamp, lasted_s: float) -> str:
    """What health says while the stream opens (pure)."""
    moment = since.as_datetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"opening the change stream: scanning the oplog since {moment} has taken {lasted_s:.0f} s so far; nothing is "
        f"captured until MongoDB reaches the end, and nothing is lost. After {LONGEST_OPENING_S:.0f} s a reconcile "
        "replaces the scan"
    )


class Feed:
    """Reads one batch of changes after another, until the term ends. `longest_linger_s` bounds each pause."""

    def __init__(
        self,
        streams: ChangeStreams,
        send: Callable[[CapturedChanges], Awaitable[object]],
        read_size: int,
        longest_linger_s: float,
        pace: SyncPace,
        backlog: Backlog,
    ) -> None:
        self._streams = streams
        self._send = send
        self._read_size = read_size
        self._longest_linger_s = longest_linger_s
        self._pace = pace
        self._backlog = backlog
        self._state = "closed"

    def __repr__(self) -> str:
        return f"<Feed {self._state}>"

    @property
    def state(self) -> str:
        """`closed`, `opening`, `reading` or `paused`."""
        return self._state

    async def run(self, term: CaptureTerm, stopping: Callable[[], bool]) -> TermEnd:
        """Feed the capture agent until this replica stops. Raises the errors of `ChangeStream`."""
        self._state = "opening"
        try:
            async with self._streams.opened(term.appended.token, term.appended.cluster_time, stopping) as stream:
                if stream is not None:
                    await self._read(stream, term, stopping)
        finally:
            self._state = "closed"
        return TermEnd("this replica stops")

    async def _read(self, stream: ChangeStream, term: CaptureTerm, stopping: Callable[[], bool]) -> None:
        token: Token = term.appended.token
        sent_s = float("-inf")
        while not stopping():
            if self._is_paused(term):
                # The oplog holds the changes meanwhile; the empty batch lets the next barrier through.
                await asyncio.sleep(LONGEST_READ_S)
                batch = ChangeBatch((), token, term.appended.cluster_time)
            else:
                batch = await stream.next_batch(self._read_size, LONGEST_READ_S)
                if not batch.changes and not (
                    time.monotonic() - sent_s >= LONGEST_READ_S and term.is_time_for_barrier(_end_of(batch, term))
                ):
                    continue  # only its barrier would be news; a later batch covers what it says
            with term.sending() as delivery:
                await self._send(CapturedChanges(delivery, token, batch))
            token, sent_s = batch.token, time.monotonic()
            found = len(batch.changes)
            await asyncio.sleep(linger_s(found, self._read_size, self._longest_linger_s, self._pace.batch_s))

    def _is_paused(self, term: CaptureTerm) -> bool:
        paused = self._backlog.full or term.paused
        self._state = "paused" if paused else "reading"
        return paused


def _end_of(batch: ChangeBatch, term: CaptureTerm) -> Position:
    """The position after an empty batch (pure)."""
    return replace(term.appended, token=batch.token, cluster_time=batch.cluster_time)
