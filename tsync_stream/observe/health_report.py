"""The answers of `/health`, `/health/ready` and `/health/live`. docs/health.schema.json is made of these models.

Written by `python -m tsync_stream.observe.health_report FILE`. Invariant: pure, and so it answers during every outage.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pydantic import BaseModel, ConfigDict, Field

from tsync_stream.cluster.membership import CHECK, TABLE_CHECK
from tsync_stream.core.clock import Moment
from tsync_stream.core.health import Health, Kind, Level
from tsync_stream.observe.conditions import PARTITIONS, ROUTES, SERVERS, STAGES, Condition

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Status: TypeAlias = Literal["green", "degraded", "red"]
Phase: TypeAlias = Literal["starting", "running", "stopping"]
STARTING: Phase = "starting"
RUNNING: Phase = "running"
STOPPING: Phase = "stopping"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lasting(_Model):
    """Something that has lasted for a while."""

    since: datetime = Field(description="Since when, on this machine's clock (UTC).")
    for_s: float = Field(ge=0, description="How long that is, in seconds, on a clock that never steps back.")


class ProblemReport(Lasting):
    """A check that is not green."""

    check: str = Field(description="The name of the check, such as `server typesense` or `route orders`.")
    level: Level = Field(
        description="`degraded`: the pipeline copes. `red`: a person must act, or waiting work does not move."
    )
    kind: Kind = Field(
        description="`fault`: it keeps changes from Typesense. `notice`: they still arrive. `work`: a reconcile runs."
    )
    text: str = Field(description="What is wrong, and what happens next or what to do.")
    needs_person: bool = Field(description="Whether it does not pass by itself.")


class OverReport(Lasting):
    """A check that is green again."""

    check: str = Field(description="The name of the check.")
    text: str = Field(description="What it said last before it became green.")


class PartReport(Lasting):
    """A server, a stage, a route or a partition."""

    name: str = Field(description="Its name; of a partition, its number.")
    state: str = Field(description="Its state, in one word.")
    text: str = Field(description="What there is to say about its state; empty if nothing.")


class SettingsReport(_Model):
    """The settings that this replica works with."""

    version: str = Field(description="A digest of all of them and of the routes file; secrets are left out.")
    since: datetime = Field(description="When they came into force (UTC).")
    restart_for: list[str] = Field(description="What has changed in files, and needs a restart to take effect.")


class HealthReport(_Model):
    """The answer of `/health`."""

    status: Status = Field(description="The worst level of all problems; `green` if there is none.")
    since: datetime = Field(description="Since when the status is that (UTC).")
    for_s: float = Field(ge=0, description="How long that is, in seconds.")
    phase: Phase = Field(description="Whether this replica starts, runs or stops.")
    replica: str = Field(description="Its name in `status`; empty until it has started.")
    settings: SettingsReport | None = Field(description="Its settings; null until it has started.")
    problems: list[ProblemReport] = Field(description="The checks that are not green, by name.")
    over: list[OverReport] = Field(description="Checks that are green again, newest first; at most 50.")
    servers: list[PartReport] = Field(description="`reachable`, `unreachable` or `refusing`.")
    stages: list[PartReport] = Field(
        description=(
            "`capture`: `standby`, `beginning`, `opening`, `reading`, `paused` or `stopping`. `persist`: `standby` or "
            "`working`. `sync`: `standby`, `claiming`, `working` or `retrying`."
        )
    )
    routes: list[PartReport] = Field(description="`live`, `reconciling`, `suspended` or `unknown`.")
    partitions: list[PartReport] = Field(
        description="The partitions that this replica owns: `claiming`, `working` or `retrying`."
    )


class ReadyReport(_Model):
    """The answer of `/health/ready`."""

    ready: bool = Field(description="Whether this replica may take work.")
    text: str = Field(description="Why not; empty if it is ready.")


class LiveReport(_Model):
    """The answer of `/health/live`. A process whose event loop is stuck does not answer."""

    live: Literal[True] = Field(description="The event loop turns.")


class ReplicaView(_Model):
    """What the pages know of the replica. `member`: it shares the settings and routes of those that take leases."""

    phase: Phase = STARTING
    replica: str = ""
    member: bool = False
    partitions_owned: int = 0
    settings: SettingsReport | None = None
    by_group: dict[str, dict[str, Condition]] = Field(default_factory=dict)


def health_report(health: Health, view: ReplicaView) -> HealthReport:
    """The answer of `/health` (pure)."""
    return HealthReport(
        status=cast("Status", health.status),
        **_lasting(health.status_since),
        phase=view.phase,
        replica=view.replica,
        settings=view.settings,
        problems=[
            ProblemReport(
                check=check,
                level=problem.level,
                kind=problem.kind,
                text=problem.text,
                needs_person=problem.needs_person,
                **_lasting(health.since(check)),
            )
            for check, problem in sorted(health.problems.items())
        ],
        over=[
            OverReport(check=check, text=over.text, **_lasting(over.since))
            for check, over in reversed(list(health.over.items()))
        ],
        servers=_parts(view, SERVERS),
        stages=_parts(view, STAGES),
        routes=_parts(view, ROUTES),
        partitions=_parts(view, PARTITIONS),
    )


def ready_report(health: Health, view: ReplicaView) -> ReadyReport:
    """The answer of `/health/ready` (pure). No outage makes a replica that has started unready."""
    why = ""
    settings, table = health.problems.get(CHECK), health.problems.get(TABLE_CHECK)
    if view.phase == STARTING:
        start = health.problems.get("start")
        why = "this replica is starting" + (f": {start.text}" if start else "")
    elif view.phase == STOPPING:
        why = "this replica is stopping"
    elif settings is not None:
        why = settings.text
    elif table is None and not view.member:
        why = "this replica has not joined those with the same settings yet"
    # One with the older table of routes only waits: a rolling restart must not stop at it.
    return ReadyReport(ready=not why, text=why)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the answer of `/health`, as plain values."""
    return {"$schema": DIALECT, **HealthReport.model_json_schema(mode="serialization"), "title": "GET /health"}


def text() -> str:
    """The schema as docs/health.schema.json holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _parts(view: ReplicaView, group: str) -> list[PartReport]:
    return [
        PartReport(name=name, state=condition.state.word, text=condition.state.text, **_lasting(condition.since))
        for name, condition in view.by_group.get(group, {}).items()
    ]


def _lasting(since: Moment) -> dict[str, Any]:
    return {"since": since.at, "for_s": round(max(0.0, since.for_s()), 1)}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
