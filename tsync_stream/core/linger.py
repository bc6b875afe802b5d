"""When to let changes gather before the next read, so that each costs less of everybody's time.

Every read has a price of its own, whatever it brings: some milliseconds of ours and of each server's. Invariants: while
little happens, nobody waits, so that a change is seen at once; while there is more than one read can bring, nobody
waits either. Between the two, processors that have too much to do make changes wait longer than these pauses do.
"""

# Of none, 0.2 ms and 2 ms a change, 2 ms gave the lowest latency at 500 changes a second, and the least CPU time, where
# servers and worker share two processors. At 2,000 a second 30 ms instead of 15 saved a fifth of the worker's processor
# time, and made half of the changes wait half as long again.
PAUSE_PER_CHANGE_S = 0.002
LONGEST_PAUSE_S = 0.015
# Where a batch takes long on its way from the queue to Typesense, what comes now waits for it anyway. Under a mixed
# load with batches of 0.2 s, pauses of half as long instead of 15 ms saved a fourth of the worker's processor time.
PAUSE_OF_A_BATCH = 0.5
LONGEST_PAUSE_WHEN_SLOW_S = 0.1
# How much a batch counts against all those before it: the last few decide.
WEIGHT_OF_A_BATCH = 0.25


class SyncPace:
    """How long this replica's lanes take for a batch of late, from the queue to Typesense; 0 before the first."""

    def __init__(self) -> None:
        self.batch_s = 0.0

    def note(self, batch_s: float) -> None:
        """A batch took so long."""
        self.batch_s += (batch_s - self.batch_s) * WEIGHT_OF_A_BATCH


def gathering_pause_s(found: int, limit: int, longest_s: float, batch_s: float = 0.0) -> float:
    """The pause after a read that found so many of at most `limit`, where batches take so long, in seconds (pure)."""
    if not 1 < found < limit:
        return 0.0
    enough_s = max(LONGEST_PAUSE_S, min(batch_s * PAUSE_OF_A_BATCH, LONGEST_PAUSE_WHEN_SLOW_S))
    return min(found * PAUSE_PER_CHANGE_S, enough_s, longest_s)
