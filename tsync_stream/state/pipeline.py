"""The epoch document and the barrier records: how far changes are captured, and how far they are synced.

Invariants:

- The epoch document is replaced only by compare-and-set on (epoch, capture fence).
- A barrier record only moves forward. Records count only if they were made in the current term (epoch, capture fence),
  because only those are ordered. While any partition has none, *synced* is where the term began.
- A term begins at the position that was synced just before it, never at one that was only captured.
- Positions belong to the one change stream; fingerprints and open reconciles belong to a route each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bson.timestamp import Timestamp
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tsync_stream.core.model import Barrier, BarrierOrder, EpochRef, Position, position_from_bson, position_to_bson
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import EPOCH_DOCUMENT, PIPELINE
from tsync_stream.state.route_state import (
    ReconcileNeed,
    RouteState,
    need_to_bson,
    open_need,
    routes_from_bson,
    routes_to_bson,
    same_needs,
    wishes,
)
from tsync_stream.state.route_state import new_nonce as new_nonce
from tsync_stream.state.suspension import Suspensions

_ID = EPOCH_DOCUMENT
DUPLICATE_KEY = 11000


@dataclass(frozen=True, slots=True)
class TierSuspect:
    """A consumer's report that the tier is not as we remember it; it counts only in its epoch."""

    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The epoch document. `began` is where the term (epoch, capture fence) began; everything before it is synced.

    `routes` holds the state of each route by its name. `flaps` counts how often in a row the queue had to leave a tier
    for a worse one before it was steady there. `table` is the version of the table of routes that the term captures by.
    """

    epoch: EpochRef
    capture_fence: int
    partitions: int
    began: Position
    captured: Position
    routes: Mapping[str, RouteState] = field(default_factory=dict)
    tier_suspect: TierSuspect | None = None
    flaps: int = 0
    table: str = ""

    def need(self, route: str) -> ReconcileNeed | None:
        """The open reconcile of a route; None also for a route that is not known here."""
        state = self.routes.get(route)
        return None if state is None else state.reconcile

    def reconciles(self) -> dict[str, str]:
        """The job of every open reconcile, by its route."""
        return {name: state.reconcile.job for name, state in self.routes.items() if state.reconcile is not None}

    def with_route(self, route: str, **changes: Any) -> "Pipeline":
        """With these fields of one route's state changed."""
        return replace(self, routes={**self.routes, route: replace(self.routes[route], **changes)})

    def next_epoch(self, fence: int, tier: str, began: Position, routes: Mapping[str, RouteState]) -> "Pipeline":
        """The epoch after this one, not yet stored."""
        reference = EpochRef(self.epoch.deployment, self.epoch.epoch + 1, new_nonce(), tier)
        return replace(
            self,
            epoch=reference,
            capture_fence=fence,
            began=began,
            captured=began,
            routes=routes,
            tier_suspect=None,
        )


@dataclass(frozen=True, slots=True)
class BarrierRecord:
    """The last barrier before which a partition has nothing unacked; `offset` is its place in the stream."""

    order: BarrierOrder
    offset: int
    position: Position


def synced_position(pipeline: Pipeline, records: Mapping[int, BarrierRecord]) -> Position:
    """The position up to which every change is in Typesense or a dead letter (pure)."""
    term = (pipeline.epoch.epoch, pipeline.capture_fence)
    current = [
        record
        for partition, record in records.items()
        if (record.order.epoch, record.order.fence) == term and partition < pipeline.partitions
    ]
    if len(current) < pipeline.partitions:
        return pipeline.began
    return min(current, key=lambda record: record.order).position


