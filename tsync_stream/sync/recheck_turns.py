"""When a lane takes a batch of rechecks instead of one of the queue (pure; the caller passes the time).

Invariants: while there are batches of the queue, at most every fifth one is of rechecks: time-outs from overload must
not feed themselves. A lane that has nothing to read works off all rechecks that are due.
"""

# A lane looks for rechecks at this interval, in deadlines of a request (a recheck waits for two at least), and at most
# once a second.
LOOK_INTERVAL_S = 1.0
LOOK_IN_DEADLINES = 0.4
BATCHES_PER_RECHECK = 5


class RecheckTurns:
    """One lane's. `more_wait`: the last look brought as many as were asked for, so reading need not wait long."""

    def __init__(self, deadline_s: float) -> None:
        self._interval_s = max(LOOK_INTERVAL_S, LOOK_IN_DEADLINES * deadline_s)
        self._batches_since = BATCHES_PER_RECHECK
        self._looked_s = float("-inf")
        self.more_wait = False

    def is_next(self, now_s: float) -> bool:
        """Whether to look for rechecks before the next batch. To be called once before each."""
        self._batches_since += 1
        return now_s - self._looked_s >= self._interval_s and self._batches_since >= BATCHES_PER_RECHECK

    def found(self, count: int, limit: int, now_s: float) -> None:
        """Note that a look at `now_s` brought `count` rechecks, of at most `limit`."""
        self.more_wait = count >= limit
        if not self.more_wait:
            self._looked_s = now_s
        if count:
            self._batches_since = 0

    def nothing_to_read(self) -> None:
        """Note that there is no batch that rechecks would delay."""
        self._batches_since = BATCHES_PER_RECHECK
