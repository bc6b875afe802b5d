"""When a lane takes a batch of rechecks instead of one of the queue (pure but for the clock it is given).

Invariants: beside batches of the queue, rechecks take at most every fifth: time-outs from overload must not feed
themselves. A lane that has nothing to read works off what is due, one batch after the other.
"""

# A lane looks for rechecks once in so many deadlines of a request, the first of their pauses being two of them; in a
# second at the soonest.
LOOK_INTERVAL_S = 1.0
LOOK_IN_DEADLINES = 0.4
BATCHES_PER_RECHECK = 5


class RecheckTurns:
    """One lane's. `more_wait`: the last look brought as many as were asked for, so that reading need not wait long."""

    def __init__(self, deadline_s: float) -> None:
        self._interval_s = max(LOOK_INTERVAL_S, LOOK_IN_DEADLINES * deadline_s)
        self._batches_since = BATCHES_PER_RECHECK
        self._looked_s = float("-inf")
        self.more_wait = False

    def is_next(self, now_s: float) -> bool:
        """Whether to look for rechecks before the next batch. To be asked once before each."""
        self._batches_since += 1
        return now_s - self._looked_s >= self._interval_s and self._batches_since >= BATCHES_PER_RECHECK

    def found(self, count: int, limit: int, now_s: float) -> None:
        """A look brought so many, of `limit` that were asked for."""
        self.more_wait = count >= limit
        if not self.more_wait:
            self._looked_s = now_s
        if count:
            self._batches_since = 0

    def nothing_to_read(self) -> None:
        """There was no batch that rechecks would have kept waiting."""
        self._batches_since = BATCHES_PER_RECHECK
