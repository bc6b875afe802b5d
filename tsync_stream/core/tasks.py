"""Tasks that end together.

Invariant: a task that is cancelled here is cancelled again until it has ended. Once is not enough: `asyncio.wait_for`,
which libraries call where we do not see it, loses a cancellation that comes together with the result that it waits for
(before Python 3.12, where gh-96764 rewrote it), and a loop that missed its only one goes on for ever.
"""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

# What a cancelled task still tidies up takes less than this, or is not worth waiting for.
CANCEL_AGAIN_S = 1.0


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and return when all have ended. What they raise is dropped.

    Who is cancelled meanwhile ends them all the same, and raises `CancelledError` then.
    """
    cancelled: asyncio.CancelledError | None = None
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error  # later: tasks that nobody waits for would go on
    await asyncio.gather(*tasks, return_exceptions=True)
    if cancelled is not None:
        raise cancelled


async def first_to_end(work: Collection[Coroutine[Any, Any, None]]) -> None:
    """Run side by side until one returns or raises; end the others. Raises what the first raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)


async def all_to_end(work: Collection[Coroutine[Any, Any, None]]) -> None:
    """Run side by side until all return, or one raises: end the others then, and raise that."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end_tasks(tasks)
