"""Decides where a capture term begins: in the same epoch if its tier is whole, otherwise in the next; or at the start.

Invariants: a term begins where everything was synced or durable, and only a lost position begins anew. What is found of
one route becomes a need of that route alone (`route_beginnings.py`). Whatever makes queued entries worthless, such as
another target, mapping or table of routes, begins an epoch, at what is synced; the rest is stored with the same epoch.
"""

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.handover import Handover
from tsync_stream.capture.route_beginnings import Found, other_stream
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.targets import Targets
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.events import event
from tsync_stream.core.model import EpochRef
from tsync_stream.observe.metrics import (
    FAIL_BACK,
    PARTITIONS_CHANGED,
    POSITION_LOST,
    ROUTE_CHANGED,
    ROUTES_CHANGED,
    TIER_LOST,
    TIER_UNAVAILABLE,
)
from tsync_stream.queue.selection import choose_tier
from tsync_stream.routes.fingerprint import fingerprint_of, target_part
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.state.pipeline import Pipeline, PositionStore, new_nonce
from tsync_stream.state.route_state import RouteState

log = logging.getLogger(__name__)

# After so many failures in a row a tier is left, even if its probes pass: it may never take what is appended.
MOST_TIMES_UNAVAILABLE = 3
FIRST_START = "the first start"


class Beginning:
    """Finds and stores where a term begins."""

    def __init__(
        self,
        table: RouteTable,
        settings: Settings,
        sources: SourceFacts,
        targets: Targets,
        tiers: Tiers,
        positions: PositionStore,
        epochs: Epochs,
    ) -> None:
        self._table = table
        self._settings = settings
        self._sources = sources
        self._targets = targets
        self._tiers = tiers
        self._positions = positions
        self._epochs = epochs

    async def begin(self, fence: int, handover: Handover) -> CaptureTerm:
        """The term that continues from what is stored: in the same epoch if its tier is whole, or in the next one.

        Raises the errors of MongoDB, Typesense and the tier; `Fenced` if another replica was faster.
        """
        stored = await self._positions.load()
        found = await self._found({} if stored is None else stored.routes)
        if stored is None:
            term = await self._first_start(fence, found)
        else:
            found = await self._with_targets(found)
            term = await self._next_term(stored, found, fence, handover)
        term.without_source = [each.route.name for each in found if each.fingerprint is None]
        return term

    async def _found(self, states: Mapping[str, RouteState]) -> list[Found]:
        """What is found of each route's source. Raises why it cannot be used if that is true of all of them."""
        found = []
        for name, uuid in (await self._sources.uuids()).items():
            before = states.get(name, RouteState({}))
            declaration = self._table[name]
            if isinstance(uuid, bytes):
                part = target_part(before.fingerprint)
                fingerprint = fingerprint_of(declaration, uuid, part, self._settings)
                found.append(Found(declaration.route, before, fingerprint))
            else:
                found.append(Found(declaration.route, before, None, problem=uuid))
        problems = [each.problem for each in found if each.problem is not None]
        if len(problems) == len(found):
            raise problems[0]
        return found

    async def _with_targets(self, found: Sequence[Found]) -> list[Found]:
        # Without a source, nothing is created in Typesense.
        states = {each.route.name: each.before for each in found if each.fingerprint is not None}
        others = await self._targets.replaced(states)
        return [replace(each, other_target=others.get(each.route.name, "")) for each in found]

    async def _next_term(self, stored: Pipeline, found: Sequence[Found], fence: int, handover: Handover) -> CaptureTerm:
        lost = handover.position_lost or other_stream(stored.routes, found)
        changed = "; ".join(
            self._table.title(each.changed, f"(route {each.route.name})") for each in found if each.begins_epoch
        )
        table = "" if stored.table == self._table.version else "the table of routes has changed"
        reason, healthy = await self._reason_to_leave(stored, handover, changed or lost or table)
        if not reason:
            routes = {each.route.name: each.state("", None) for each in found}
            return await self._epochs.continue_current(stored, routes, fence)
        # Only a lost position begins anew: a changed route is reconciled while the stream goes on where it was.
        began = await self._sources.position_of_now() if lost else await self._positions.synced(stored)
        if table and not lost:
            began = await self._sources.for_our_stream(began)
        made = await self._targets.make_ours((each for each in found if each.to_make_ours), began.cluster_time)
        routes = {each.route.name: each.state(lost, made.get(each.route.name)) for each in found}
        self._tell_removed(stored)
        tier = choose_tier(healthy)
        following = replace(
            stored.next_epoch(fence, tier, began, routes),
            flaps=self._tiers.flaps(stored, tier),
            partitions=self._settings.partitions,
            table=self._table.version,
        )
        cause = POSITION_LOST if lost else ROUTE_CHANGED if changed else ROUTES_CHANGED if table else ""
        return await self._epochs.open_next(stored, following, reason, cause or self._cause(stored, handover))

    def _tell_removed(self, stored: Pipeline) -> None:
        for name, state in stored.routes.items():
            if name not in self._table and not self._table.was_reindexed_away(name):  # a reindex tells what it deletes
                target = state.fingerprint.get("target", "of it")
                log.warning(
                    "capture: there is no route %s any more; its Typesense collection %s stays",
                    name,
                    target,
                    extra=event("route.removed", route=name),
                )

    async def _reason_to_leave(self, stored: Pipeline, handover: Handover, changed: str) -> tuple[str, set[str]]:
        """Why the epoch cannot be continued ("": it can), and the tiers that could hold the next one."""
        if stored.epoch.tier not in self._tiers:
            changed = changed or f"{stored.epoch.tier.upper()}_REDIS_HOST is empty now"
        reason = changed or handover.leave_tier or (stored.tier_suspect.reason if stored.tier_suspect else "")
        if stored.partitions != self._settings.partitions:
            reason = reason or f"PARTITIONS was {stored.partitions}"
        if not reason and not handover.unavailable:
            return "", set()
        healthy = await self._tiers.healthy()
        if not reason and handover.times_unavailable >= MOST_TIMES_UNAVAILABLE:
            healthy.discard(stored.epoch.tier)
        if reason or stored.epoch.tier not in healthy:
            return reason or handover.unavailable, healthy
        return "", healthy  # it answers again

    def _cause(self, stored: Pipeline, handover: Handover) -> str:
        if handover.goes_back:
            return FAIL_BACK
        if handover.leave_tier or stored.tier_suspect:
            return TIER_LOST
        return PARTITIONS_CHANGED if stored.partitions != self._settings.partitions else TIER_UNAVAILABLE

    async def _first_start(self, fence: int, found: Sequence[Found]) -> CaptureTerm:
        usable = [each for each in found if each.fingerprint is not None]
        unprepared = await self._targets.prepare(each.route.name for each in usable)
        start = await self._sources.position_of_now()
        made = await self._targets.make_ours(
            (each for each in usable if each.route.name not in unprepared), start.cluster_time
        )
        epoch = EpochRef(secrets.token_hex(4), 1, new_nonce(), choose_tier(await self._tiers.healthy()))
        pipeline = Pipeline(
            epoch=epoch,
            capture_fence=fence,
            partitions=self._settings.partitions,
            began=start,
            captured=start,
            routes={each.route.name: each.first_state(FIRST_START, made.get(each.route.name)) for each in found},
            table=self._table.version,
        )
        return await self._epochs.create_first(pipeline)
