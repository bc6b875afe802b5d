"""`status`: where the pipeline stands, judged from MongoDB and the queue; no replica is asked. Pure.

Invariants: what could not be read is named in `unseen`, never guessed. All ages are on MongoDB's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tsync_stream.cluster.membership_view import MembershipView
from tsync_stream.core.model import Position
from tsync_stream.observe.reindex_text import reindex_json
from tsync_stream.observe.route_status import (
    ReconcileStatus,
    RouteFacts,
    RouteStatus,
    judge_routes,
    reconcile_json,
    route_json,
)
from tsync_stream.state.dead_letter_counts import Refused, all_refused
from tsync_stream.state.generations import Generations
from tsync_stream.state.jobs import TIME_LEFT, Job
from tsync_stream.state.pipeline import BarrierRecord, Pipeline, synced_position

# While a replica captures, the captured position follows MongoDB's clock even without changes: see
# `IDLE_BARRIER_INTERVAL_S`.
CAPTURED_IS_CURRENT_S = 20.0


# ---- what was read ----


@dataclass(frozen=True, slots=True)
class Facts:
    """One look. `backlog` is None if the queue could not be read; `unseen` says why. `now` is MongoDB's time."""

    now: datetime
    pipeline: Pipeline | None = None
    records: Mapping[int, BarrierRecord] = field(default_factory=dict)
    membership: MembershipView = field(default_factory=MembershipView)
    backlog: Sequence[int] | None = None
    routes: Sequence[RouteFacts] = ()
    rechecks: int = 0
    unseen: Sequence[str] = ()
    jobs: Sequence[Job] = ()
    generations: Sequence[Generations] = ()


# ---- what it means ----


