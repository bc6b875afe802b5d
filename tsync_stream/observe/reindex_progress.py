"""How far an open reindex is, from one look at the status. Pure."""

from dataclasses import dataclass

from tsync_stream.observe.reindex_text import describe_reindex
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_view import progress_line, show_job
from tsync_stream.routes.generations import generation_name
from tsync_stream.state.generations import Generations


@dataclass(frozen=True, slots=True)
class ReindexProgress:
    """What it does, in one line; and how many documents are done of about `total`, 0 where nothing is counted."""

    text: str
    done: int = 0
    total: int = 0


def reindex_progress(document: Generations, status: Status) -> ReindexProgress:
    """The progress of the reindex that is open in a document."""
    reindex = document.reindex
    assert reindex is not None
    name = generation_name(document.route, reindex.number)
    filling = next((each for each in status.reconciles if each.route == name), None)
    if reindex.phase == "building" and filling is not None:
        text = f"building: {progress_line(status, filling)}"
        return ReindexProgress(text, filling.synced, max(filling.synced, filling.documents))
    job = next((each for each in status.jobs if each.id == reindex.verify_job), None)
    if reindex.phase == "verifying" and job is not None:
        compared = int(job.progress.get("compared", 0))
        text = f"verifying: {show_job(job, live=bool(status.live))}"
        return ReindexProgress(text, compared, max(compared, int(job.arguments.get("documents", 0))))
    return ReindexProgress(f"{reindex.phase}: {describe_reindex(document)}")
