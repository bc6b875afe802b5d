"""Hands the leases of one group of replicas over to the next: all of them before the first one is taken.

Each lease carries the number of the group that may take it. Invariants:

- A lease gets a new number only while no live replica holds it, and is taken only by a member of the group whose number
  it has. So a replica that looked before the groups changed takes nothing that was handed over meanwhile.
- No lease is taken before all have the group's number. So members of two groups never hold leases at the same time: in
  the new group a document may have another partition, or another route.
- For the same reason doubt is passed on by all of them or none: if one was not given back clean, all count as unclean.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tsync_stream.source.driver import MongoCollection


async def hand_over(
    collection: MongoCollection, number: int, waiting: Mapping[str, Mapping[str, Any]], live: Collection[str]
) -> bool:
    """Give the leases `waiting` to the group with this number; whether it has them all now.

    False if a `live` replica still holds one, or one has changed since it was read. Raises the driver's errors.
    """
    if any(lease["holder"] in live for lease in waiting.values()):
        return False
    gone = [lease["holder"] for lease in waiting.values() if lease["holder"] is not None]
    unused: dict[str, Any] = {"holder": None, "clean": True}
    if gone or not all(lease["clean"] for lease in waiting.values()):
        await collection.update_many({"fence": {"$exists": True}}, {"$set": {"clean": False, "settled": False}})
        unused = {"holder": {"$in": [None, *gone]}}
    result = await collection.update_many(
        {"_id": {"$in": list(waiting)}, "group": {"$lt": number}, **unused}, {"$set": {"group": number}}
    )
    return bool(result.modified_count == len(waiting))


def waiting_for(number: int, documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The leases among these documents that do not belong to the group with this number yet (pure)."""
    return {name: lease for name, lease in documents.items() if "fence" in lease and lease["group"] < number}
