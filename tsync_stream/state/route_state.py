"""What the epoch document holds of one route: its fingerprint, its open reconcile, its mark, whether it is suspended.

Invariants: each route has its own need. A reconcile of one route says nothing about another, and moves no position. A
suspended route has an open reconcile, which was needed anew when the route was suspended (`state/suspension.py`).
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bson.timestamp import Timestamp


@dataclass(frozen=True, slots=True)
class ReconcileNeed:
    """An open reconcile: its job, its reason, and whether a person has allowed it to delete however many documents.

    `asked_of` is the number of documents in Typesense when a person was first asked for that; 0: nobody was asked.
    `suspensions` counts how often the route was suspended since it was last reconciled. `paused`: a person wants it to
    wait. `rate_per_s`: the most keys a second that a person lets it queue; None: no limit of its own.
    """

    job: str
    reason: str
    allow_mass_delete: bool = False
    asked_of: int = 0
    suspensions: int = 0
    paused: bool = False
    rate_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why a route takes no part for now. `nonce` names this one suspension: it never comes back once it has ended."""

    nonce: str
    reason: str


@dataclass(frozen=True, slots=True)
class RouteState:
    """One route, as stored. `fingerprint` is what its documents in Typesense were made from (`routes/fingerprint.py`).

    `marked` is the position that Typesense was last told for this route; None: none yet, or its marks are refused.
    """

    fingerprint: Mapping[str, Any]
    reconcile: ReconcileNeed | None = None
    marked: Timestamp | None = None
    suspended: Suspension | None = None


def suspended_state(state: RouteState, reason: str) -> RouteState:
    """The state of a route that is suspended from now on, with a reconcile that begins at its beginning.

    An open reconcile is replaced: what it has queued may be dropped from now on, so its cursor is worth nothing.
    """
    before = state.reconcile
    need = ReconcileNeed(
        new_nonce(),
        "the route was suspended",
        asked_of=0 if before is None else before.asked_of,
        suspensions=1 if before is None else before.suspensions + 1,
        **wishes(before),
    )
    return replace(state, suspended=Suspension(new_nonce(), reason), reconcile=need)


def new_nonce() -> str:
    """A random name, for an attempt at opening an epoch, a job or a suspension."""
    return secrets.token_hex(4)


def wishes(need: ReconcileNeed | None) -> dict[str, Any]:
    """What people want of how an open reconcile goes: it holds for the one that replaces it, too."""
    return {} if need is None else {"paused": need.paused, "rate_per_s": need.rate_per_s}


def need_to_bson(need: ReconcileNeed | None) -> dict[str, Any] | None:
    """As the epoch document holds it: without the wishes that nobody has."""
    if need is None:
        return None
    return {name: value for name, value in asdict(need).items() if name not in wishes(need) or value}


def routes_to_bson(routes: Mapping[str, RouteState]) -> list[dict[str, Any]]:
    """A list, because a route's name may hold what a field's name must not: a dot."""
    return [
        {
            "name": name,
            "fingerprint": dict(state.fingerprint),
            "reconcile": need_to_bson(state.reconcile),
            "marked": state.marked,
            "suspended": None if state.suspended is None else asdict(state.suspended),
        }
        for name, state in routes.items()
    ]


def routes_from_bson(documents: list[Mapping[str, Any]]) -> dict[str, RouteState]:
    """The inverse of `routes_to_bson`."""
    return {document["name"]: route_from_bson(document) for document in documents}


def route_from_bson(document: Mapping[str, Any]) -> RouteState:
    """One route of `routes_to_bson`."""
    need, suspended = document["reconcile"], document["suspended"]
    return RouteState(
        fingerprint=document["fingerprint"],
        reconcile=None if need is None else ReconcileNeed(**need),
        marked=document["marked"],
        suspended=None if suspended is None else Suspension(suspended["nonce"], suspended["reason"]),
    )


def same_needs(routes: Mapping[str, RouteState]) -> dict[str, Any]:
    """A query for an epoch document with exactly these routes, needs and suspensions, whatever else it holds."""
    each = [{"$elemMatch": {"name": name, **need_and_suspension(state)}} for name, state in routes.items()]
    return {"$size": len(each), "$all": each} if each else {"$size": 0}


def need_and_suspension(state: RouteState) -> dict[str, Any]:
    """A query for a route with exactly this need, suspended by this very suspension or not at all."""
    nonce = None if state.suspended is None else state.suspended.nonce
    return {**_exactly(state.reconcile), "suspended.nonce": nonce}


def _exactly(need: ReconcileNeed | None) -> dict[str, Any]:
    """Field by field, because two embedded documents are equal only if their fields are in the same order.

    In a query, None is also what a field equals that is not there.
    """
    if need is None:
        return {"reconcile": None}
    without_wishes = dict.fromkeys(wishes(need))
    return {f"reconcile.{name}": value for name, value in {**without_wishes, **(need_to_bson(need) or {})}.items()}


def open_need(route: str, *, is_open: bool) -> dict[str, Any]:
    """A query for an epoch document that has an open reconcile of this route, or has the route and no reconcile."""
    return {"$elemMatch": {"name": route, "reconcile": {"$ne": None} if is_open else None}}
