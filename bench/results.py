"""The results of a run: one `Result` for each contender in each scenario, and all of them together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

NOT_COMPARED = "not compared"
EQUAL = "equal"


@dataclass(slots=True)
class Result:
    """One contender in one scenario. What does not apply is None or empty."""

    scenario: str = ""
    contender: str = ""
    rate_per_s: float | None = None
    """Changes a second, from the first write until Typesense shows the last one."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """From before the write to visible: p50, p90 and p99."""
    cpu_us: dict[str, float] = field(default_factory=dict)
    """CPU time per change, by process."""
    cpu_percent: dict[str, float] = field(default_factory=dict)
    """Percent of one processor, by process."""
    peak_memory_mb: float = 0.0
    """The most resident memory of the contender's process."""
    figures: dict[str, float] = field(default_factory=dict)
    """Whatever else was measured, by name and unit."""
    comparison: str = NOT_COMPARED
    """EQUAL, or how all of Typesense differs from all of MongoDB."""
    servers: str = ""
    """The versions of the servers."""
    failure: str = ""
    """Why there are no numbers."""

    @property
    def good(self) -> bool:
        """Whether it finished and nothing was wrong."""
        return not self.failure and self.comparison in {EQUAL, NOT_COMPARED}


def middle(rounds: Sequence[Result]) -> Result:
    """One contender's rounds of one scenario as one result: of each number the median, of memory and harm the worst.

    A machine that is shared gets faster and slower by the minute; the median of rounds taken in turn does so less.
    """
    first = rounds[0]
    rates = [each.rate_per_s for each in rounds if each.rate_per_s is not None]
    return replace(
        first,
        rate_per_s=median(rates) if rates else None,
        latency_ms=_medians([each.latency_ms for each in rounds]),
        cpu_us=_medians([each.cpu_us for each in rounds]),
        cpu_percent=_medians([each.cpu_percent for each in rounds]),
        peak_memory_mb=max(each.peak_memory_mb for each in rounds),
        figures=_medians([each.figures for each in rounds]),
        comparison=next((each.comparison for each in rounds if each.comparison != EQUAL), EQUAL),
        failure=next((each.failure for each in rounds if each.failure), ""),
    )


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in rounds if name in each) for name in rounds[0]}


def show(value: float | None) -> str:
    """A number for people, with about three digits; empty for None."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


class Results:
    """All results of a run, in their order."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = list(results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def get(self, scenario: str, contender: str) -> Result | None:
        """The result, if the contender finished."""
        for result in self._results:
            if (result.scenario, result.contender) == (scenario, contender) and not result.failure:
                return result
        return None

    def rate_per_s(self, scenario: str, contender: str) -> float | None:
        """Its rate, if it has one."""
        result = self.get(scenario, contender)
        return None if result is None else result.rate_per_s

    def ratio(self, scenario: str, contender: str, to: str) -> float | None:
        """A contender's rate divided by another's in the same scenario."""
        rate, other = self.rate_per_s(scenario, contender), self.rate_per_s(scenario, to)
        return None if rate is None or not other else rate / other

    def most_memory_mb(self, contender: str) -> float | None:
        """A contender's peak memory over all scenarios."""
        return max((each.peak_memory_mb for each in self._results if each.contender == contender), default=None)
