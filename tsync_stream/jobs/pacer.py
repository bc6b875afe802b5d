"""How fast documents are compared in the background: so many a second, by all routes together.

Invariant: whoever asks first goes first, so routes take turns page by page. Nothing is saved up: after a pause it goes
on at the same pace.
"""

import asyncio

from tsync_stream.core import clock


class Pacer:
    """`rate_per_s` documents a second; `most_at_once` bounds a page."""

    def __init__(self, rate_per_s: int, most_at_once: int) -> None:
        self._rate_per_s = rate_per_s
        self._most_at_once = most_at_once
        self._turn = asyncio.Lock()
        self._free_s = 0.0

    def __repr__(self) -> str:
        return f"<Pacer {self._rate_per_s} documents a second>"

    @property
    def page_size(self) -> int:
        """About a second's documents make a page: few requests, and none that takes long."""
        return max(1, min(self._rate_per_s, self._most_at_once))

    async def turn(self, documents: int) -> None:
        """Return when so many more documents may be compared."""
        async with self._turn:
            await asyncio.sleep(max(0.0, self._free_s - clock.now_s()))
            self._free_s = clock.now_s() + documents / self._rate_per_s
