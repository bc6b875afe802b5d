"""Typesense carries out what timed out; retries must not keep it busy without end."""

import asyncio
from contextlib import suppress

import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.gate import SUCCESSES_UNTIL_ALL_AT_ONCE, WriteGate

WORK_S = 0.04
DEADLINE_S = 0.1
WRITERS = 6


class BusyServer:
    """Carries out requests in sequence, each to its end, whether or not its client still waits."""

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
            raise DependencyUnavailable("Typesense: TimeoutError", in_doubt=True, timed_out=True) from None

    async def _work(self) -> None:
        async with self._doing:
            await asyncio.sleep(WORK_S)


async def writes(server: BusyServer, gate: WriteGate, goal: int) -> int:
    """Write until so many succeeded; returns how many failed."""
    failed = 0
    while goal:
        try:
            async with gate.passing():
                await server.write()
        except DependencyUnavailable:
            failed += 1
        else:
            goal -= 1
    return failed


async def test_after_a_time_out_writes_go_one_at_a_time_until_they_are_in_time_again() -> None:
    server, gate = BusyServer(), WriteGate(60.0)
    assert repr(gate) == "WriteGate(all at once)"
    async with asyncio.timeout(20):
        failed = sum(await asyncio.gather(*(writes(server, gate, 10) for _ in range(WRITERS))))
    # All at once, each of them would always wait for five others: longer than its deadline.
    assert 0 < failed < 10 * WRITERS


async def test_all_writes_pass_at_once_again_after_some_in_a_row_were_in_time() -> None:
    gate = WriteGate(60.0)
    with pytest.raises(DependencyUnavailable):
        async with gate.passing():
            raise DependencyUnavailable("Typesense: TimeoutError", in_doubt=True, timed_out=True)
    for left in range(SUCCESSES_UNTIL_ALL_AT_ONCE, 0, -1):
        assert repr(gate) == f"WriteGate(one at a time, until {left} more are in time)"
        async with gate.passing():
            pass
    assert repr(gate) == "WriteGate(all at once)"


async def test_a_wait_at_the_gate_ends() -> None:
    gate = WriteGate(0.05)
    with suppress(DependencyUnavailable):
        async with gate.passing():
            raise DependencyUnavailable("Typesense: TimeoutError", in_doubt=True, timed_out=True)
    async with gate.passing():
        with pytest.raises(DependencyUnavailable, match="one at a time") as caught:
            async with gate.passing():
                pytest.fail("two at a time")
    assert not caught.value.in_doubt, "nothing was sent"


@pytest.mark.parametrize("error", [DependencyUnavailable("refused"), DependencyUnavailable("503", in_doubt=True)])
async def test_a_failure_other_than_a_time_out_changes_nothing(error: DependencyUnavailable) -> None:
    gate = WriteGate(60.0)
    with pytest.raises(DependencyUnavailable):
        async with gate.passing():
            raise error
    assert repr(gate) == "WriteGate(all at once)"
