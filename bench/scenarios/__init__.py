"""All scenarios, in the order they run, and the contenders that take part in each."""

from functools import partial

from bench.documents import KILOBYTE
from bench.results import Result
from bench.running import Run, Scenario
from bench.scenarios import steady, throughput, waiting

_ALL = ("raw", "guide", "batching", "tsync")
_FOLLOWERS = ("guide", "batching", "tsync")
_WITH_A_POSITION = ("raw", "batching", "tsync")
_LARGE_BYTES = 50 * KILOBYTE
# The guide-style script cannot keep up at this rate and would only build a backlog.
_GUIDE_MOST_PER_S = 500
_RATES_PER_S = (10, 50, 500, 2_000)


def _burst(run: Run) -> Result:
    return throughput.insert(run, run.sizes.burst, KILOBYTE)


def _large(run: Run) -> Result:
    return throughput.insert(run, run.sizes.large, _LARGE_BYTES)


def _small(run: Run) -> Result:
    return throughput.insert(run, run.sizes.small, waiting.SMALL_BYTES)


def _latency(rate_per_s: int) -> Scenario:
    contenders = _FOLLOWERS if rate_per_s <= _GUIDE_MOST_PER_S else ("batching", "tsync")
    title = f"latency at {rate_per_s:,} writes a second"
    return Scenario(f"latency-{rate_per_s}", title, contenders, partial(steady.latency, rate_per_s=rate_per_s))


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("burst", "burst of inserts, 1 KB", _ALL, _burst),
        Scenario("mixed", "60% inserts, 30% updates, 10% deletes", _FOLLOWERS, throughput.mixed),
        Scenario("hot", "updates of 100 documents", _FOLLOWERS, throughput.hot),
        Scenario("large", "inserts of 50 KB", _ALL, _large),
        Scenario("small", "inserts of 200 B", _ALL, _small),
        Scenario("backlog", "a backlog is drained", _WITH_A_POSITION, waiting.backlog),
        Scenario(
            "backlog-frozen",
            "a backlog, Typesense was only frozen",
            ("raw", "tsync"),
            partial(waiting.backlog, frozen=True),
        ),
        Scenario("first-load", "documents that existed before", _WITH_A_POSITION, waiting.first_load),
        Scenario("verify", "both sides are compared", ("tsync",), waiting.verify),
        Scenario("capture", "capture and persist alone", ("tsync",), waiting.capture_alone),
        *map(_latency, _RATES_PER_S),
        Scenario("idle", "nothing changes", _FOLLOWERS, steady.idle),
        Scenario("fail-over", "the primary Redis is killed", ("tsync",), steady.fail_over),
    )
}
