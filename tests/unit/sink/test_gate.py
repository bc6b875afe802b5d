"""Typesense carries out what timed out; retries must not keep it busy without end."""

import asyncio
from contextlib import suppress

import orjson
import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.errors import check_status
from tsync_stream.sink.gate import SUCCESSES_UNTIL_ALL_AT_ONCE, WriteGate
from tsync_stream.sink.load_control import LoadControl

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
    server, gate = BusyServer(), WriteGate(60.0, LoadControl(WRITERS, DEADLINE_S))
    assert repr(gate) == "WriteGate(all at once)"
    async with asyncio.timeout(20):
        failed = sum(await asyncio.gather(*(writes(server, gate, 10) for _ in range(WRITERS))))
    # All at once, each of them would always wait for five others: longer than its deadline.
    assert 0 < failed < 10 * WRITERS


async def test_all_writes_pass_at_once_again_after_some_in_a_row_were_in_time() -> None:
    gate = WriteGate(60.0, LoadControl(3, 5.0))
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


async def test_while_fewer_may_pass_changes_pass_before_jobs() -> None:
    load = LoadControl(4, 1.0)
    gate = WriteGate(60.0, load)
    load.failed()
    assert (load.writes, repr(gate)) == (2, "WriteGate(LoadControl(2 of 4 writes, 500 documents in one))")
    order: list[str] = []

    async def write(name: str, ends: asyncio.Event, *, of_a_job: bool) -> None:
        async with gate.passing(of_a_job=of_a_job):
            order.append(name)
            await ends.wait()

    first, second, rest = asyncio.Event(), asyncio.Event(), asyncio.Event()
    rest.set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write("a job", first, of_a_job=True))
        await asyncio.sleep(0)
        tasks.create_task(write("another job", rest, of_a_job=True))
        await asyncio.sleep(0)
        assert order == ["a job"], "jobs have half of it"
        tasks.create_task(write("a change", second, of_a_job=False))
        await asyncio.sleep(0)
        assert order == ["a job", "a change"]
        tasks.create_task(write("a late change", rest, of_a_job=False))
        await asyncio.sleep(0)
        first.set()
        await asyncio.sleep(0.01)
        second.set()
    assert order == ["a job", "a change", "a late change", "another job"]


async def test_a_place_is_not_lost_when_those_who_wait_are_cancelled_or_give_up() -> None:
    load = LoadControl(1, 1.0)
    gate = WriteGate(0.05, load)
    async with gate.passing():
        with pytest.raises(DependencyUnavailable, match="one at a time"):
            async with gate.passing():
                pytest.fail("two at a time")
    entered = asyncio.Event()

    async def write() -> None:
        async with gate.passing():
            entered.set()
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    await entered.wait()
    waiting = [asyncio.create_task(write()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await writing
    waiting[1].cancel()  # it has just been let in
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(0.04), gate.passing():
        pass
    assert [task.cancelled() for task in waiting] == [True, True, False, False, False]


async def test_typesense_that_lags_or_times_out_lowers_the_limits_and_other_failures_do_not() -> None:
    load = LoadControl(4, 1.0)
    gate = WriteGate(60.0, load)
    for error in (DependencyUnavailable("refused"), DependencyUnavailable("503", in_doubt=True)):
        with pytest.raises(DependencyUnavailable):
            async with gate.passing():
                raise error
    assert not load.is_lowered
    with pytest.raises(DependencyUnavailable):
        async with gate.passing():
            raise DependencyUnavailable("503", lagging=True)
    assert (load.writes, load.documents, gate.is_narrow) == (2, 500, False)


@pytest.mark.parametrize(
    ("status", "words", "lagging"),
    [
        (503, "Not Ready or Lagging", True),
        (503, "by something in between", False),
        (500, "Not Ready or Lagging", False),
    ],
)
def test_only_typesenses_own_words_say_that_it_lags_and_took_nothing(status: int, words: str, lagging: bool) -> None:
    with pytest.raises(DependencyUnavailable) as caught:
        check_status(status, "an import", in_doubt=True, body=orjson.dumps({"message": words}))
    assert (caught.value.lagging, caught.value.in_doubt) == (lagging, not lagging)
