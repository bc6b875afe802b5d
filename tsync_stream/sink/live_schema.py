"""The schema in force: what sync and verify map documents by.

Invariants:
- A plan is given out only if the schema was read after the present epoch began. Every collection that is created, found
  changed or made anew brings a new epoch, so nothing of an epoch is written by the schema of the collection before.
- It is never older than `MAX_AGE_S`: what cannot be read counts as unknown, not as unchanged.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

# Fields appear as documents bring them, and a person may change some. A plan is read again every `LOOK_INTERVAL_S` by
# who watches it; if that fails, who needs it reads for himself.
LOOK_INTERVAL_S = 2.0
MAX_AGE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Known:
    plan: Plan
    epoch: object
    read_s: float


class LiveSchema:
    """One collection's. `epoch()` is the epoch that this replica works in, as far as it knows."""

    def __init__(
        self, target: TypesenseTarget, collection: str, options: MappingOptions, epoch: Callable[[], object]
    ) -> None:
        self._target = target
        self._collection = collection
        self._options = options
        self._epoch = epoch
        self._known: _Known | None = None
        self._reading = asyncio.Lock()

    async def plan(self) -> Plan:
        """The plan to map by now. Raises `DependencyUnavailable` while there is no collection, and the target's."""
        known = self._in_force()
        if known is None:
            async with self._reading:
                known = self._in_force() or await self._read()
        return known.plan

    async def look(self) -> Plan:
        """Read the schema now; raises as `plan` does."""
        async with self._reading:
            return (await self._read()).plan

    def require(self, plan: Plan) -> None:
        """Raise `DependencyUnavailable` if what was mapped by this plan may be wrong by now."""
        known = self._in_force()
        if known is None or not (known.plan is plan or known.plan.only_adds_to(plan)):
            raise DependencyUnavailable("the schema of the Typesense collection has changed; the batch is mapped anew")

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
            raise DependencyUnavailable(f"Typesense has no collection {self._collection}; waiting until it is made")
        plan = Plan(self._options, live)
        if before is not None and before.plan.is_like(plan) and not before.plan.new_names:
            plan = before.plan  # with all that it knows about names
        self._known = _Known(plan, epoch, asked_s)
        return self._known
