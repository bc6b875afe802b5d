"""The project's performance goals, and whether a run met them."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Result, Results, show
from bench.scenarios.steady import RECOVERY

# The contender that these goals are about.
_US = "tsync"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one measured value: a lower bound with `least`, otherwise an upper one."""

    text: str
    least: bool
    bound: float
    unit: str
    measure: Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and what a run says about it; `value` is None where the run did not measure it."""

    goal: Goal
    value: float | None

    @property
    def word(self) -> str:
        """`met`, `missed` or `not measured`."""
        if self.value is None:
            return "not measured"
        met = self.value >= self.goal.bound if self.goal.least else self.value <= self.goal.bound
        return "met" if met else "missed"

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at least' if self.goal.least else 'at most'} {show(self.goal.bound)} {self.goal.unit}".strip()

    @property
    def measured(self) -> str:
        """The value in words; empty if there is none."""
        return "" if self.value is None else f"{show(self.value)} {self.goal.unit}".strip()


def verdicts(results: Results) -> list[Verdict]:
    """Whether the run met each goal."""
    return [Verdict(goal, goal.measure(results)) for goal in GOALS]


def _ours(scenario: str, measure: Callable[[Result], float | None]) -> Callable[[Results], float | None]:
    def ours(results: Results) -> float | None:
        result = results.get(scenario, _US)
        return None if result is None else measure(result)

    return ours


def _ratio(scenario: str, to: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(scenario, _US, to)


def _latency_ms(scenario: str, percentile: str) -> Callable[[Results], float | None]:
    return _ours(scenario, lambda result: result.latency_ms.get(percentile))


def _rate_per_s(scenario: str) -> Callable[[Results], float | None]:
    return _ours(scenario, lambda result: result.rate_per_s)


def _cpu_us(scenario: str) -> Callable[[Results], float | None]:
    return _ours(scenario, lambda result: result.cpu_us.get("contender"))


def _figure(scenario: str, name: str) -> Callable[[Results], float | None]:
    return _ours(scenario, lambda result: result.figures.get(name))


def _most_memory_mb(results: Results) -> float | None:
    return results.most_memory_mb(_US)


def _cpu_percent(scenario: str) -> Callable[[Results], float | None]:
    return _ours(scenario, lambda result: result.cpu_percent.get("contender"))


def _not_equal(results: Results) -> float | None:
    ours = [result for result in results if result.contender == _US]
    return sum(not result.good for result in ours) if ours else None


GOALS = (
    Goal("scenarios that failed, or did not end equal", False, 0, "", _not_equal),
    Goal("burst of inserts, against the raw ceiling", True, 0.75, "of it", _ratio("burst", "raw")),
    Goal("burst of inserts, against the batching script", True, 1.2, "times", _ratio("burst", "batching")),
    Goal("a backlog is drained, against the raw ceiling", True, 0.85, "of it", _ratio("backlog", "raw")),
    Goal("mixed load, against the batching script", True, 1.3, "times", _ratio("mixed", "batching")),
    Goal("hot updates, against the guide-style script", True, 20, "times", _ratio("hot", "guide")),
    Goal("latency at 50 writes a second, median", False, 7, "ms", _latency_ms("latency-50", "p50")),
    Goal("latency at 50 writes a second, 99%", False, 20, "ms", _latency_ms("latency-50", "p99")),
    Goal("latency at 2,000 writes a second, 99%", False, 100, "ms", _latency_ms("latency-2000", "p99")),
    Goal("CPU of the worker in the burst", False, 30, "µs a change", _cpu_us("burst")),
    Goal("resident memory of the worker, everywhere", False, 150, "MB", _most_memory_mb),
    Goal("CPU of the idle worker", False, 2, "% of a core", _cpu_percent("idle")),
    Goal("CPU of the worker at 50 writes a second", False, 12, "% of a core", _cpu_percent("latency-50")),
    Goal("capture and persist alone", True, 60_000, "changes/s", _rate_per_s("capture")),
    Goal("from a killed primary until changes arrive", False, 3, "s", _figure("fail-over", RECOVERY)),
)
