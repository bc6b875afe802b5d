"""Jobs as the dashboard shows them: reconciles, what people filed, and refreshes, in one form (pure).

Invariant: a share is never guessed. Where a total is not known, it is None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tsync_stream.jobs.ledger import describe_outcome, measured
from tsync_stream.observe.reindex_progress import reindex_progress
from tsync_stream.observe.route_status import ReconcileStatus
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_view import PHASES, describe_job
from tsync_stream.state.generations import Generations
from tsync_stream.state.jobs import RECONCILE, STEERABLE, TIME_LEFT, Job
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.refreshes import OpenRefresh


def jobs_json(status: Status, ended: Sequence[Job], refreshes: Sequence[OpenRefresh]) -> dict[str, Any]:
    """The open ones, and those that ended last.

    `cancellable`: `POST …/jobs/ID/cancel` ends it. `steerable`: `…/pause` and `…/resume` have it wait and go on.
    """
    live = bool(status.live)
    opened = [
        *(_reindex(each, status) for each in status.reindexes),
        *(_reconcile(each) for each in status.reconciles),
        *(_filed(job, live=live) for job in status.jobs),
        *(_refresh(each, status.pipeline) for each in refreshes),
    ]
    return {"open": opened, "ended": [_ended(job) for job in ended]}


def _row(job: str, kind: str, route: str, text: str, **more: Any) -> dict[str, Any]:
    unknown = {"share": None, "left_s": None, "filed_at": None, "cancellable": False}
    unknown |= {"steerable": False, "paused": False, "rate_per_s": None}
    return {"job": job, "kind": kind, "route": route, "text": text, **unknown, **more}


def _reconcile(found: ReconcileStatus) -> dict[str, Any]:
    phase = PHASES[found.phase]
    total = max(found.synced, found.documents)
    text = f"{phase}; {found.synced} of about {total} documents are synced ({found.reason})"
    share = _share(found.synced, found.documents)
    wishes = {"steerable": True, "paused": found.paused, "rate_per_s": found.rate_per_s}
    return _row(found.job, RECONCILE, found.route, text, share=share, **wishes)


def _reindex(found: Generations, status: Status) -> dict[str, Any]:
    reindex = found.reindex
    assert reindex is not None
    at = reindex_progress(found, status)
    return _row(reindex.id, "reindex", found.route, at.text, share=_share(at.done, at.total), filed_at=reindex.filed_at)


def _filed(job: Job, *, live: bool) -> dict[str, Any]:
    steerable = job.kind in STEERABLE
    done, total, _ = measured(job, job.progress) if steerable else (0, 0, "")
    return _row(
        job.id,
        job.kind,
        job.route,
        describe_job(job, live=live),
        share=_share(done, total),
        left_s=job.progress.get(TIME_LEFT),
        filed_at=job.filed_at,
        cancellable=True,
        steerable=steerable,
        paused=job.paused,
        rate_per_s=job.rate_per_s,
    )


def _refresh(found: OpenRefresh, pipeline: Pipeline | None) -> dict[str, Any]:
    cursor: Mapping[str, Any] = {} if pipeline is None else pipeline.captured.cursors.get(found.id) or {}
    queued = int(cursor.get("queued", 0))
    began = f"{queued} documents queued so far" if found.begun else "waiting for its turn"
    changed = f"{found.references} changed document{'' if found.references == 1 else 's'} of {found.lookup.collection}"
    text = f"documents that show {changed} ({found.lookup.local}): {began}"
    return _row(found.id, "refresh", found.lookup.route, text)


def _ended(job: Job) -> dict[str, Any]:
    text, well = job.status, job.status == "done"
    result = job.result or {}
    if job.status == "failed":
        text = f"failed: {result.get('error', 'no reason is stored')}"
    elif job.status == "done" and "refused" in result:
        text, well = describe_outcome(job, result)
    row = _row(job.id, job.kind, job.route, text, filed_at=job.filed_at)
    return {**row, "status": job.status, "well": well, "ended_at": job.ended_at}


def _share(done: int, total: int) -> float | None:
    return round(min(1.0, done / total), 4) if total > 0 else None
