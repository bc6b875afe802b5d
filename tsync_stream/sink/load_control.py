"""How much Typesense is given at once: how many writes side by side, and how many documents in one of them (pure).

Additive increase, multiplicative decrease. A write that times out, or that Typesense does not take because it lags
behind (503), halves both. So does a write that takes long while documents take several times as long as they recently
did at best. What a document takes is measured with those of all other writes that were under way: they came first.

Invariants: one write, and `LEAST_DOCUMENTS` in it, may always be under way; at most, as many as without this control.
Once writes are in time, the limits return to that within some tens of writes. A server that is merely slow, with large
documents say, is not slowed further: its writes are compared with its own.
"""

from collections.abc import Sequence

# What is best for throughput; more in one write would not be faster.
MOST_DOCUMENTS = 1_000
LEAST_DOCUMENTS = 50
# A write of fewer documents tells nothing about what one of them takes.
ENOUGH_DOCUMENTS = 20
# So many times as long as at best is slow. Twice as long is usual: the write that came first may have been nearly done,
# and no two batches are alike.
SLOW_TIMES = 4.0
# Of the deadline: a write that takes less is quick enough whatever it is compared with; one that takes more is at risk.
QUICK_SHARE = 0.2
AT_RISK_SHARE = 0.6
# The best is that of the last one to two of these, so a change of the documents is soon the usual.
BEST_OF_S = 60.0
WEIGHT = 0.3
FACTOR = 0.5
MORE_WRITES = 0.25
MORE_DOCUMENTS = 50


class _Best:
    """The lowest value of the last one to two periods."""

    def __init__(self) -> None:
        self._values = [float("inf"), float("inf")]
        self._began_s = 0.0

    def note(self, value: float, now_s: float) -> float:
        if now_s - self._began_s > BEST_OF_S:
            self._values, self._began_s = [float("inf"), self._values[0]], now_s
        self._values[0] = min(self._values[0], value)
        return min(self._values)


class LoadControl:
    """The limits of one process. `most_writes` is how many are ever under way side by side."""

    def __init__(self, most_writes: int, deadline_s: float) -> None:
        self.most_writes = most_writes
        self._deadline_s = deadline_s
        self._writes = float(most_writes)
        self._documents = float(MOST_DOCUMENTS)
        self._best = _Best()
        self._times = 1.0  # how many times as long as at best documents take now
        self._settling = 0  # writes that began before the limits were lowered

    def __repr__(self) -> str:
        return f"LoadControl({self.writes} of {self.most_writes} writes, {self.documents} documents in one)"

    @property
    def writes(self) -> int:
        """How many writes may be under way."""
        return int(self._writes)

    @property
    def documents(self) -> int:
        """How many documents a write may have."""
        return int(self._documents)

    @property
    def is_lowered(self) -> bool:
        """Whether Typesense is given less than it would be if it were in time."""
        return self.writes < self.most_writes or self.documents < MOST_DOCUMENTS

    def done(self, documents: int, took_s: float, under_way: Sequence[int], now_s: float) -> None:
        """A write of so many documents was in time. `under_way` are those of all writes when it began, its own too."""
        self._settling = max(0, self._settling - 1)
        # A small one beside a large one says little: it waits for an unknown rest of that.
        if documents >= ENOUGH_DOCUMENTS and documents * len(under_way) >= sum(under_way):
            each_s = took_s / sum(under_way)
            best_s = self._best.note(each_s, now_s)
            self._times += (each_s / max(best_s, 1e-9) - self._times) * WEIGHT
        if took_s > AT_RISK_SHARE * self._deadline_s or (
            took_s > QUICK_SHARE * self._deadline_s and self._times > SLOW_TIMES
        ):
            self._lower()
        else:
            self._writes = min(float(self.most_writes), self._writes + MORE_WRITES)
            self._documents = min(float(MOST_DOCUMENTS), self._documents + MORE_DOCUMENTS)

    def failed(self) -> None:
        """A write timed out, or Typesense lags and did not take it."""
        if self._settling:
            self._settling -= 1
        else:
            self._lower()

    def _lower(self) -> None:
        if self._settling:
            return  # this one was under way when the limits were lowered
        self._settling = max(0, self.writes - 1)
        self._writes = max(1.0, self._writes * FACTOR)
        self._documents = max(float(LEAST_DOCUMENTS), self._documents * FACTOR)