class PositionStore(Suspensions):
    """The `pipeline` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        super().__init__(database)
        self._collection = database[PIPELINE]

    async def load(self) -> Pipeline | None:
        """The epoch document, None before the first start."""
        async with translated():
            document = await self._collection.find_one({"_id": _ID})
        return None if document is None else _pipeline_from_bson(document)

    async def create(self, pipeline: Pipeline) -> bool:
        """Store the very first epoch; False if another replica was faster."""
        async with translated():
            try:
                await self._collection.insert_one({"_id": _ID, **_pipeline_to_bson(pipeline)})
            except DuplicateKeyError:
                return await self._is_stored(pipeline)
        return True

    async def replace(self, old: Pipeline, new: Pipeline) -> bool:
        """The compare-and-set that begins a term or an epoch; False if `old` is not current any more.

        Open reconciles, suspensions and the tier suspect are compared too: a writer that has not seen one must not
        overwrite it, nor bring one back that has ended.
        """
        current = {
            **_term_filter(old),
            "routes": same_needs(old.routes),
            "tier_suspect": _suspect_to_bson(old.tier_suspect),
        }
        async with translated():
            result = await self._collection.replace_one(current, _pipeline_to_bson(new))
        # The driver repeats a write whose reply was lost, and then finds its own work.
        return bool(result.matched_count) or await self._is_stored(new)

    async def save_captured(self, pipeline: Pipeline, captured: Position) -> None:
        """Store how far changes are in the queue; does nothing if another term has begun."""
        async with translated():
            await self._collection.update_one(
                _term_filter(pipeline), {"$set": {"captured": position_to_bson(captured)}}
            )

    async def save_marked(self, pipeline: Pipeline, route: str, marked: Timestamp) -> None:
        """Store what Typesense was told about a route; does nothing if another term has begun."""
        async with translated():
            await self._collection.update_one(
                {**_term_filter(pipeline), "routes.name": route}, {"$set": {"routes.$.marked": marked}}
            )

    async def clear_reconcile(self, job: str) -> None:
        """The reconcile of this job is done; does nothing if its route is suspended: its entries are dropped then."""
        async with translated():
            await self._collection.update_one(
                {"_id": _ID, "routes": {"$elemMatch": {"reconcile.job": job, "suspended": None}}},
                {"$set": {"routes.$.reconcile": None}},
            )

    async def note_asked(self, job: str, asked_of: int) -> None:
        """Store that a person is asked whether a sweep may delete; the question outlives this process."""
        async with translated():
            await self._collection.update_one(
                {"_id": _ID, "routes.reconcile.job": job}, {"$set": {"routes.$.reconcile.asked_of": asked_of}}
            )

    async def allow_mass_delete(self, route: str) -> bool:
        """A person allows the open reconcile of a route to delete whatever it finds; False if none is open."""
        async with translated():
            result = await self._collection.update_one(
                {"_id": _ID, "routes": open_need(route, is_open=True)},
                {"$set": {"routes.$.reconcile.allow_mass_delete": True}},
            )
        return bool(result.matched_count)

    async def steer_reconcile(self, job: str, **wanted: Any) -> bool:
        """Store what people want of an open reconcile: `paused`, `rate_per_s` (None: no limit); False if none is open.

        It holds until it is done, also for a reconcile that replaces it. Whoever captures follows within a second.
        """
        kept = {f"routes.$.reconcile.{name}": value for name, value in wanted.items() if value}
        gone = {f"routes.$.reconcile.{name}": "" for name, value in wanted.items() if not value}
        change = {name: fields for name, fields in (("$set", kept), ("$unset", gone)) if fields}
        async with translated():
            result = await self._collection.update_one({"_id": _ID, "routes.reconcile.job": job}, change)
        return bool(result.matched_count)

    async def request_reconcile(self, route: str, need: ReconcileNeed) -> bool:
        """Ask for a reconcile of a route; False if one is open already, or the route has never run."""
        async with translated():
            result = await self._collection.update_one(
                {"_id": _ID, "routes": open_need(route, is_open=False)},
                {"$set": {"routes.$.reconcile": need_to_bson(need)}},
            )
        return bool(result.matched_count)

    async def need_reconciles(self, pipeline: Pipeline, reasons: Mapping[str, str]) -> bool:
        """Open a new reconcile of these routes, each for its reason, instead of any that is open.

        What an older one has looked at is not to be relied on any more. False if another term has begun.
        """
        stored = await self.load()
        if stored is None:
            return False
        changes, names = {}, []
        for number, (route, reason) in enumerate(reasons.items()):
            open_now = stored.need(route)
            # A question that nobody has answered stays open.
            asked_of = open_now.asked_of if open_now else 0
            need = ReconcileNeed(new_nonce(), reason, asked_of=asked_of, **wishes(open_now))
            changes[f"routes.$[route{number}].reconcile"] = need_to_bson(need)
            names.append({f"route{number}.name": route})
        async with translated():
            result = await self._collection.update_one(
                {**_term_filter(pipeline), "routes.name": {"$all": list(reasons)}},
                {"$set": changes},
                array_filters=names,
            )
        return bool(result.matched_count)

    async def suspect_tier(self, epoch: EpochRef, reason: str) -> None:
        """A consumer found that the tier is not as we remember it; ignored if the epoch has moved on."""
        async with translated():
            await self._collection.update_one(
                {"_id": _ID, "epoch": epoch.epoch, "nonce": epoch.nonce},
                {"$set": {"tier_suspect": _suspect_to_bson(TierSuspect(epoch.epoch, reason))}},
            )

    async def record_barriers(self, barriers: Mapping[int, tuple[int, Barrier]]) -> None:
        """Record each partition's barrier with its offset. Older ones than recorded are ignored."""
        updates = []
        for partition, (offset, barrier) in barriers.items():
            order = _order_to_bson(barrier.order)
            # If a newer record is there, the upsert tries to insert a second one, which the unique _id refuses (11000).
            updates.append(
                UpdateOne(
                    {"_id": f"barrier:{partition}", "order": {"$lt": order}},
                    {
                        "$set": {
                            "order": order,
                            "offset": offset,
                            "position": position_to_bson(barrier.position),
                        }
                    },
                    upsert=True,
                )
            )
        async with translated():
            try:
                await self._collection.bulk_write(updates, ordered=False)
            except BulkWriteError as error:
                if any(failure["code"] != DUPLICATE_KEY for failure in error.details["writeErrors"]):
                    raise

    async def records(self) -> dict[int, BarrierRecord]:
        """All barrier records, by partition."""
        records = {}
        async with translated():
            async for document in self._collection.find({"_id": {"$regex": "^barrier:"}}):
                partition = int(document["_id"].removeprefix("barrier:"))
                order = BarrierOrder(**document["order"])
                records[partition] = BarrierRecord(order, document["offset"], position_from_bson(document["position"]))
        return records

    async def synced(self, pipeline: Pipeline) -> Position:
        """The position up to which everything is synced now."""
        return synced_position(pipeline, await self.records())

    async def _is_stored(self, pipeline: Pipeline) -> bool:
        stored = await self.load()
        return stored is not None and (stored.epoch, stored.capture_fence) == (
            pipeline.epoch,
            pipeline.capture_fence,
        )


