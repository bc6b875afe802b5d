"""A person asks for a reconcile, or allows an open one to delete: one compare-and-set in the epoch document.

Invariant: there is at most one open need. Asking while one is open changes nothing but what was allowed.
"""

from dataclasses import dataclass
from typing import Literal

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.state.pipeline import PositionStore, ReconcileNeed, new_nonce

REASON = "asked for by a person"
# One need can be met, and another one filed, between our look and our write; not time and again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it: filed now, open already, or nothing has run yet that could be reconciled."""

    outcome: Literal["filed", "open", "nothing ran"]
    need: ReconcileNeed | None = None


async def ask_reconcile(positions: PositionStore, *, allow_mass_delete: bool) -> Asked:
    """File the need of a reconcile, or find the open one. Raises the errors of `errors.from_mongo`."""
    wanted = ReconcileNeed(new_nonce(), REASON, allow_mass_delete)
    for _ in range(ATTEMPTS):
        if await positions.request_reconcile(wanted):
            return Asked("filed", wanted)
        if allow_mass_delete:
            await positions.allow_mass_delete()
        stored = await positions.load()
        if stored is None:
            return Asked("nothing ran")
        if stored.reconcile is not None and stored.reconcile.allow_mass_delete >= allow_mass_delete:
            # A lost reply makes the driver ask twice: then the open one is ours.
            filed = stored.reconcile.job == wanted.job
            return Asked("filed" if filed else "open", stored.reconcile)
    raise DependencyUnavailable("the epoch document keeps changing; try again")
