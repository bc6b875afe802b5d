"""All leases and replicas as MongoDB holds them, for people: which replicas exist, own what, and report what.

Invariant: it only reads. `leases.LeaseKeeper` decides on its own clock whether a replica has failed; the judgement here
is made on MongoDB's clock, and is only good enough to be read by people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tsync_stream.cluster.assignment import CAPTURE, REPLICA_PREFIX, LeaseView, partition_lease
from tsync_stream.cluster.identity import Identity, is_dead
from tsync_stream.cluster.leases import PATIENCE
from tsync_stream.cluster.membership import GROUP
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import LEASES


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica's document. `renewed_at` is MongoDB's time of the last renewal, None before the first.

    `dead`: its process ran on this machine and is certainly gone.
    """

    name: str
    expired: bool
    dead: bool
    renewed_at: datetime | None
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def silent_s(self, now: datetime) -> float | None:
        """Seconds since the last renewal; None before the first."""
        return None if self.renewed_at is None else max(0.0, (now - self.renewed_at).total_seconds())

    def state(self, now: datetime, ttl_s: float) -> Literal["live", "silent", "gone"]:
        """Silent: it has not renewed for so long that other replicas would take over (pure)."""
        if self.expired or self.dead:
            return "gone"
        silent_s = self.silent_s(now)
        return "silent" if silent_s is not None and silent_s > PATIENCE * ttl_s else "live"


@dataclass(frozen=True, slots=True)
class MembershipView:
    """One look at the `leases` collection. `settings` are those that all holders of leases have in common.

    `table` is their table of routes, as `cluster/tables.py` stores it; empty before the first start.
    """

    leases: Mapping[str, LeaseView] = field(default_factory=dict)
    replicas: Mapping[str, ReplicaView] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)

    def holder(self, lease: str) -> str | None:
        """The replica that holds a lease, None if nobody does."""
        view = self.leases.get(lease)
        return None if view is None else view.holder

    @property
    def capturing(self) -> str | None:
        """The capturing replica, None if there is none."""
        return self.holder(CAPTURE)

    def owner(self, partition: int) -> str | None:
        """The replica that syncs a partition, None if none does."""
        return self.holder(partition_lease(partition))

    def owned(self, replica: str) -> int:
        """How many partitions a replica owns."""
        return sum(lease.holder == replica and name != CAPTURE for name, lease in self.leases.items())


async def read_membership(database: MongoDatabase) -> MembershipView:
    """Everything there now; empty before the first start. Raises the errors of `errors.from_mongo`."""
    leases: dict[str, LeaseView] = {}
    replicas: dict[str, ReplicaView] = {}
    settings: Mapping[str, str] = {}
    table: Mapping[str, Any] = {}
    async with translated():
        async for document in database[LEASES].find({}):
            name = str(document["_id"])
            if name.startswith(REPLICA_PREFIX):
                replica = name.removeprefix(REPLICA_PREFIX)
                replicas[replica] = ReplicaView(
                    name=replica,
                    expired=document["expired"],
                    dead=is_dead(Identity(**document["identity"])),
                    renewed_at=document.get("renewed_at"),
                    statistics=document.get("statistics") or {},
                )
            elif name == GROUP:
                settings, table = document["settings"], document["table"]
            else:
                leases[name] = LeaseView(name, document["holder"], document["fence"])
    return MembershipView(leases, replicas, settings, table)
