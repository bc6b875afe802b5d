"""One contender in one scenario, from fresh servers to the full comparison."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench.contenders import CONTENDERS, Contender
from bench.documents import Load
from bench.measuring import CpuMeter, wait_until
from bench.results import EQUAL, Result
from bench.surroundings import Surroundings, fresh
from tests.support.comparison import difference
from tests.support.memory import PeakMemory

_MEGABYTE = 1 << 20
# Longer than the slowest contender that is not stuck.
_SLOWEST_PER_S = 50
_START_S = 120.0
_COMPARE_S = 30.0
_COMPARE_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run, in changes or seconds."""

    burst: int = 50_000
    mixed: int = 20_000
    hot: int = 10_000
    large: int = 1_000
    small: int = 50_000
    backlog: int = 100_000
    first_load: int = 50_000
    capture: int = 200_000
    latency_s: float = 20.0
    idle_s: float = 20.0

    @classmethod
    def quick(cls) -> "Sizes":
        """Tiny sizes, which show only whether it works; the figures mean nothing."""
        return cls(
            burst=1_000,
            mixed=1_000,
            hot=1_000,
            large=50,
            small=1_000,
            backlog=3_000,
            first_load=3_000,
            capture=20_000,
            latency_s=3.0,
            idle_s=3.0,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What a scenario works with: servers, contender and sizes."""

    surroundings: Surroundings
    contender: Contender
    sizes: Sizes

    def share_of(self, count: int) -> int:
        """How many of these changes this contender gets."""
        return round(count * self.contender.share)

    def begin(self) -> None:
        """Start the contender, and wait until a first document has arrived."""
        self.contender.start()
        self.surroundings.warm_up()

    def meter(self, **others: int) -> CpuMeter:
        """Count CPU time from now on: of the servers, the contender, and `others` by process id."""
        pid = self.contender.pid
        contender = {} if pid is None else {"contender": pid}
        return CpuMeter({**self.surroundings.pids, **contender, **others})

    def wait_until_shown(self, count: int) -> None:
        """Wait until Typesense shows this many documents."""
        self._wait(lambda: self.surroundings.shown() >= count, count, f"{count} documents are not shown")

    def wait_until_all_shown(self, load: Load) -> None:
        """Wait until Typesense shows the end of a load."""
        self._wait(lambda: self.surroundings.shows_all_of(load.stay), load.count, "the load's end is not shown")

    def _wait(self, condition: Callable[[], bool], count: int, otherwise: str) -> None:
        wait_until(condition, _START_S + count / _SLOWEST_PER_S, otherwise, check=self.contender.check)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure, and who takes part in it."""

    name: str
    title: str
    contenders: tuple[str, ...]
    measure: Callable[[Run], Result]


def execute(scenario: Scenario, contender: str, sizes: Sizes, processor: int | None = None) -> Result:
    """Measure one contender. A failure is a result too, and the other contenders still run.

    `processor` is for Typesense alone.
    """
    try:
        result = _execute(scenario, contender, sizes, processor)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        result = Result(failure=f"{type(error).__name__}: {error}")
    result.scenario, result.contender = scenario.name, contender
    return result


def _execute(scenario: Scenario, name: str, sizes: Sizes, processor: int | None) -> Result:
    with ExitStack() as resources:
        surroundings = resources.enter_context(fresh(processor))
        contender = CONTENDERS[name](surroundings)
        resources.callback(contender.end)
        memory = resources.enter_context(PeakMemory(lambda: [contender.pid]).watched())
        try:
            result = scenario.measure(Run(surroundings, contender, sizes))
        except Exception:
            # Its directory is about to be removed, with the log.
            print(f"--- {name} in {scenario.name}: the end of its log ---\n{contender.log_tail()}", file=sys.stderr)
            raise
        result.servers = surroundings.versions
        result.peak_memory_mb = memory.peak_bytes / _MEGABYTE
        if contender.follows:
            result.comparison = _compare(surroundings)
    return result


def _compare(surroundings: Surroundings) -> str:
    """Compare all of Typesense with all of MongoDB, once what is in flight has had time to arrive."""
    ends_s = time.monotonic() + _COMPARE_S
    while found := difference(surroundings.stack, surroundings.names):
        if time.monotonic() > ends_s:
            return str(found)
        time.sleep(_COMPARE_AGAIN_S)
    return EQUAL
