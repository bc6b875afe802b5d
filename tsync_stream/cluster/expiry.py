"""Replicas that are gone are marked expired, and forgotten when nothing names them any more.

Invariant: a replica is marked by compare-and-set on a heartbeat that was seen unchanged, and never renews again.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from tsync_stream.cluster.identity import Identity, is_dead
from tsync_stream.source.driver import MongoCollection

log = logging.getLogger(__name__)


async def expire_stale(
    collection: MongoCollection,
    others: Mapping[str, dict[str, Any]],
    quiet_for_s: Mapping[str, float],
    patience_s: float,
) -> None:
    """Mark those that were quiet for longer than `patience_s`, or whose process is surely dead, here and there."""
    for name, document in others.items():
        if document["expired"]:
            continue
        if quiet_for_s[name] > patience_s or is_dead(Identity(**document["identity"])):
            result = await collection.update_one(
                {"_id": document["_id"], "heartbeat": document["heartbeat"]}, {"$set": {"expired": True}}
            )
            document["expired"] = bool(result.modified_count)
            if document["expired"]:
                log.warning("leases: replica %s is gone; its leases are taken over", name)


async def forget_expired(
    collection: MongoCollection, replicas: Mapping[str, Mapping[str, Any]], holders: Collection[str | None]
) -> None:
    """Delete the documents of expired replicas that hold nothing any more."""
    for name, document in replicas.items():
        if document["expired"] and name not in holders:
            await collection.delete_one({"_id": document["_id"], "expired": True})