@dataclass(frozen=True, slots=True)
class Reached:
    """A position in time: its cluster time, and how many seconds ago that was."""

    time: datetime
    age_s: float


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: its owner, and how many entries wait in it (None: could not be read)."""

    partition: int
    owner: str | None
    entries: int | None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica. `statistics` is what it published when it last renewed its leases, `silent_s` seconds ago."""

    name: str
    state: Literal["live", "silent", "gone"]
    silent_s: float | None
    captures: bool
    partitions: int
    statistics: Mapping[str, Any]

    @property
    def problems(self) -> Sequence[Mapping[str, Any]]:
        """Its red health checks."""
        return list(self.statistics.get("problems", ()))

    @property
    def restart_for(self) -> Sequence[str]:
        """What has changed in its files, and needs a restart to take effect."""
        return list(self.statistics.get("settings", {}).get("restart_for", ()))


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `status` shows. `lag_s` is an upper bound while the queue cannot be read."""

    pipeline: Pipeline | None
    captured: Reached | None
    synced: Reached | None
    lag_s: float | None
    partitions: Sequence[PartitionStatus]
    replicas: Sequence[ReplicaStatus]
    routes: Sequence[RouteStatus]
    rechecks: int
    unseen: Sequence[str]
    jobs: Sequence[Job]
    generations: Sequence[Generations] = ()

    @property
    def live(self) -> Sequence[ReplicaStatus]:
        """The replicas that renew their leases."""
        return [replica for replica in self.replicas if replica.state == "live"]

    @property
    def capturing(self) -> ReplicaStatus | None:
        """The live replica that captures."""
        return next((replica for replica in self.live if replica.captures), None)

    @property
    def entries(self) -> int | None:
        """How many entries wait in the queue, barriers included; None if it could not be read."""
        counts = [partition.entries for partition in self.partitions if partition.entries is not None]
        return sum(counts) if len(counts) == len(self.partitions) else None

    @property
    def reconciles(self) -> Sequence[ReconcileStatus]:
        """The open reconciles of all routes."""
        return [route.reconcile for route in self.routes if route.reconcile is not None]

    @property
    def reconcile(self) -> ReconcileStatus | None:
        """The open reconcile of a pipeline with one route; of several, the first one."""
        return next(iter(self.reconciles), None)

    @property
    def reindexes(self) -> Sequence[Generations]:
        """The routes that have an open reindex."""
        return [each for each in self.generations if each.reindex is not None]

    @property
    def documents(self) -> int:
        """About how many documents the sources of all declared routes have."""
        return sum(route.documents or 0 for route in self.routes)

    @property
    def refused(self) -> Refused:
        """The open dead letters of all routes."""
        return all_refused(route.refused for route in self.routes)

    @property
    def slowing(self) -> Sequence[str]:
        """What slows the writes of any live replica now, each once."""
        return sorted({str(reason) for replica in self.live for reason in replica.statistics.get("slowing", ())})

    def rate(self, name: str) -> float | None:
        """`captured_per_s` or `synced_per_s` of all live replicas together; None while none has published it."""
        rates = [float(replica.statistics[name]) for replica in self.live if name in replica.statistics]
        return round(sum(rates), 1) if rates else None


def judge(facts: Facts, lease_ttl_s: float) -> Status:
    """What the facts mean (pure)."""
    replicas = _replicas(facts, lease_ttl_s)
    pipeline = facts.pipeline
    captured = synced = all_synced = lag_s = None
    capturing = any(replica.captures and replica.state == "live" for replica in replicas)
    if pipeline is not None:
        captured = _reached(pipeline.captured, facts.now)
        all_synced = synced_position(pipeline, facts.records)
        synced = _reached(all_synced, facts.now)
        idle = facts.backlog is not None and sum(facts.backlog) == 0
        lag_s = 0.0 if idle and captured.age_s <= CAPTURED_IS_CURRENT_S else synced.age_s
    published = [replica.statistics for replica in replicas if replica.state == "live" and replica.statistics]
    return Status(
        pipeline=pipeline,
        captured=captured,
        synced=synced,
        lag_s=lag_s,
        partitions=_partitions(facts),
        replicas=replicas,
        routes=judge_routes(facts.routes, pipeline, all_synced, lag_s, capturing=capturing, published=published),
        rechecks=facts.rechecks,
        unseen=facts.unseen,
        jobs=facts.jobs,
        generations=facts.generations,
    )


def _reached(position: Position, now: datetime) -> Reached:
    time = datetime.fromtimestamp(position.cluster_time.time, UTC)
    return Reached(time, max(0.0, (now - time).total_seconds()))


def _partitions(facts: Facts) -> list[PartitionStatus]:
    if facts.pipeline is None:
        return []
    return [
        PartitionStatus(
            partition, facts.membership.owner(partition), facts.backlog[partition] if facts.backlog else None
        )
        for partition in range(facts.pipeline.partitions)
    ]


def _replicas(facts: Facts, lease_ttl_s: float) -> list[ReplicaStatus]:
    membership = facts.membership
    capturing = membership.capturing
    return [
        ReplicaStatus(
            name=name,
            state=replica.state(facts.now, lease_ttl_s),
            silent_s=replica.silent_s(facts.now),
            captures=name == capturing,
            partitions=membership.owned(name),
            statistics=replica.statistics,
        )
        for name, replica in sorted(membership.replicas.items())
    ]


# ---- for machines ----


def as_json(status: Status) -> dict[str, Any]:
    """What `--json` prints; times are `datetime`, everything else is JSON (pure)."""
    pipeline = status.pipeline
    suspect = None if pipeline is None or pipeline.tier_suspect is None else pipeline.tier_suspect.reason
    return {
        "pipeline": None
        if pipeline is None
        else {
            "deployment": pipeline.epoch.deployment,
            "epoch": pipeline.epoch.epoch,
            "tier": pipeline.epoch.tier,
            "partitions": pipeline.partitions,
            "tier_suspect": suspect,
        },
        "captured": _reached_json(status.captured),
        "synced": _reached_json(status.synced),
        "lag_s": status.lag_s,
        "queue": {
            "entries": status.entries,
            "partitions": [
                {"partition": partition.partition, "owner": partition.owner, "entries": partition.entries}
                for partition in status.partitions
            ],
        },
        "capturing": status.capturing.name if status.capturing else None,
        "live_replicas": len(status.live),
        "replicas": [_replica_json(replica) for replica in status.replicas],
        "rates": {name: status.rate(name) for name in ("captured_per_s", "synced_per_s")},
        "slowing": list(status.slowing),
        "documents": status.documents,
        "dead_letters_open": status.refused.total,
        "dead_letters_by_reason": dict(status.refused.by_reason),
        "rechecks_waiting": status.rechecks,
        "reconcile": None if status.reconcile is None else reconcile_json(status.reconcile),
        "routes": [route_json(route) for route in status.routes],
        "jobs": [_job_json(job) for job in status.jobs],
        "reindexes": [reindex_json(each) for each in status.generations],
        "unseen": list(status.unseen),
    }


def _reached_json(reached: Reached | None) -> dict[str, Any] | None:
    return None if reached is None else {"time": reached.time, "age_s": round(reached.age_s, 1)}


def _job_json(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "kind": job.kind,
        "route": job.route,
        "filed_at": job.filed_at,
        "queued": job.progress.get("queued", 0),
        "chosen": job.arguments.get("chosen"),
        "compared": job.progress.get("compared", 0),
        "looked_at": job.progress.get("looked_at", 0),
        "refused": job.progress.get("excepted", 0),
        "left_s": job.progress.get(TIME_LEFT),
        "paused": job.paused,
        "rate_per_s": job.rate_per_s,
    }


def _replica_json(replica: ReplicaStatus) -> dict[str, Any]:
    statistics = replica.statistics
    return {
        "name": replica.name,
        "state": replica.state,
        "silent_s": replica.silent_s,
        "captures": replica.captures,
        "partitions": replica.partitions,
        **{name: statistics.get(name) for name in ("started_at", "captured", "synced")},
        **{name: statistics.get(name) for name in ("captured_per_s", "synced_per_s")},
        "settings_version": statistics.get("settings", {}).get("version"),
        "restart_for": list(replica.restart_for),
        "problems": list(replica.problems),
    }
