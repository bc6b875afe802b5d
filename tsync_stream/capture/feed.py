"""The change stream that a term reads, on a connection of its own, and what is told while it opens.

Invariants: until the first batch is there, health says since when nothing is captured, and why; a term that ends
meanwhile, or a stop, leaves no scan behind on the server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bson.timestamp import Timestamp

from tsync_stream.capture.begin import CaptureTools
from tsync_stream.core import clock
from tsync_stream.core.model import Token
from tsync_stream.core.tasks import end_tasks
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.driver import LONGEST_OPENING_S, end_client, stream_client

LOOK_INTERVAL_S = 0.5
TOLD_AFTER_S = 5.0
TOLD_EVERY_S = 10.0
CLOSE_S = 1.0


@asynccontextmanager
async def opened_stream(
    tools: CaptureTools, after: Token, since: Timestamp, stopping: Callable[[], bool]
) -> AsyncIterator[ChangeStream | None]:
    """The source's change stream after a token, whose cluster time is `since`; None if we are to stop meanwhile.

    Raises the errors of `ChangeStream`.
    """
    client = stream_client(tools.settings)
    try:
        database = client[tools.route.database]
        batch_size = tools.settings.buffer.batch_size
        opening = asyncio.create_task(
            ChangeStream.open(database, tools.route.collection, after, batch_size, LONGEST_OPENING_S)
        )
        try:
            await _tell_until_done(tools, opening, since, stopping)
        finally:
            if not opening.done():
                await end_tasks([opening])
        stream = None if opening.cancelled() else opening.result()
        try:
            yield stream
        finally:
            if stream is not None:
                await stream.close()
    finally:
        # It says goodbye to the server, which may be frozen: not in the event loop, and nobody waits for long.
        await asyncio.wait([asyncio.create_task(asyncio.to_thread(end_client, client))], timeout=CLOSE_S)


async def _tell_until_done(
    tools: CaptureTools, opening: asyncio.Task[ChangeStream], since: Timestamp, stopping: Callable[[], bool]
) -> None:
    began_s = clock.now_s()
    tell_s = began_s + TOLD_AFTER_S
    while not opening.done() and not stopping():
        await asyncio.wait([opening], timeout=LOOK_INTERVAL_S)
        now_s = clock.now_s()
        if now_s >= tell_s:
            tell_s = now_s + TOLD_EVERY_S
            tools.health.red("capture", describe_opening(since, now_s - began_s))


def describe_opening(since: Timestamp, lasted_s: float) -> str:
    """What health says while the stream opens (pure)."""
    moment = since.as_datetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"opening the change stream: scanning the oplog since {moment}, for {lasted_s:.0f} s; nothing is captured "
        "until MongoDB has come to its end, and nothing is lost. "
        f"After {LONGEST_OPENING_S:.0f} s a reconcile takes its place"
    )
