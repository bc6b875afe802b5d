"""How long to linger before the next read, so that it returns several changes.

Every read costs us and each server some milliseconds, whatever it returns. Invariants: a single change never waits, and
neither does a backlog that fills a read. In between, a busy processor delays changes by more than these pauses do.
"""

# Of no pause, 0.2 ms and 2 ms per change, 2 ms gave the lowest latency at 500 changes a second, and the least CPU time,
# where servers and worker share two processors. At 2,000 a second 30 ms instead of 15 saved a fifth of the worker's CPU
# time, and delayed half of the changes by half as much again.
PAUSE_PER_CHANGE_S = 0.002
LONGEST_PAUSE_S = 0.015
# While batches take long from the queue to Typesense, a change read now waits for the current batch anyway. Under a
# mixed load with batches of 0.2 s, pauses of half a batch instead of 15 ms saved a fourth of the worker's CPU time.
PAUSE_OF_A_BATCH = 0.5
LONGEST_PAUSE_WHEN_SLOW_S = 0.1
# The weight of a batch against all before it: the last few decide.
WEIGHT_OF_A_BATCH = 0.25


class SyncPace:
    """How long this replica's recent batches took from the queue to Typesense, in seconds; 0 before the first."""

    def __init__(self) -> None:
        self.batch_s = 0.0

    def note(self, batch_s: float) -> None:
        """Count a batch that took so long."""
        self.batch_s += (batch_s - self.batch_s) * WEIGHT_OF_A_BATCH


def linger_s(found: int, limit: int, longest_s: float, batch_s: float = 0.0) -> float:
    """Seconds to pause after a read that returned `found` of at most `limit`, while batches take `batch_s` (pure)."""
    if not 1 < found < limit:
        return 0.0
    enough_s = max(LONGEST_PAUSE_S, min(batch_s * PAUSE_OF_A_BATCH, LONGEST_PAUSE_WHEN_SLOW_S))
    return min(found * PAUSE_PER_CHANGE_S, enough_s, longest_s)
