"""The documents of the `leases` collection: one for each lease, one for each replica.

Invariant: a lease that is created anew belongs to no group of replicas yet (`hand_over.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from tsync_stream.cluster.assignment import Held, LeaseView
from tsync_stream.cluster.identity import Identity
from tsync_stream.core import clock
from tsync_stream.source.driver import MongoCollection, MongoSession

DUPLICATE_KEY = 11000


async def create_leases(collection: MongoCollection, names: Iterable[str], *, clean: bool) -> None:
    """Create those leases that do not exist. Raises the driver's errors."""
    new = {"holder": None, "fence": 0, "clean": clean, "settled": clean, "group": 0}
    documents = [{"_id": name, **new} for name in names]
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


async def take(
    collection: MongoCollection, replica: str, lease: LeaseView, group: int, session: MongoSession
) -> Held | None:
    """Take a lease as a member of this group, if it was not changed since it was read. Raises the driver's errors."""
    after_expiry = lease.holder is not None or not lease.clean
    result = await collection.update_one(
        {"_id": lease.name, "holder": lease.holder, "fence": lease.fence, "group": group},
        {"$set": {"holder": replica, "settled": not after_expiry}, "$inc": {"fence": 1}},
        session=session,
    )
    if not result.modified_count:
        return None
    doubted_before = after_expiry and not lease.settled
    return Held(lease.name, lease.fence + 1, after_expiry, clock.now_s(), doubted_before)


async def settle(collection: MongoCollection, replica: str, held: Sequence[Held]) -> None:
    """Note that what these leases came with is in doubt no more. Raises the driver's errors."""
    if held:
        settled = {"$set": {"settled": True}}
        await collection.bulk_write(
            [UpdateOne({"_id": each.name, "holder": replica, "fence": each.fence}, settled) for each in held],
            ordered=False,
        )


async def give_back(collection: MongoCollection, replica: str, held: Held, *, clean: bool) -> None:
    """Give one lease back. Raises the driver's errors."""
    await collection.update_one(
        {"_id": held.name, "holder": replica, "fence": held.fence}, {"$set": _given_back(clean)}
    )


async def leave(collection: MongoCollection, replica: str, clean: Sequence[str]) -> None:
    """Give back all that a replica holds, these leases as `clean`, and forget it. Raises the driver's errors."""
    held = {"holder": replica}
    await collection.update_many({**held, "_id": {"$in": clean}}, {"$set": _given_back(True)})
    await collection.update_many(held, {"$set": _given_back(False)})
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


def _given_back(clean: bool) -> dict[str, Any]:
    return {"holder": None, "clean": clean, "settled": clean}
