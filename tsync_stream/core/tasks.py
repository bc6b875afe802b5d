"""Tasks that end together.

Invariant: a task is cancelled again and again until it has ended. Once is not enough: before Python 3.12 (gh-96764),
`asyncio.wait_for` loses a cancellation that arrives together with the result it waits for. Libraries call it where we
do not see it, and a loop that misses its only cancellation never ends.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

# A cancelled task gets this long to clean up before it is cancelled again.
CANCEL_AGAIN_S = 1.0

T = TypeVar("T")
R = TypeVar("R")


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and return when all have ended; their exceptions are dropped.

    If the caller is cancelled meanwhile, the tasks are still ended before `CancelledError` is raised.
    """
    cancelled: asyncio.CancelledError | None = None
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error  # raised below: nobody else would end the tasks
    await asyncio.gather(*tasks, return_exceptions=True)
    if cancelled is not None:
        raise cancelled


async def first_to_end(work: Collection[Coroutine[Any, Any, T]]) -> T:
    """Run concurrently until one returns or raises, then end the others. Returns its result, or raises its error.

    Of several that end together, an error counts more than a result.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        results = [task.result() for task in done]
        return results[0]
    finally:
        await end_tasks(tasks)


async def all_to_end(work: Collection[Coroutine[Any, Any, T]]) -> list[T]:
    """Run concurrently until all return; returns their results. If one raises, end the others and raise that."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end_tasks(tasks)


async def one_ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The items, each of which is asked for while its predecessor is in use. Close it, and `items` is closed too."""

    async def following() -> T:
        return await anext(items)

    async with aclosing(items):
        waiting = asyncio.create_task(following())
        try:
            while True:
                try:
                    item = await waiting
                except StopAsyncIteration:
                    return
                waiting = asyncio.create_task(following())
                yield item
        finally:
            await end_tasks([waiting])


async def in_order(
    items: AsyncGenerator[T, None], work: Callable[[T], Coroutine[Any, Any, R]], most: int
) -> AsyncGenerator[R, None]:
    """What `work` makes of each item, in the order of the items, whichever is done first.

    At most `most` are begun and not yielded yet. Close it, and those are ended and `items` is closed. The error of an
    item is raised in its turn.
    """
    begun: deque[asyncio.Task[R]] = deque()
    async with aclosing(items):
        try:
            async for item in items:
                begun.append(asyncio.create_task(work(item)))
                if len(begun) == most:
                    yield await begun[0]  # it stays in line meanwhile: if we are cancelled here, it is ended, too
                    begun.popleft()
            while begun:
                yield await begun[0]
                begun.popleft()
        finally:
            await end_tasks(begun)
