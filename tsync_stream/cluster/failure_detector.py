"""Which replicas have failed: their heartbeats stood still for too long, or their processes are certainly gone.

Failed replicas are marked as expired, and their documents are deleted once nothing names them any more. Invariants:

- Time is measured on our own clock alone: a heartbeat that changed, or that we see for the first time, was seen now.
- A replica is marked by compare-and-set on a heartbeat that was seen unchanged, and can never renew after that.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from tsync_stream.cluster.identity import Identity, is_dead
from tsync_stream.core import clock
from tsync_stream.core.events import event
from tsync_stream.source.driver import MongoCollection

log = logging.getLogger(__name__)


class FailureDetector:
    """What one replica has seen of the others' heartbeats."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def __repr__(self) -> str:
        now_s = clock.now_s()
        quiet = ", ".join(f"{name} {now_s - since_s:.1f} s" for name, (_, since_s) in sorted(self._seen.items()))
        return f"<FailureDetector, unchanged heartbeats: {quiet or 'none'}>"

    def look(self, heartbeats: Mapping[str, int]) -> dict[str, float]:
        """For how many seconds each of these heartbeats has been unchanged; all others are forgotten."""
        now_s = clock.now_s()
        seen = {}
        for name, heartbeat in heartbeats.items():
            before = self._seen.get(name)
            seen[name] = before if before is not None and before[0] == heartbeat else (heartbeat, now_s)
        self._seen = seen
        return {name: now_s - since_s for name, (_, since_s) in seen.items()}


async def expire_failed(
    collection: MongoCollection,
    others: Mapping[str, dict[str, Any]],
    quiet_for_s: Mapping[str, float],
    patience_s: float,
) -> None:
    """Mark replicas that were quiet for more than `patience_s`, or whose process is gone, in MongoDB and `others`."""
    for name, document in others.items():
        if document["expired"]:
            continue
        if quiet_for_s[name] > patience_s or is_dead(Identity(**document["identity"])):
            result = await collection.update_one(
                {"_id": document["_id"], "heartbeat": document["heartbeat"]}, {"$set": {"expired": True}}
            )
            document["expired"] = bool(result.modified_count)
            if document["expired"]:
                log.warning(
                    "leases: replica %s is gone; its leases are taken over",
                    name,
                    extra=event("replica.gone", gone=name),
                )


async def forget_expired(
    collection: MongoCollection, replicas: Mapping[str, Mapping[str, Any]], holders: Collection[str | None]
) -> None:
    """Delete the documents of expired replicas that hold no lease any more."""
    for name, document in replicas.items():
        if document["expired"] and name not in holders:
            await collection.delete_one({"_id": document["_id"], "expired": True})
