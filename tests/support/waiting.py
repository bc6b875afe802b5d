"""Waiting for a condition instead of for a time: in a blocking test, and inside an event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

_LOOK_INTERVAL_S = 0.05
_LOOP_LOOK_INTERVAL_S = 0.02
# Everything takes longer on a machine that runs several tests at once on few processors.
PATIENCE = 3.0
# Nothing that a test awaits takes so long, on whatever machine: for waits that would not end if the product was wrong.
HANG_S = 60.0


def wait_for(
    condition: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str] | str, *, patience: float = PATIENCE
) -> None:
    """Wait until the condition holds; fail with `otherwise` if it does not.

    `timeout_s` is what a fast machine needs; a slow one gets `patience` times as long. Where the time itself is
    promised, pass `patience=1`.
    """
    deadline_s = time.monotonic() + patience * timeout_s
    while True:
        began_s = time.monotonic()
        if condition():
            return
        now_s = time.monotonic()
        if now_s > deadline_s:
            raise AssertionError(otherwise() if callable(otherwise) else otherwise)
        # Checking takes processor time from what is being checked: at most a third of it.
        time.sleep(max(_LOOK_INTERVAL_S, 2 * (now_s - began_s)))


def holds_for(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str] | str) -> None:
    """Check for this long that the condition holds all the time; fail with `otherwise` as soon as it does not."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        if not condition():
            raise AssertionError(otherwise() if callable(otherwise) else otherwise)
        time.sleep(_LOOK_INTERVAL_S)


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0, otherwise: str = "it did not come true"
) -> None:
    """Wait inside the event loop for what other tasks, or a server, bring about; as patiently as `wait_for`."""
    deadline_s = time.monotonic() + PATIENCE * timeout_s
    while True:
        holds = condition()
        if await holds if isawaitable(holds) else holds:
            return
        assert time.monotonic() < deadline_s, otherwise
        await asyncio.sleep(_LOOP_LOOK_INTERVAL_S)
