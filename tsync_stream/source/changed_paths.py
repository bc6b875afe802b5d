"""How the server reduces an update event to the names of the paths that it changed (pure).

Invariants: names only, never values; an update that changes very many paths, and every other event, has no names at
all, which means that everything may have changed.
"""

from typing import Any

MAX_CHANGED_PATHS = 100
"""More names than these are not worth their bytes."""


def _names_in(field: str) -> dict[str, Any]:
    return {"$map": {"input": {"$objectToArray": {"$ifNull": [f"$updateDescription.{field}", {}]}}, "in": "$$this.k"}}


def _listed(path: str) -> dict[str, Any]:
    """MongoDB 4.4 has no `truncatedArrays`."""
    return {"$ifNull": [f"$updateDescription.{path}", []]}


_NAMES = {"$concatArrays": [_names_in("updatedFields"), _listed("removedFields"), _listed("truncatedArrays.field")]}

CHANGED_PATHS: dict[str, Any] = {
    "$cond": [
        {"$eq": ["$operationType", "update"]},
        {
            "$let": {
                "vars": {"names": _NAMES},
                "in": {"$cond": [{"$gt": [{"$size": "$$names"}, MAX_CHANGED_PATHS]}, "$$REMOVE", "$$names"]},
            }
        },
        "$$REMOVE",
    ]
}
"""For `$project` behind `$changeStream`: the paths, as `updateDescription` names them."""
