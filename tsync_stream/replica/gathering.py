"""When to let changes gather before the next read, so that each costs less of everybody's time.

Every read has a price of its own, whatever it brings. Invariants: while little happens, nobody waits, so that a change
is seen at once; while there is more than one read can bring, nobody waits either.
"""

# From so many at once on, changes come faster than reads could follow them one by one.
MANY = 16
PAUSE_S = 0.02


def gathering_pause_s(found: int, limit: int, longest_s: float) -> float:
    """The pause after a read that found so many of at most `limit`, in seconds (pure)."""
    return min(PAUSE_S, longest_s) if MANY <= found < limit else 0.0
