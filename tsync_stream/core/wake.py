"""Waits that end early when something changes: a signal between tasks, and the backoff that listens to it."""

import asyncio
import random

MAX_PAUSE_S = 5.0
MAX_PAUSE_FOR_BUSY_S = 60.0


class Wake:
    """Says that something tasks wait for may have changed: leases, the epoch, a server's return, a stop.

    `ring` wakes every task that waits at that moment. A ring is not stored: a task that starts to wait later misses it.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake every task that waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, longest_s: float) -> None:
        """Wait for a ring, at most `longest_s`."""
        event = self._event
        try:
            async with asyncio.timeout(longest_s):
                await event.wait()
        except TimeoutError:
            pass


class Backoff:
    """Exponential pauses with jitter after consecutive failures, from `first_s` to a few seconds; `reset` on success.

    A server that is still working on requests that timed out gets longer pauses, from `busy_s` to a minute, because
    several replicas may keep it busy. They grow by themselves.
    """

    def __init__(self, first_s: float, wake: Wake, busy_s: float = 0.0) -> None:
        self._first_s = first_s
        self._wake = wake
        self._busy_s = busy_s
        self._failures = 0
        self._busy_failures = 0

    def __repr__(self) -> str:
        return f"Backoff({self._failures} failures, {self._busy_failures} of a busy server)"

    def reset(self) -> None:
        """Start again from the first pause."""
        self._failures = self._busy_failures = 0

    async def pause(self, *, busy: bool = False) -> None:
        """Wait after a failure; a ring of `wake` ends the pause early."""
        if busy:
            longest_s = _longest_s(self._busy_s, self._busy_failures, MAX_PAUSE_FOR_BUSY_S)
            self._busy_failures += 1
        else:
            longest_s = _longest_s(self._first_s, self._failures, MAX_PAUSE_S)
            self._failures += 1
        await self._wake.wait(random.uniform(0.5, 1.0) * longest_s)  # noqa: S311 - jitter, not a secret


def _longest_s(first_s: float, failures: int, most_s: float) -> float:
    return min(most_s, first_s * 2.0 ** min(failures, 16))
