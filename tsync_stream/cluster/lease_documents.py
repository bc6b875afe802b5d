"""The documents of the `leases` collection: one for each lease, one for each replica.

Invariant: a lease that is created anew belongs to no group of replicas yet (`hand_over.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from tsync_stream.cluster.identity import Identity
from tsync_stream.source.driver import MongoCollection

DUPLICATE_KEY = 11000


async def create_leases(collection: MongoCollection, names: Iterable[str], *, clean: bool) -> None:
    """Create those leases that do not exist. Raises the driver's errors."""
    documents = [{"_id": name, "holder": None, "fence": 0, "clean": clean, "group": 0} for name in names]
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(failure["code"] != DUPLICATE_KEY for failure in error.details["writeErrors"]):
            raise


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
