"""How each route begins with a term: what was found of its source and target, and what that makes of its state (pure).

Invariants: each route is judged by itself: what is wrong with one changes nothing for another, and moves no position.
Only a position that is lost for all of them has all of them reconciled. A route without a usable source keeps the
fingerprint that its documents were made from, and is suspended, so that a missing source never empties its target.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.routes.fingerprint import changes, same_stream, why_reconcile
from tsync_stream.state.pipeline import new_nonce
from tsync_stream.state.route_state import ReconcileNeed, RouteState, suspended_state

# What may change of a fingerprint within an epoch: neither the target nor how documents are mapped depends on it.
_OF_THE_SOURCE = frozenset({"source_uuid"})


@dataclass(frozen=True, slots=True)
class Made:
    """A target that was made ours: its part of the fingerprint, and its mark (None: it takes none)."""

    part: Mapping[str, Any]
    marked: Timestamp | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a beginning found of one route.

    `fingerprint` is None if the source cannot be used, for the reason `problem`. `other_target`: why the target is not
    the collection that was filled; "" if it is.
    """

    route: Route
    before: RouteState
    fingerprint: Mapping[str, Any] | None
    problem: ConfigurationError | None = None
    other_target: str = ""

    @property
    def changed(self) -> str:
        """Why the route must be reconciled; "" if nothing changed."""
        if self.fingerprint is None:
            return ""
        return self.other_target or why_reconcile(self.before.fingerprint, self.fingerprint)

    @property
    def to_make_ours(self) -> bool:
        """Whether the target is to be marked as the one that is filled from now on."""
        if self.fingerprint is None:
            return False
        return bool(self.other_target) or "target" in changes(self.before.fingerprint, self.fingerprint)

    @property
    def begins_epoch(self) -> bool:
        """Whether entries of this route that are queued already belong to another target or mapping."""
        if self.fingerprint is None or not self.changed:
            return False
        if self.to_make_ours or not self.before.fingerprint:
            return True
        return not _OF_THE_SOURCE.issuperset(changes(self.before.fingerprint, self.fingerprint))

    def state(self, lost: str, made: Made | None) -> RouteState:
        """The route's state from now on. `lost`: why the position is lost; "": it is not."""
        after = self.before
        if self.fingerprint is not None:
            after = replace(after, fingerprint=self.fingerprint)
        if made is not None:
            after = replace(after, fingerprint={**after.fingerprint, **made.part}, marked=made.marked)
        if reason := self.changed or lost:
            after = replace(after, reconcile=self._need(reason))
        if self.fingerprint is None and after.suspended is None:
            after = suspended_state(after, str(self.problem))
        return after

    def first_state(self, reason: str, made: Made | None) -> RouteState:
        """The route's state in the first epoch of a deployment."""
        state = self.state("", made)
        return state if state.reconcile is None or state.suspended else replace(state, reconcile=self._need(reason))

    def _need(self, reason: str) -> ReconcileNeed:
        before = self.before.reconcile or ReconcileNeed("", "")
        # A question that nobody has answered stays open, unless it was about another collection.
        asked_of = 0 if self.other_target else before.asked_of
        return replace(before, job=new_nonce(), reason=reason, allow_mass_delete=False, asked_of=asked_of)


def other_stream(stored: Mapping[str, RouteState], found: Iterable[Found]) -> str:
    """Why the stored position belongs to another change stream than ours; "" if it does not (pure).

    One collection that is still the same one is enough: the others may have been recreated, or be new here.
    """
    ours = [each.fingerprint for each in found if each.fingerprint is not None]
    if any(same_stream(state.fingerprint, fingerprint) for state in stored.values() for fingerprint in ours):
        return ""
    return "the position is of another source"
