"""Growing pauses after failures in a row, cut short when something changes that is worth a look."""

import random

from tsync_stream.wake import Wake

MAX_PAUSE_S = 5.0


class Backoff:
    """Exponential, with jitter, from `first_s` to a few seconds. `reset` after a success."""

    def __init__(self, first_s: float, wake: Wake) -> None:
        self._first_s = first_s
        self._wake = wake
        self._failures = 0

    def reset(self) -> None:
        """The next pause is the first again."""
        self._failures = 0

    async def pause(self) -> None:
        """Wait after a failure, but not longer than until leases or the epoch change, or we are stopped."""
        longest_s = min(MAX_PAUSE_S, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        await self._wake.wait(random.uniform(0.5, 1.0) * longest_s)  # noqa: S311 - jitter, not a secret
