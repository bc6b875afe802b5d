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


def gathering_pause_s(found: int, limit: int, longest_s: float) -> float:
    """The pause after a read that found so many of at most `limit`, in seconds (pure)."""
    if not 1 < found < limit:
        return 0.0
    return min(found * PAUSE_PER_CHANGE_S, LONGEST_PAUSE_S, longest_s)
