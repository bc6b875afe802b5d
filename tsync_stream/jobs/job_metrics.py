"""The open jobs of a term, as the metrics show them."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tsync_stream.observe.metrics import Metrics
from tsync_stream.state.jobs import DONE

WAITING, RUNNING, SYNCING, PAUSED = "wait", "run", "sync", "paused"


class JobState(NamedTuple):
    """An open job: what it does now, and how much is done of about `total`; 0 while that is not known."""

    kind: str
    route: str
    phase: str
    done: int
    total: int


def phase_of(cursor_phase: str) -> str:
    """What a job does, by the phase in its cursor: once all is queued, it waits until that is synced (pure)."""
    return SYNCING if cursor_phase == DONE else cursor_phase


def show_jobs(metrics: Metrics, states: Iterable[JobState]) -> None:
    """Show these jobs and no others. Of several jobs of a kind and route, the oldest shows its progress."""
    found = list(states)
    metrics.jobs_open.clear()
    for (kind, phase), count in Counter((state.kind, state.phase) for state in found).items():
        metrics.jobs_open.labels(kind, phase).set(count)
    metrics.job_progress_ratio.clear()
    for state in reversed(found):
        if state.total > 0:
            metrics.job_progress_ratio.labels(state.kind, state.route).set(min(1.0, state.done / state.total))
