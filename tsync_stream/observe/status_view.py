"""`status` for people: a few lines, and tables of the routes if there are several, the queue, the replicas. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tsync_stream.observe.progress import percent, show_age, show_left
from tsync_stream.observe.reindex_text import describe_reindex
from tsync_stream.observe.route_status import ReconcileStatus, RouteStatus
from tsync_stream.observe.status import ReplicaStatus, Status
from tsync_stream.observe.verified import verified_text
from tsync_stream.state.dead_letter_counts import WHAT_TO_DO
from tsync_stream.state.jobs import BACKUP_JOB, DONE, PARTIAL, SCAN, SWEEP, TIME_LEFT, VERIFY, Job

NOT_STARTED = "no pipeline yet: start a worker (`tsync worker`), which syncs every document"

PHASES = {
    "waiting": "waiting for a replica",
    "suspended": "waiting until the route can be synced again, since it is suspended",
    "paused": "paused by a person; `tsync reconcile --resume` lets it go on",
    "scan": "queueing every key of the source",
    "sweep": "looking in Typesense for ids that the source no longer has",
    "syncing": "everything is queued; the last entries are being synced",
}


def render(status: Status) -> RenderableType:
    """The whole status, for a terminal."""
    parts: list[RenderableType] = [_summary(status)]
    if len(status.routes) > 1:
        parts.append(_routes(status))
    if status.partitions:
        parts.append(_queue(status))
    if status.replicas:
        parts.append(_replicas(status))
    parts += [Text(line, "yellow") for line in restart_lines(status)]
    parts += [Text(line, "red") for line in problem_lines(status)]
    parts += [Text(f"cannot be read: {text}", "yellow") for text in status.unseen]
    return Group(*parts)


def progress_line(status: Status, reconcile: ReconcileStatus) -> str:
    """A reconcile's progress in one line."""
    waiting = "" if status.entries is None else f"; {status.entries} entries are waiting"
    rate = status.rate("synced_per_s")
    pace = f", {rate:.0f} are synced per second" if rate else ""
    return f"{_reconcile_phase(status, reconcile)}{waiting}{pace}"


def _reconcile_phase(status: Status, reconcile: ReconcileStatus) -> str:
    phase = PHASES[reconcile.phase]
    if not reconcile.documents:
        return phase
    done, total = reconcile.synced, max(reconcile.synced, reconcile.documents)
    rate = status.rate("synced_per_s")
    left = show_left((total - done) / rate) if rate and done < total else ""
    return f"{phase}; {percent(done, total)} %, {done} of about {total} documents are synced{left}"


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
    if pipeline.tier_suspect is not None:
        yield "", Text(f"the tier is suspect: {pipeline.tier_suspect.reason}; the next epoch opens", "yellow")
    for name, reached in (("captured", status.captured), ("synced", status.synced)):
        if reached is not None:
            yield name, Text(f"{reached.time:%Y-%m-%dT%H:%M:%SZ}, {show_age(reached.age_s)} ago")
    if status.lag_s is not None:
        bound = "up to " if status.entries is None and status.lag_s else ""
        yield "lag", Text(f"{bound}{show_age(status.lag_s)}")
    waiting = "cannot be read" if status.entries is None else f"{status.entries} entries"
    yield "queue", Text(waiting)
    captured_per_s, synced_per_s = status.rate("captured_per_s"), status.rate("synced_per_s")
    if captured_per_s is not None and synced_per_s is not None:
        yield "pace", Text(f"{captured_per_s:g}/s captured, {synced_per_s:g}/s synced")
    yield from (("", Text(reason, "yellow")) for reason in status.slowing)
    yield "dead letters", _refused(status)
    yield "rechecks", Text(f"{status.rechecks} waiting")
    yield "reconcile", _reconcile(status)
    several = len(status.routes) > 1
    seen = [(route.name, route.verified) for route in status.routes if route.verified is not None]
    for number, (name, claim) in enumerate(seen):
        of_route = f"{name}: " if several else ""
        style = "red" if claim.open else "yellow" if claim.paused else ""
        yield "" if number else "verified", Text(f"{of_route}{verified_text(claim)}", style)
    for number, job in enumerate(status.jobs):
        # Those of one route run one at a time, in this order.
        of_route = f" (route {job.route})" if several and job.route else ""
        yield "jobs" if number == 0 else "", Text(f"{show_job(job, live=bool(status.live))}{of_route}", "yellow")
    yield from _reindexes(status)
    if status.capturing is None:
        yield (
            "capture",
            Text("no replica captures now: changes wait in MongoDB's oplog. If this lasts, start a replica", "red"),
        )


def _reindexes(status: Status) -> Iterator[tuple[str, Text]]:
    for number, each in enumerate(status.reindexes):
        assert each.reindex is not None
        of_route = f"{each.route}, {each.reindex.phase} since {each.reindex.since:%Y-%m-%dT%H:%M:%SZ}"
        style = "red" if each.reindex.phase == "failed" else "" if each.reindex.phase == "kept" else "yellow"
        yield "" if number else "reindex", Text(f"{of_route}: {describe_reindex(each)}", style)


def show_job(job: Job, *, live: bool) -> str:
    """A job, how far it is, and how long that will take, in one line."""
    name = job.id if job.id.startswith(job.kind) else f"{job.kind} {job.id}"
    left = "" if _is_held(job) else show_left(job.progress.get(TIME_LEFT))
    return f"{name}: {describe_job(job, live=live)}{left}"


