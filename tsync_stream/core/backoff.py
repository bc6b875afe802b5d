"""Growing pauses after failures in a row, cut short when something changes that is worth a look."""

import random

from tsync_stream.core.wake import Wake

MAX_PAUSE_S = 5.0
MAX_PAUSE_FOR_BUSY_S = 60.0


class Backoff:
    """Exponential, with jitter, from `first_s` to a few seconds. `reset` after a success.

    `busy_s`: where the pauses begin for a server that is busy with what timed out; they grow to a minute, since several
    replicas may keep it busy.
    """

    def __init__(self, first_s: float, wake: Wake, busy_s: float = 0.0) -> None:
        self._first_s = first_s
        self._wake = wake
        self._busy_s = busy_s
        self._failures = 0

    def reset(self) -> None:
        """The next pause is the first again."""
        self._failures = 0

    async def pause(self, *, busy: bool = False) -> None:
        """Wait after a failure, but not longer than until something changes: leases, the epoch, who answers, a stop."""
        first_s, most_s = (self._busy_s, MAX_PAUSE_FOR_BUSY_S) if busy else (self._first_s, MAX_PAUSE_S)
        longest_s = min(most_s, first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        await self._wake.wait(random.uniform(0.5, 1.0) * longest_s)  # noqa: S311 - jitter, not a secret
