"""A signal between tasks that something they wait for may have changed: leases, the epoch, a stop."""

import asyncio


class Wake:
    """`ring` wakes everybody who waits at that moment; nobody else ever hears of it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake those who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, longest_s: float) -> None:
        """Wait for a ring, but not longer than `longest_s`."""
        event = self._event
        try:
            async with asyncio.timeout(longest_s):
                await event.wait()
        except TimeoutError:
            pass