def describe_job(job: Job, *, live: bool) -> str:
    """How far a job is."""
    if "phase" not in job.progress:
        phase = "waiting for its turn" if live else "waiting for a replica"
        phase = "nothing is queued yet" if job.paused else phase
    elif job.kind == PARTIAL:
        phase = _partial_phase(job.progress, job.arguments)
    elif job.kind == BACKUP_JOB:
        phase = _backup_phase(job.progress)
    elif job.kind == VERIFY:
        phase = _verify_phase(job.progress, job.arguments.get("documents", 0))
    else:
        phase = _replay_phase(job.progress, job.arguments.get("chosen"))
    return f"paused by a person; {phase}" if _is_held(job) else phase


def _is_held(job: Job) -> bool:
    """Whether it waits for a person. Once all is queued, a pause comes too late."""
    return job.paused and job.progress.get("phase") != DONE


def _partial_phase(progress: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    looked_at, queued = progress["looked_at"], progress["queued"]
    if progress["phase"] == DONE:
        return f"all {queued} are queued; the last ones are being synced"
    if arguments.get("query") is None:
        total = max(queued, arguments.get("chosen", 0))
        return f"{queued} of {total} ids are queued ({percent(queued, total)} %)"
    total = max(looked_at, arguments.get("documents", 0))
    share = percent(looked_at, total)
    return f"{queued} match and are queued; {looked_at} of about {total} documents are looked at ({share} %)"


def _backup_phase(progress: Mapping[str, Any]) -> str:
    if progress["phase"] == "snapshot":
        return "Typesense writes its snapshot"
    return f"{progress.get('copied', 0)} documents of {progress['phase']} are copied"


def _replay_phase(progress: Mapping[str, Any], chosen: int | None) -> str:
    if progress["phase"] == DONE:
        return f"all {progress['queued']} are queued; the last ones are being synced"
    queued = progress["queued"]
    if chosen is None:
        return f"{queued} are queued"
    total = max(chosen, queued)
    return f"{queued} of {total} are queued ({percent(queued, total)} %)"


def _verify_phase(progress: Mapping[str, Any], documents: int) -> str:
    compared = progress["compared"]
    found = progress["missing"] + progress["different"] + progress["extra"]
    share = percent(compared, documents)
    phase = {
        SCAN: f"{compared} of about {max(compared, documents)} documents are compared ({share} %)",
        SWEEP: f"{compared} documents are compared; looking in Typesense for ids that the source lacks",
        DONE: "everything is compared; the last entries are being synced",
    }[progress["phase"]]
    return f"{phase}; {progress['excepted']} are refused, {found} of the others differ"


def _refused(status: Status) -> Text:
    refused = status.refused
    if not refused.total:
        return Text("none open")
    share = ""
    if status.documents:
        share = f", {100 * refused.total / max(status.documents, refused.total):.3g} % of the documents"
    return Text(f"{refused.total} open{share} ({refused.reasons}): {WHAT_TO_DO}", "red")


def _reconcile(status: Status) -> Text:
    reconcile = status.reconcile
    if reconcile is None:
        return Text("none open")
    if len(status.routes) > 1:
        return Text(f"open for {', '.join(each.route for each in status.reconciles)}", "yellow")
    allowed = ", mass delete allowed" if reconcile.mass_delete_allowed else ""
    return Text(f"open ({reconcile.reason}{allowed}): {_reconcile_phase(status, reconcile)}", "yellow")


def _table(*headings: str) -> Table:
    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _routes(status: Status) -> RenderableType:
    table = _table("route", "source", "target", "documents", "refused", "lag", "reconcile")
    for route in status.routes:
        table.add_row(
            route.name,
            route.source,
            route.target,
            "?" if route.documents is None else str(route.documents),
            Text(str(route.refused.total), "red" if route.refused.total else ""),
            "" if route.lag_s is None else show_age(route.lag_s),
            _state(route),
        )
    return table


def _state(route: RouteStatus) -> Text:
    if route.suspended:
        return Text("suspended", "red")
    if not route.declared:
        return Text("not declared here", "yellow")
    if route.reconcile is None:
        return Text("none open")
    synced, documents = route.reconcile.synced, route.reconcile.documents
    share = f", {percent(synced, max(synced, documents))} %" if documents else ""
    return Text(f"{route.reconcile.phase}{share}", "yellow")


def _queue(status: Status) -> RenderableType:
    table = _table("partition", "entries", "owner")
    states = {replica.name: replica.state for replica in status.replicas}
    for partition in status.partitions:
        entries = "?" if partition.entries is None else str(partition.entries)
        if partition.owner is None:
            owner = Text("no owner", "red")
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


def restart_lines(status: Status) -> list[str]:
    """The live replicas whose files changed in a way that needs a restart."""
    return [
        f"{replica.name}: a restart is needed for {', '.join(replica.restart_for)}"
        for replica in status.live
        if replica.restart_for
    ]


def problem_lines(status: Status) -> list[str]:
    """The problems that live replicas report, each once: several may report the same."""
    return sorted({f"{problem['check']}: {problem['text']}" for replica in status.live for problem in replica.problems})
