"""A Typesense that carries out what timed out is not kept busy for ever by the repetitions."""

import asyncio
from contextlib import suppress

import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.gate import SUCCESSES_UNTIL_ALL_AT_ONCE, Turns

WORK_S = 0.04
DEADLINE_S = 0.1
WRITERS = 6


class BusyServer:
    """Does one request after the other, each to its end, whether or not anybody waits for it still."""

    def __init__(self) -> None:
        self._doing = asyncio.Lock()
        self._requests: set[asyncio.Task[None]] = set()

    async def write(self) -> None:
        """Raises as our client does if the request is not done in time."""
        request = asyncio.create_task(self._work())
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.shield(request)
        except TimeoutError:
            raise DependencyUnavailable("Typesense: TimeoutError", doubtful=True, timed_out=True) from None

    async def _work(self) -> None:
        async with self._doing:
            await asyncio.sleep(WORK_S)


async def writes(server: BusyServer, turns: Turns, goal: int) -> int:
    """Write until so many succeeded; returns how many failed."""
    failed = 0
    while goal:
        try:
            async with turns.one():
                await server.write()
        except DependencyUnavailable:
            failed += 1
        else:
            goal -= 1
    return failed


async def test_after_a_time_out_writes_take_turns_until_they_are_in_time_again() -> None:
    server, turns = BusyServer(), Turns(60.0)
    assert repr(turns) == "Turns(all at once)"
    async with asyncio.timeout(20):
        failed = sum(await asyncio.gather(*(writes(server, turns, 10) for _ in range(WRITERS))))
    # All at once each of them would wait for five others: longer than its deadline, for ever.
    assert 0 < failed < 10 * WRITERS


async def test_all_go_at_once_again_when_some_in_a_row_were_in_time() -> None:
    turns = Turns(60.0)
    with pytest.raises(DependencyUnavailable):
        async with turns.one():
            raise DependencyUnavailable("Typesense: TimeoutError", doubtful=True, timed_out=True)
    assert repr(turns) == "Turns(one at a time)"
    for _ in range(SUCCESSES_UNTIL_ALL_AT_ONCE):
        assert repr(turns) == "Turns(one at a time)"
        async with turns.one():
            pass
    assert repr(turns) == "Turns(all at once)"


async def test_a_wait_for_a_turn_ends() -> None:
    turns = Turns(0.05)
    with suppress(DependencyUnavailable):
        async with turns.one():
            raise DependencyUnavailable("Typesense: TimeoutError", doubtful=True, timed_out=True)
    async with turns.one():
        with pytest.raises(DependencyUnavailable, match="take turns") as caught:
            async with turns.one():
                pytest.fail("two at a time")
    assert not caught.value.doubtful, "nothing was sent"


@pytest.mark.parametrize("error", [DependencyUnavailable("refused"), DependencyUnavailable("503", doubtful=True)])
async def test_what_did_not_time_out_changes_nothing(error: DependencyUnavailable) -> None:
    turns = Turns(60.0)
    with pytest.raises(DependencyUnavailable):
        async with turns.one():
            raise error
    assert repr(turns) == "Turns(all at once)"
