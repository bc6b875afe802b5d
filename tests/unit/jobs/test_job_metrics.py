"""The open jobs as the metrics show them."""

from tsync_stream.jobs.job_metrics import JobState, phase_of, show_jobs
from tsync_stream.observe.metrics import Metrics


def shown(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(("tsync_jobs_open{", "tsync_job_progress")))
    return {name.removeprefix("tsync_"): float(value) for name, value in pairs}


def test_jobs_are_counted_by_phase_and_show_how_far_they_are() -> None:
    metrics = Metrics()
    show_jobs(
        metrics,
        [
            JobState("reconcile", "orders", "scan", 25, 100),
            JobState("verify", "orders", "run", 300, 200),  # the total is an estimate
            JobState("verify", "orders", "wait", 0, 200),
            JobState("replay", "orders", "wait", 0, 0),
        ],
    )
    assert shown(metrics) == {
        'jobs_open{kind="reconcile",phase="scan"}': 1,
        'jobs_open{kind="verify",phase="run"}': 1,
        'jobs_open{kind="verify",phase="wait"}': 1,
        'jobs_open{kind="replay",phase="wait"}': 1,
        'job_progress_ratio{kind="reconcile",route="orders"}': 0.25,
        'job_progress_ratio{kind="verify",route="orders"}': 1.0,
    }
    show_jobs(metrics, [])
    assert shown(metrics) == {}


def test_a_job_that_has_queued_everything_waits_until_it_is_synced() -> None:
    assert [phase_of(phase) for phase in ("scan", "sweep", "done")] == ["scan", "sweep", "sync"]
