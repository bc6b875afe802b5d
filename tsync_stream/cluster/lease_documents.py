"""The documents of the `leases` collection: one for each lease, one for each replica.

Invariant: a lease that is created anew belongs to no group of replicas yet (`hand_over.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from tsync_stream.cluster.identity import Identity
from tsync_stream.source.driver import MongoCollection, MongoSession

DUPLICATE_KEY = 11000


async def create_leases(collection: MongoCollection, names: Iterable[str], *, clean: bool) -> None:
    """Create those leases that do not exist. Raises the driver's errors."""
    documents = [{"_id": name, "holder": None, "fence": 0, "clean": clean, "group": 0} for name in names]
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(failure["code"] != DUPLICATE_KEY for failure in error.details["writeErrors"]):
            raise


async def renew(collection: MongoCollection, replica: str, published: Mapping[str, Any], session: MongoSession) -> bool:
    """Increment the heartbeat; whether this replica has not expired. Raises the driver's errors."""
    result = await collection.update_one(
        {"_id": f"replica:{replica}", "expired": False},
        {
            "$inc": {"heartbeat": 1},
            "$set": published,
            # MongoDB's clock, for people who ask; nothing is decided by it.
            "$currentDate": {"renewed_at": True},
        },
        session=session,
    )
    return bool(result.matched_count)


async def leave(collection: MongoCollection, replica: str, clean: Sequence[str]) -> None:
    """Give back all that a replica holds, these leases as `clean`, and forget it. Raises the driver's errors."""
    held = {"holder": replica}
    await collection.update_many({**held, "_id": {"$in": clean}}, {"$set": {"holder": None, "clean": True}})
    await collection.update_many(held, {"$set": {"holder": None, "clean": False}})
    await collection.delete_one({"_id": f"replica:{replica}"})


def replica_document(
    name: str, identity: Identity, reach: Mapping[str, Sequence[str]], membership: Mapping[str, str]
) -> dict[str, Any]:
    """How a replica announces itself (pure)."""
    return {
        "_id": f"replica:{name}",
        "heartbeat": 0,
        "expired": False,
        "identity": identity.to_bson(),
        "reach": dict(reach),
        **membership,
    }
