"""Progress of a long job: percent done and time left. Pure.

Invariant: nothing is guessed. Without a measured pace there is no estimate.
"""

from dataclasses import dataclass

# A pace measured over less than this is noise.
SHORTEST_S = 2.0


def percent(done: int, total: int) -> int:
    """Whole percent; never 100 before everything is done, and totals are estimates."""
    if done >= total:
        return 100
    return min(99, int(100 * done / total))


def show_age(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h` or `3 d`: one unit is enough."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_left(left_s: float | None) -> str:
    """The end of a progress line: the time left, or nothing if it is not known."""
    return "" if left_s is None else f", about {show_age(left_s)} left"


@dataclass(frozen=True, slots=True)
class Pace:
    """A first measurement to compare later ones with: how much was done at `began_s`."""

    done: int
    began_s: float

    def left_s(self, done: int, total: int, now_s: float) -> float | None:
        """Seconds that the rest takes at the pace so far; None while that is unknown."""
        took_s = now_s - self.began_s
        if took_s < SHORTEST_S or done <= self.done or done >= total:
            return None
        return (total - done) * took_s / (done - self.done)
