"""How far a long piece of work is, and how long it will take: percent and time left. Pure.

Invariant: nothing is guessed. Without a pace that was measured no time is told.
"""

from dataclasses import dataclass

# A pace that was measured for less than this says nothing.
SHORTEST_S = 2.0


def percent(done: int, total: int) -> int:
    """Never 100 before all is done, however little is lacking; totals are estimates."""
    if done >= total:
        return 100
    return min(99, int(100 * done / total))


def show_age(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h` or `3 d`: one unit is enough to read."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_left(left_s: float | None) -> str:
    """What a line adds about the time left; nothing if that is not known."""
    return "" if left_s is None else f", about {show_age(left_s)} left"


@dataclass(frozen=True, slots=True)
class Pace:
    """From a first look on: how much was done by then, and when that was."""

    done: int
    began_s: float

    def left_s(self, done: int, total: int, now_s: float) -> float | None:
        """How long the rest takes if it goes on like this; None while that cannot be said."""
        took_s = now_s - self.began_s
        if took_s < SHORTEST_S or done <= self.done or done >= total:
            return None
        return (total - done) * took_s / (done - self.done)
