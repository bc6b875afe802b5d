"""What the epoch document holds of one route: its fingerprint, its open reconcile, how far its target is marked.

Invariant: each route has its own need. A reconcile of one route says nothing about another, and moves no position.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bson.timestamp import Timestamp


@dataclass(frozen=True, slots=True)
class ReconcileNeed:
    """An open reconcile: its job, its reason, and whether a person has allowed it to delete however many documents.

    `asked_of` is the number of documents in Typesense when a person was first asked for that; 0: nobody was asked.
    """

    job: str
    reason: str
    allow_mass_delete: bool = False
    asked_of: int = 0


@dataclass(frozen=True, slots=True)
class RouteState:
    """One route, as stored. `fingerprint` is what its documents in Typesense were made from (`routes/fingerprint.py`).

    `marked` is the position that Typesense was last told for this route; None: none yet, or its marks are refused.
    """

    fingerprint: Mapping[str, Any]
    reconcile: ReconcileNeed | None = None
    marked: Timestamp | None = None


def need_to_bson(need: ReconcileNeed | None) -> dict[str, Any] | None:
    """Always the same fields in the same order: MongoDB compares embedded documents with both."""
    return None if need is None else asdict(need)


def routes_to_bson(routes: Mapping[str, RouteState]) -> list[dict[str, Any]]:
    """A list, because a route's name may hold what a field's name must not: a dot."""
    return [
        {
            "name": name,
            "fingerprint": dict(state.fingerprint),
            "reconcile": need_to_bson(state.reconcile),
            "marked": state.marked,
        }
        for name, state in routes.items()
    ]


def routes_from_bson(documents: list[Mapping[str, Any]]) -> dict[str, RouteState]:
    """The inverse of `routes_to_bson`."""
    return {
        document["name"]: RouteState(
            fingerprint=document["fingerprint"],
            reconcile=None if document["reconcile"] is None else ReconcileNeed(**document["reconcile"]),
            marked=document["marked"],
        )
        for document in documents
    }


def same_needs(routes: Mapping[str, RouteState]) -> dict[str, Any]:
    """A query for an epoch document with exactly these routes and needs, whatever else is stored of them."""
    each = [
        {"$elemMatch": {"name": name, "reconcile": need_to_bson(state.reconcile)}} for name, state in routes.items()
    ]
    return {"$size": len(each), "$all": each} if each else {"$size": 0}


def open_need(route: str, *, is_open: bool) -> dict[str, Any]:
    """A query for an epoch document that has an open reconcile of this route, or has the route and no reconcile."""
    return {"$elemMatch": {"name": route, "reconcile": {"$ne": None} if is_open else None}}
