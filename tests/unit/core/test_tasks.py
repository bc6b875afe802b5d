"""Tasks end together, even if a library swallows a cancellation."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tests.support.waiting import eventually
from tsync_stream.core import tasks
from tsync_stream.core.tasks import all_to_end, end_tasks, first_to_end, in_order, one_ahead

pytestmark = pytest.mark.timeout(30)


class Stubborn:
    """A loop that misses its first cancellation, as one does that calls `asyncio.wait_for` before Python 3.12."""

    def __init__(self) -> None:
        self.missed = False
        self.ended = False

    async def run(self) -> None:
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if self.missed:
                        raise
                    self.missed = True
        finally:
            self.ended = True


async def fail() -> None:
    await asyncio.sleep(0)
    raise LookupError("the first to end")


async def succeed() -> None:
    await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)


async def test_a_task_that_misses_a_cancellation_is_cancelled_again() -> None:
    stubborn = Stubborn()
    task = asyncio.create_task(stubborn.run())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert stubborn.missed
    assert task.cancelled()


async def test_the_first_to_raise_ends_the_others() -> None:
    stubborn = Stubborn()
    with pytest.raises(LookupError, match="the first to end"):
        await first_to_end([stubborn.run(), fail(), asyncio.sleep(3600)])
    assert stubborn.ended


async def test_the_first_to_return_ends_the_others() -> None:
    stubborn = Stubborn()
    await first_to_end([stubborn.run(), succeed()])
    assert stubborn.ended


async def test_the_result_of_the_first_to_return_is_returned() -> None:
    async def result() -> str:
        return "the first"

    async def never() -> str:
        await asyncio.Event().wait()
        return "never"

    assert await first_to_end([never(), result()]) == "the first"


async def test_of_several_that_end_together_an_error_counts_more_than_a_result() -> None:
    for _ in range(20):
        with pytest.raises(LookupError):
            await first_to_end([succeed(), fail(), succeed()])


async def test_one_that_returns_does_not_end_the_others() -> None:
    ended = []

    async def last() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append("last")

    await all_to_end([succeed(), last()])
    assert ended == ["last"]


async def test_one_that_raises_ends_the_others() -> None:
    stubborn = Stubborn()
    with pytest.raises(LookupError, match="the first to end"):
        await all_to_end([stubborn.run(), fail()])
    assert stubborn.ended


async def test_a_caller_cancelled_while_tasks_end_still_ends_them() -> None:
    stubborn = Stubborn()
    task = asyncio.create_task(stubborn.run())
    ending = asyncio.create_task(end_tasks([task]))
    while not stubborn.missed:
        await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.cancelled()


async def test_ending_no_tasks_is_fine() -> None:
    await end_tasks([])


class Pages:
    """Three pages; says how many were asked for, and whether it was closed."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = False
        self.breaks_at = 0

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            for number in (1, 2, 3):
                self.asked = number
                if number == self.breaks_at:
                    raise ConnectionError("away")
                yield number
        finally:
            self.closed = True


async def test_the_next_item_is_asked_for_while_one_is_in_use() -> None:
    pages, found = Pages(), []
    async for page in one_ahead(pages.read()):
        found.append(page)
        await eventually(lambda: pages.asked == min(len(found) + 1, 3))
    assert found == [1, 2, 3]
    assert pages.closed


async def test_an_error_comes_when_its_item_is_due() -> None:
    pages = Pages()
    pages.breaks_at = 2
    items = one_ahead(pages.read())
    assert await anext(items) == 1
    with pytest.raises(ConnectionError):
        await anext(items)


async def test_who_leaves_early_closes_the_source() -> None:
    pages = Pages()
    async with aclosing(one_ahead(pages.read())) as items:
        assert await anext(items) == 1
    assert pages.closed


class Works:
    """Work on numbers that is done when it is told to; `begun` and `ended` say which."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.closed = False
        self._may_end: dict[int, asyncio.Future[None]] = {}

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(1, 6):
                yield number
        finally:
            self.closed = True

    async def work(self, number: int) -> str:
        self.begun.append(number)
        self._may_end[number] = asyncio.get_running_loop().create_future()
        try:
            await self._may_end[number]
        finally:
            self.ended.append(number)
        return f"result {number}"

    async def end(self, number: int) -> None:
        await eventually(lambda: number in self._may_end)
        self._may_end[number].set_result(None)
        await eventually(lambda: number in self.ended)

    async def fail(self, number: int) -> None:
        await eventually(lambda: number in self._may_end)
        self._may_end[number].set_exception(ConnectionError("away"))
        await eventually(lambda: number in self.ended)


async def passed_turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_results_come_in_the_order_of_the_items_whichever_is_done_first() -> None:
    works = Works()
    found: list[str] = []

    async def collect() -> None:
        async with aclosing(in_order(works.numbers(), works.work, 3)) as results:
            async for result in results:
                found.append(result)  # noqa: PERF401 - what has come so far is looked at meanwhile

    collecting = asyncio.create_task(collect())
    await works.end(3)
    await works.end(2)
    await passed_turns()
    assert found == []
    await works.end(1)
    await eventually(lambda: len(found) == 3)
    await works.end(5)
    await works.end(4)
    await collecting
    assert found == [f"result {number}" for number in range(1, 6)]
    assert works.closed


async def test_no_more_than_so_many_are_begun_and_not_used_yet() -> None:
    works = Works()
    async with aclosing(in_order(works.numbers(), works.work, 2)) as results:
        first = asyncio.create_task(anext(results))
        await works.end(2)  # a later one, which does not make room
        await passed_turns()
        assert works.begun == [1, 2]
        await works.end(1)
        assert await first == "result 1"
        await passed_turns()
        assert works.begun == [1, 2], "the first one is still in use"
        assert await anext(results) == "result 2"
        await eventually(lambda: works.begun == [1, 2, 3])


async def test_an_error_of_the_work_comes_in_its_turn_and_ends_the_rest() -> None:
    works = Works()
    async with aclosing(in_order(works.numbers(), works.work, 3)) as results:
        first = asyncio.create_task(anext(results))
        await works.fail(2)
        await works.end(1)
        assert await first == "result 1"
        with pytest.raises(ConnectionError):
            await anext(results)
    assert sorted(works.ended) == sorted(works.begun)
    assert works.closed


async def test_who_is_cancelled_while_waiting_ends_all_that_was_begun() -> None:
    works = Works()

    async def wait_for_the_first() -> None:
        async with aclosing(in_order(works.numbers(), works.work, 2)) as results:
            await anext(results)

    waiting = asyncio.create_task(wait_for_the_first())
    await eventually(lambda: works.begun == [1, 2])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert works.ended == [1, 2]
    assert works.closed