def _term_filter(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "_id": _ID,
        "epoch": pipeline.epoch.epoch,
        "nonce": pipeline.epoch.nonce,
        "capture_fence": pipeline.capture_fence,
    }


def _order_to_bson(order: BarrierOrder) -> dict[str, int]:
    # Embedded documents compare field by field, in order, so this one compares like the dataclass.
    return {"epoch": order.epoch, "fence": order.fence, "counter": order.counter}


def _suspect_to_bson(suspect: TierSuspect | None) -> dict[str, Any] | None:
    return None if suspect is None else {"epoch": suspect.epoch, "reason": suspect.reason}


def _pipeline_to_bson(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "deployment": pipeline.epoch.deployment,
        "epoch": pipeline.epoch.epoch,
        "nonce": pipeline.epoch.nonce,
        "tier": pipeline.epoch.tier,
        "capture_fence": pipeline.capture_fence,
        "partitions": pipeline.partitions,
        "began": position_to_bson(pipeline.began),
        "captured": position_to_bson(pipeline.captured),
        "routes": routes_to_bson(pipeline.routes),
        "tier_suspect": _suspect_to_bson(pipeline.tier_suspect),
        "flaps": pipeline.flaps,
        "table": pipeline.table,
    }


def _pipeline_from_bson(document: Mapping[str, Any]) -> Pipeline:
    suspect = document["tier_suspect"]
    return Pipeline(
        epoch=EpochRef(document["deployment"], document["epoch"], document["nonce"], document["tier"]),
        capture_fence=document["capture_fence"],
        partitions=document["partitions"],
        began=position_from_bson(document["began"]),
        captured=position_from_bson(document["captured"]),
        routes=routes_from_bson(document["routes"]),
        tier_suspect=None if suspect is None else TierSuspect(**suspect),
        flaps=document["flaps"],
        table=document["table"],
    )
