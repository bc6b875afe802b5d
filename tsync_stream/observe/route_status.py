"""What `status` says of each route: what it syncs, how far, what is refused, its reconcile, its suspension. Pure.

Invariant: a route is shown if it is declared here or known to the pipeline. What is not known of it is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tsync_stream.core.model import Position, Route
from tsync_stream.observe.rates import CAPTURED, SYNCED, rate_of
from tsync_stream.observe.verified import Verified, verified
from tsync_stream.routes.declared import source_name
from tsync_stream.state.dead_letter_counts import Refused
from tsync_stream.state.jobs import DONE, SCAN, queued_of
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.route_state import RouteState
from tsync_stream.state.verifications import Verification

Phase = Literal["waiting", "suspended", "paused", "scan", "sweep", "syncing"]


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What was read of a declared route. `documents` is an estimate of the source's size."""

    route: Route
    documents: int = 0
    refused: Refused = field(default_factory=Refused)
    verification: Verification | None = None


@dataclass(frozen=True, slots=True)
class ReconcileStatus:
    """An open reconcile of a route, and its progress: documents that are synced, of about `documents`.

    `rate_per_s`: the most keys a second that a person lets it queue; None: no limit of its own.
    """

    route: str
    job: str
    reason: str
    phase: Phase
    mass_delete_allowed: bool
    synced: int = 0
    documents: int = 0
    paused: bool = False
    rate_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One route. `suspended` says why it is, "" if it is not; then, and before its first start, it has no lag.

    `verified` is None where nothing was verified in the background.
    `declared`: it is in the table of routes of whoever asks; otherwise `documents` is not known. The rates are those of
    all live replicas together; None while none has published any.
    """

    name: str
    source: str
    target: str
    declared: bool
    documents: int | None
    refused: Refused
    lag_s: float | None
    reconcile: ReconcileStatus | None
    suspended: str
    verified: Verified | None = None
    captured_per_s: float | None = None
    synced_per_s: float | None = None


def judge_routes(
    facts: Sequence[RouteFacts],
    pipeline: Pipeline | None,
    synced: Position | None,
    lag_s: float | None,
    *,
    capturing: bool,
    published: Sequence[Mapping[str, Any]] = (),
) -> list[RouteStatus]:
    """The declared routes in their order, then those that only the pipeline knows. `lag_s` is that of all.

    `published` are the statistics of the live replicas.
    """
    states = {} if pipeline is None else pipeline.routes
    by_name = {each.route.name: each for each in facts}
    found = []
    for name in dict.fromkeys([*by_name, *states]):
        state, of_route = states.get(name), by_name.get(name)
        fingerprint = {} if state is None else state.fingerprint
        suspended = "" if state is None or state.suspended is None else state.suspended.reason
        reconcile = None
        if state is not None and pipeline is not None and synced is not None:
            reconcile = _reconcile(name, state, pipeline, synced, capturing=capturing)
        found.append(
            RouteStatus(
                name=name,
                source=source_name(of_route.route) if of_route else str(fingerprint.get("source", "")),
                target=of_route.route.target if of_route else str(fingerprint.get("target", "")),
                declared=of_route is not None,
                documents=of_route.documents if of_route else None,
                refused=of_route.refused if of_route else Refused(),
                lag_s=None if state is None or suspended else lag_s,
                reconcile=reconcile,
                suspended=suspended,
                verified=verified(of_route.verification) if of_route and of_route.verification else None,
                captured_per_s=_rate(published, CAPTURED, name),
                synced_per_s=_rate(published, SYNCED, name),
            )
        )
    return found


def _rate(published: Sequence[Mapping[str, Any]], name: str, route: str) -> float | None:
    rates = [rate for statistics in published if (rate := rate_of(statistics, name, route)) is not None]
    return round(sum(rates), 1) if rates else None


def _reconcile(
    name: str, state: RouteState, pipeline: Pipeline, synced: Position, *, capturing: bool
) -> ReconcileStatus | None:
    need = state.reconcile
    if need is None:
        return None
    cursor = pipeline.captured.cursors.get(need.job)
    phase: Phase
    queued = cursor is not None and cursor["phase"] == DONE
    if state.suspended is not None:
        phase = "suspended" if capturing else "waiting"
    elif need.paused and not queued:
        phase = "paused"
    elif not capturing:
        phase = "waiting"
    elif cursor is None or cursor["phase"] == SCAN:
        phase = "scan"
    else:
        phase = "syncing" if queued else "sweep"
    done, _ = queued_of(synced.cursors.get(need.job))
    _, documents = queued_of(cursor)
    return ReconcileStatus(
        route=name,
        job=need.job,
        reason=need.reason,
        phase=phase,
        mass_delete_allowed=need.allow_mass_delete,
        synced=done,
        documents=documents,
        paused=need.paused,
        rate_per_s=need.rate_per_s,
    )


# ---- for machines ----


def route_json(route: RouteStatus) -> dict[str, Any]:
    """One of `routes` in what `--json` prints."""
    return {
        "name": route.name,
        "source": route.source,
        "target": route.target,
        "declared": route.declared,
        "documents": route.documents,
        "dead_letters_open": route.refused.total,
        "dead_letters_by_reason": dict(route.refused.by_reason),
        "lag_s": route.lag_s,
        "reconcile": None if route.reconcile is None else reconcile_json(route.reconcile),
        "suspended": route.suspended or None,
        "verified": None if route.verified is None else route.verified.to_json(),
        CAPTURED: route.captured_per_s,
        SYNCED: route.synced_per_s,
    }


def reconcile_json(reconcile: ReconcileStatus) -> Mapping[str, Any]:
    """An open reconcile in what `--json` prints."""
    return {
        "route": reconcile.route,
        "job": reconcile.job,
        "reason": reconcile.reason,
        "phase": reconcile.phase,
        "mass_delete_allowed": reconcile.mass_delete_allowed,
        "synced": reconcile.synced,
        "documents": reconcile.documents,
        "paused": reconcile.paused,
        "rate_per_s": reconcile.rate_per_s,
    }
