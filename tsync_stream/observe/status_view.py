"""`status` for people: a few lines, then a table of the queue and one of the replicas. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tsync_stream.coordination.jobs import DONE, SCAN, SWEEP, VERIFY, Job
from tsync_stream.observe.status import ReconcileStatus, ReplicaStatus, Status

NOT_STARTED = "no pipeline yet: start a worker (`faust -A tsync_stream worker`), and it syncs every document"

PHASES = {
    "waiting": "waiting for a replica to do it",
    "scan": "queueing every key of the source",
    "sweep": "looking in Typesense for what the source no longer has",
    "syncing": "everything is queued; the last entries are being synced",
}


def render(status: Status) -> RenderableType:
    """Everything, fit for a terminal."""
    parts: list[RenderableType] = [_summary(status)]
    if status.partitions:
        parts.append(_queue(status))
    if status.replicas:
        parts.append(_replicas(status))
    parts += [Text(line, "red") for line in problem_lines(status)]
    parts += [Text(f"cannot be seen: {text}", "yellow") for text in status.unseen]
    return Group(*parts)


def progress_line(status: Status, reconcile: ReconcileStatus) -> str:
    """A reconcile's progress in one line."""
    waiting = "" if status.entries is None else f"; {status.entries} entries wait"
    rate = status.rate("synced_per_s")
    pace = f", {rate:.0f}/s are synced" if rate else ""
    return f"{PHASES[reconcile.phase]}{waiting}{pace}"


def show_age(seconds: float) -> str:
    """`3 s`, `2 min`, `5 h` or `3 d`: one unit is enough to read."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _summary(status: Status) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(status):
        grid.add_row(name, value)
    return grid


def _lines(status: Status) -> Iterator[tuple[str, Text]]:
    pipeline = status.pipeline
    if pipeline is None:
        yield "pipeline", Text(NOT_STARTED)
        return
    epoch = pipeline.epoch
    yield "pipeline", Text(f"deployment {epoch.deployment}, epoch {epoch.epoch} on the {epoch.tier} tier")
    if pipeline.doubt is not None:
        yield "", Text(f"the tier is in doubt: {pipeline.doubt.reason}; the next epoch opens", "yellow")
    for name, reached in (("captured", status.captured), ("synced", status.synced)):
        if reached is not None:
            yield name, Text(f"{reached.time:%Y-%m-%dT%H:%M:%SZ}, {show_age(reached.age_s)} ago")
    if status.lag_s is not None:
        bound = "up to " if status.entries is None and status.lag_s else ""
        yield "lag", Text(f"{bound}{show_age(status.lag_s)}")
    waiting = "cannot be seen" if status.entries is None else f"{status.entries} entries"
    yield "queue", Text(waiting)
    captured_per_s, synced_per_s = status.rate("captured_per_s"), status.rate("synced_per_s")
    if captured_per_s is not None and synced_per_s is not None:
        yield "pace", Text(f"{captured_per_s:g}/s captured, {synced_per_s:g}/s synced")
    yield "dead letters", Text(f"{status.dead_letters} open", "red" if status.dead_letters else "")
    yield "rechecks", Text(f"{status.rechecks} waiting")
    yield "reconcile", _reconcile(status.reconcile)
    for number, job in enumerate(status.jobs):
        # The others wait for the first one.
        yield "jobs" if number == 0 else "", Text(show_job(job, live=bool(status.live)), "yellow")
    if status.capturing is None:
        yield "capture", Text("nobody captures now: changes wait in MongoDB's oplog", "red")


def show_job(job: Job, *, live: bool) -> str:
    """How far a job is, in one line."""
    if "phase" not in job.progress:
        phase = "waiting for its turn" if live else "waiting for a replica to do it"
    elif job.kind == VERIFY:
        phase = _verify_phase(job.progress, job.arguments.get("documents", 0))
    else:
        phase = _replay_phase(job.progress, job.arguments.get("chosen"))
    return f"{job.kind} {job.id}: {phase}"


def _replay_phase(progress: Mapping[str, Any], chosen: int | None) -> str:
    if progress["phase"] == DONE:
        return f"all {progress['queued']} are queued; the last ones are being synced"
    of = "" if chosen is None else f" of {max(chosen, progress['queued'])}"
    return f"{progress['queued']}{of} are queued"


def _verify_phase(progress: Mapping[str, Any], documents: int) -> str:
    compared = progress["compared"]
    found = progress["missing"] + progress["different"] + progress["extra"]
    phase = {
        SCAN: f"{compared} of about {max(compared, documents)} documents are compared",
        SWEEP: f"{compared} documents are compared; looking in Typesense for what the source lacks",
        DONE: "everything is compared; the last entries are being synced",
    }[progress["phase"]]
    return f"{phase}; {found} differ"


def _reconcile(reconcile: ReconcileStatus | None) -> Text:
    if reconcile is None:
        return Text("none open")
    allowed = ", mass delete allowed" if reconcile.mass_delete_allowed else ""
    return Text(f"open ({reconcile.reason}{allowed}): {PHASES[reconcile.phase]}", "yellow")


def _table(*headings: str) -> Table:
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _queue(status: Status) -> RenderableType:
    table = _table("partition", "entries", "owner")
    states = {replica.name: replica.state for replica in status.replicas}
    for partition in status.partitions:
        entries = "?" if partition.entries is None else str(partition.entries)
        if partition.owner is None:
            owner = Text("nobody", "red")
        elif (state := states.get(partition.owner, "gone")) != "live":
            owner = Text(f"{partition.owner} ({state})", "red")
        else:
            owner = Text(partition.owner)
        table.add_row(str(partition.partition), entries, owner)
    return table


def _replicas(status: Status) -> RenderableType:
    table = _table("replica", "state", "captures", "partitions", "captured", "synced")
    for replica in status.replicas:
        state = replica.state
        if replica.state == "silent" and replica.silent_s is not None:
            state_text = f"silent for {show_age(replica.silent_s)}"
        else:
            state_text = state
        table.add_row(
            replica.name,
            Text(state_text, "green" if state == "live" else "red"),
            "yes" if replica.captures else "",
            str(replica.partitions),
            _done(replica, "captured"),
            _done(replica, "synced"),
        )
    return table


def _done(replica: ReplicaStatus, name: str) -> str:
    total = replica.statistics.get(name)
    return "" if total is None else f"{total} ({replica.statistics.get(f'{name}_per_s', 0):g}/s)"


def problem_lines(status: Status) -> list[str]:
    """What live replicas complain of, once each: several may see the same."""
    return sorted({f"{problem['check']}: {problem['text']}" for replica in status.live for problem in replica.problems})
