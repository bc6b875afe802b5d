"""What a steady load shows: latency at a fixed rate, the cost of idling, and the pause when a Redis dies."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bench.latency import Eye, Watch, percentiles_ms
from bench.pacing import MOST_COMMANDS_PER_S
from bench.process import Process
from bench.results import Result
from bench.running import Run
from bench.surroundings import Surroundings

# The names of figures.
RECOVERY = "s from the kill until changes arrive again"
SLOWEST = "s of the slowest change"

_SAMPLES_PER_S = 12.5
# Extra time for writes that are late because the machine is busy, and for changes that are.
_LATE_S = 60.0
# Some work is done only once after a start.
_SETTLE_S = 3.0
_FAIL_OVER_RATE_PER_S = 50
_FAIL_OVER_LOAD_S = 15.0
_KILL_AFTER_S = 3.0


def latency(run: Run, rate_per_s: int) -> Result:
    """Time some of the documents of a steady load, and measure the CPU time of all processes meanwhile."""
    run.begin()
    seconds = run.sizes.latency_s
    with paced(run.surroundings, rate_per_s, seconds, sampled(rate_per_s)) as (process, watch):
        meter = run.meter(writer=process.running_pid())
        process.go()
        written = watch.until_written(seconds + _LATE_S)
        cpu_us, cpu_percent = meter.per_change_us(written.documents), meter.shares_percent()
        unseen = watch.until_seen(_LATE_S)
    run.contender.check()
    figures = {"written, a second": written.documents / written.seconds, "samples": float(len(watch.sightings))}
    if unseen:
        figures["samples never seen"] = unseen
    return Result(latency_ms=percentiles_ms(watch.sightings), cpu_us=cpu_us, cpu_percent=cpu_percent, figures=figures)


def idle(run: Run) -> Result:
    """Nothing changes."""
    run.begin()
    time.sleep(_SETTLE_S)
    meter = run.meter()
    time.sleep(run.sizes.idle_s)
    return Result(cpu_percent=meter.shares_percent())


def fail_over(run: Run) -> Result:
    """Kill the primary Redis under a light load, and time until the first change after that is visible."""
    run.begin()
    killed_s: list[float] = []

    def kill() -> None:
        killed_s.append(time.monotonic())
        run.surroundings.stack.primary_redis.kill()

    killing = threading.Timer(_KILL_AFTER_S, kill)
    with paced(run.surroundings, _FAIL_OVER_RATE_PER_S, _FAIL_OVER_LOAD_S, sample_every=1) as (process, watch):
        process.go()
        killing.start()
        try:
            watch.until_written(_FAIL_OVER_LOAD_S + _LATE_S)
            unseen = watch.until_seen(_LATE_S)
        finally:
            killing.cancel()
            killing.join()
    if unseen:
        raise TimeoutError(f"{unseen} changes were not seen within {_LATE_S:.0f} s")
    first_seen_s = min(each.seen_s for each in watch.sightings if each.sent_s > killed_s[0])
    slowest_s = max(each.latency_ms for each in watch.sightings) / 1_000
    return Result(figures={RECOVERY: first_seen_s - killed_s[0], SLOWEST: slowest_s})


def sampled(rate_per_s: float) -> int:
    """Every how many commands of a load at this rate to watch."""
    return max(1, round(min(rate_per_s, MOST_COMMANDS_PER_S) / _SAMPLES_PER_S))


@contextmanager
def paced(
    surroundings: Surroundings, rate_per_s: float, seconds: float, sample_every: int
) -> Iterator[tuple[Process, Watch]]:
    """A process ready to write at this rate, and a watch on what it writes."""
    arguments = [str(rate_per_s), str(seconds), str(sample_every)]
    process = Process("bench.pacing", arguments, surroundings.environment, surroundings.directory)
    try:
        process.launch()
        process.wait_until_ready()
        with closing(Eye(surroundings.stack.typesense, surroundings.names)) as eye:
            yield process, Watch(process.output, eye.sees)
    finally:
        process.end()
