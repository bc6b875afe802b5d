"""The schema in force, by which sync and verify map documents.

Invariants:
- A plan is returned only if the schema was read after the current epoch began. Every collection that is created, found
  changed or recreated brings a new epoch, so within an epoch nothing is written by an earlier collection's schema.
- A plan is never older than `MAX_AGE_S`: a schema that cannot be read counts as unknown, not as unchanged.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

# Documents bring new fields, and a person may change some. `observe/field_watch.py` reads the schema again at this
# interval; if that fails, a caller that needs a plan reads it.
LOOK_INTERVAL_S = 2.0
MAX_AGE_S = 10.0


class NoCollection(DependencyUnavailable):
    """There is no collection. The capturing replica creates it, unless it may not."""


@dataclass(frozen=True, slots=True)
class _Known:
    plan: Plan
    epoch: object
    read_s: float


class LiveSchema:
    """The schema of one collection. `epoch()` returns the epoch that this replica works in, as far as it knows."""

    def __init__(
        self, target: TypesenseTarget, collection: str, options: MappingOptions, epoch: Callable[[], object]
    ) -> None:
        self._target = target
        self._collection = collection
        self._options = options
        self._epoch = epoch
        self._known: _Known | None = None
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        known = self._in_force()
        state = "unknown" if known is None else f"read {clock.now_s() - known.read_s:.1f} s ago"
        return f"LiveSchema({self._collection}: {state})"

    async def plan(self) -> Plan:
        """The current plan. Raises `NoCollection` while there is none, and the target's errors."""
        known = self._in_force()
        if known is None:
            async with self._reading:
                known = self._in_force() or await self._read()
        return known.plan

    async def look(self) -> Plan:
        """Read the schema now and return its plan; raises the errors of `plan`."""
        async with self._reading:
            return (await self._read()).plan

    def require(self, plan: Plan) -> None:
        """Raise `DependencyUnavailable` if documents mapped by this plan may be wrong by now."""
        known = self._in_force()
        if known is None or not (known.plan is plan or known.plan.only_adds_to(plan)):
            raise DependencyUnavailable("the schema of the Typesense collection has changed; the batch is mapped again")

    def _in_force(self) -> _Known | None:
        known = self._known
        if known is None or known.epoch != self._epoch() or clock.now_s() - known.read_s > MAX_AGE_S:
            return None
        return known

    async def _read(self) -> _Known:
        epoch, before = self._epoch(), self._known
        asked_s = clock.now_s()
        live = await self._target.collection(self._collection)
        if live is None:
            self._known = None
            raise NoCollection(f"Typesense has no collection {self._collection}; waiting until it is created")
        plan = Plan(self._options, live)
        if before is not None and before.plan.is_like(plan) and not before.plan.new_names:
            plan = before.plan  # which also knows the names that documents brought
        self._known = _Known(plan, epoch, asked_s)
        return self._known
