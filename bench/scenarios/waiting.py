"""Changes that are already waiting: in the queue, in the oplog, or as documents that nobody has synced yet.

The rate is counted from the first visible document to the last one, so the time that a server or process takes to start
does not count; it is a separate figure.
"""

import time

from bench.contenders import Raw, Tsync
from bench.documents import KILOBYTE
from bench.measuring import wait_until
from bench.results import Result
from bench.running import Run
from bench.scenarios.throughput import insert

SMALL_BYTES = 200
_CAPTURE_S = 600.0
_VERIFY_S = 600.0
_RESTART_S = 60.0
_METRIC_INTERVAL_S = 0.1
_APPENDED = "tsync_entries_appended_total"


def backlog(run: Run, *, frozen: bool = False) -> Result:
    """Typesense is stopped, or frozen, and tsync-stream queues.

    A script has no queue: it is stopped itself, and goes on later. The ceiling is that of a Typesense that was
    restarted too.
    """
    count, contender = run.sizes.backlog, run.contender
    typesense = run.surroundings.stack.typesense
    if isinstance(contender, Raw):
        if not frozen:
            typesense.stop()
            run.surroundings.launch_typesense()
            typesense.wait_ready(_RESTART_S)
        return insert(run, count, KILOBYTE)
    run.begin()
    if not isinstance(contender, Tsync):
        contender.stop()
        run.surroundings.insert(count, KILOBYTE)
        contender.launch()
        return _drain(run, count)
    before_bytes, appended = run.surroundings.redis_data_bytes(), contender.metric(_APPENDED)
    (typesense.freeze if frozen else typesense.stop)()
    run.surroundings.insert(count, KILOBYTE)
    wait_until(
        lambda: contender.metric(_APPENDED) >= appended + count,
        _CAPTURE_S,
        "the backlog is not captured",
        check=contender.check,
        interval_s=_METRIC_INTERVAL_S,
    )
    queued_bytes = run.surroundings.redis_data_bytes() - before_bytes
    queued = contender.metric(_APPENDED)
    (typesense.thaw if frozen else run.surroundings.launch_typesense)()
    result = _drain(run, count)
    result.figures["bytes of Redis memory an entry"] = queued_bytes / count
    result.figures["entries queued again while it was drained"] = contender.metric(_APPENDED) - queued
    return result


def first_load(run: Run) -> Result:
    """The documents exist before the contender's first start."""
    count = run.sizes.first_load
    if isinstance(run.contender, Raw):
        return insert(run, count, KILOBYTE)
    run.surroundings.insert(count, KILOBYTE)
    run.contender.launch()
    return _drain(run, count)


def verify(run: Run) -> Result:
    """Both sides are equal, and every document is compared."""
    count, contender = run.sizes.first_load, run.contender
    assert isinstance(contender, Tsync)
    run.surroundings.insert(count, KILOBYTE)
    contender.start()
    run.wait_until_shown(count)
    job = contender.file_verification()
    meter, started_s = run.meter(), time.monotonic()
    wait_until(
        lambda: contender.result_of(job) is not None, _VERIFY_S, "the verification does not end", check=contender.check
    )
    passed_s = time.monotonic() - started_s
    result = contender.result_of(job)
    assert result is not None
    assert (result["compared"], result["missing"] + result["different"] + result["extra"]) == (count, 0), result
    return Result(rate_per_s=count / passed_s, cpu_us=meter.per_change_us(count))


def capture_alone(run: Run) -> Result:
    """From the oplog into the queue, while Typesense is frozen so that nothing leaves it."""
    count, contender = run.sizes.capture, run.contender
    assert isinstance(contender, Tsync)
    run.begin()
    contender.stop()
    run.surroundings.insert(count, SMALL_BYTES)
    run.surroundings.stack.typesense.freeze()
    contender.launch()

    def appended() -> float:
        return contender.metric(_APPENDED)

    def wait_until_appended(least: int) -> None:
        wait_until(
            lambda: appended() >= least,
            _CAPTURE_S,
            f"{least} changes are not captured",
            check=contender.check,
            interval_s=_METRIC_INTERVAL_S,
        )

    wait_until_appended(1)
    meter, first, started_s = run.meter(), appended(), time.monotonic()
    wait_until_appended(count)
    passed_s = time.monotonic() - started_s
    captured = count - int(first)
    result = Result(rate_per_s=captured / passed_s if captured else None, cpu_us=meter.per_change_us(captured))
    run.surroundings.stack.typesense.thaw()
    run.wait_until_shown(count)
    return result


def _drain(run: Run, count: int) -> Result:
    started_s = time.monotonic()
    run.wait_until_shown(1)
    meter, first, first_s = run.meter(), run.surroundings.shown(), time.monotonic()
    run.wait_until_shown(count)
    ended_s = time.monotonic()
    drained = count - first
    return Result(
        rate_per_s=drained / (ended_s - first_s) if drained else None,
        cpu_us=meter.per_change_us(drained),
        figures={"s from the start to the first document": first_s - started_s, "s to all": ended_s - started_s},
    )
