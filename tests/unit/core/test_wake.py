"""Pauses after failures grow to some seconds, and to a minute for a server busy with requests that timed out."""

from typing import cast

import aiohttp
import httpx
import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.wake import MAX_PAUSE_FOR_BUSY_S, MAX_PAUSE_S, Backoff, Wake
from tsync_stream.sink.errors import from_typesense


class Waits:
    """Records how long each wait was to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def wait(self, longest_s: float) -> None:
        self.seconds.append(longest_s)


@pytest.mark.parametrize(("busy", "first_s", "most_s"), [(False, 0.1, MAX_PAUSE_S), (True, 5.0, MAX_PAUSE_FOR_BUSY_S)])
async def test_pauses_grow_to_their_bound_and_begin_anew(busy: bool, first_s: float, most_s: float) -> None:
    waits = Waits()
    backoff = Backoff(0.1, cast("Wake", waits), busy_s=5.0)
    for _ in range(30):
        await backoff.pause(busy=busy)
    assert first_s / 2 <= waits.seconds[0] <= first_s
    assert all(most_s / 2 <= seconds <= most_s for seconds in waits.seconds[-10:])
    backoff.reset()
    await backoff.pause(busy=busy)
    assert waits.seconds[-1] <= first_s


async def test_the_pauses_for_a_busy_server_grow_by_themselves() -> None:
    waits = Waits()
    backoff = Backoff(0.1, cast("Wake", waits), busy_s=5.0)
    for _ in range(5):
        await backoff.pause()
    await backoff.pause(busy=True)
    assert waits.seconds[-1] <= 5.0
    assert repr(backoff) == "Backoff(5 failures, 1 of a busy server)"


@pytest.mark.parametrize(
    ("error", "timed_out"),
    [
        (TimeoutError(), True),
        (httpx.ReadTimeout(""), True),
        (httpx.WriteTimeout(""), True),
        (httpx.ConnectTimeout(""), False),
        (httpx.PoolTimeout(""), False),
        (httpx.ConnectError(""), False),
        (aiohttp.SocketTimeoutError(""), True),
        (aiohttp.ConnectionTimeoutError(""), False),
        (aiohttp.ServerDisconnectedError(""), False),
        (httpx.ReadError(""), False),
    ],
)
def test_a_server_is_busy_only_with_what_it_took_and_did_not_answer(error: Exception, timed_out: bool) -> None:
    meant = from_typesense(error)
    assert isinstance(meant, DependencyUnavailable)
    assert meant.timed_out == timed_out
