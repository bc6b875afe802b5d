"""Selecting dead letters, by id, route, reason or age, for people and replays; and what became of those replayed.

Invariants: nothing here opens a record, and only `discard` closes one without a sync of its key
(`state/dead_letters.py`): it is back as soon as the key fails again. All times are MongoDB's. Pages and lists hold keys
of bounded length, never a document.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from bson.timestamp import Timestamp

from tsync_stream.core.model import BEGINNING_OF_TIME, Key
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.source.hello import server_time
from tsync_stream.state.database import DEAD_LETTERS

# An id has 64 digits. People see this many, and may type any unique prefix that is not too short.
SHOWN_DIGITS = 12
FEWEST_DIGITS = 4
# How many records with the same prefix are shown to a person.
MOST_FOUND = 10

Status: TypeAlias = Literal["open", "resolved", "all"]


@dataclass(frozen=True, slots=True)
class Record:
    """One dead letter. `queueable`: its key can be queued again; otherwise no replay can help.

    `shown` is what Typesense shows under the document's id meanwhile; empty if that is not known. `discarded`: a person
    closed it, not a sync.
    """

    id: str
    route: str
    key: Key
    reason: str
    error: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    status: str
    resolved_at: datetime | None
    queueable: bool
    shown: str
    discarded: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are meant; None means any. "Seen" is when a record's key last failed."""

    route: str | None = None
    reason: str | None = None
    seen_before: datetime | None = None
    seen_after: datetime | None = None
    ids: Sequence[str] | None = None

    def condition(self, status: Status) -> dict[str, Any]:
        """As a query (pure)."""
        found: dict[str, Any] = {} if status == "all" else {"status": status}
        found |= {name: value for name in ("route", "reason") if (value := getattr(self, name)) is not None}
        seen = {"$lt": self.seen_before, "$gte": self.seen_after}
        if seen := {operator: time for operator, time in seen.items() if time is not None}:
            found["last_seen"] = seen
        if self.ids is not None:
            found["_id"] = {"$in": list(self.ids)}
        return found

    def to_bson(self) -> dict[str, Any]:
        """As a job's arguments store it."""
        names = ("route", "reason", "seen_before", "seen_after")
        ids = None if self.ids is None else list(self.ids)
        return {**{name: getattr(self, name) for name in names}, "ids": ids}


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many records have this route and reason."""

    route: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """The next records to queue, ordered by id, as they were at `operation_time`."""

    ids: Sequence[str]
    keys: Sequence[Key]
    operation_time: Timestamp


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a replay's records: resolved, failed again by reason, or neither yet.

    A record that a later replay has queued counts there.
    """

    resolved: int = 0
    pending: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed_again(self) -> int:
        """How many failed again, for any reason."""
        return sum(self.failed.values())

    def to_bson(self) -> dict[str, Any]:
        """As a job's result stores it. Reasons are values, because dots in the names of fields have a meaning."""
        failed = [{"reason": reason, "count": count} for reason, count in self.failed.items()]
        return {"resolved": self.resolved, "pending": self.pending, "failed": failed}


def outcome_from_bson(document: Mapping[str, Any]) -> Outcome:
    """The inverse of `Outcome.to_bson`."""
    failed = {item["reason"]: item["count"] for item in document["failed"]}
    return Outcome(document["resolved"], document["pending"], failed)


class DeadLetterRecords:
    """The `dead_letters` collection, read for selecting. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._collection = database[DEAD_LETTERS]

    async def newest(
        self, selection: Selection, status: Status, limit: int, after: tuple[datetime, str] | None = None
    ) -> list[Record]:
        """The records that failed most recently, newest first; those behind the one with this `last_seen` and id."""
        condition = selection.condition(status)
        if after is not None:
            last_seen, record = after
            behind = [{"last_seen": {"$lt": last_seen}}, {"last_seen": last_seen, "_id": {"$gt": record}}]
            condition = {"$and": [condition, {"last_seen": {"$lte": last_seen}, "$or": behind}]}
        async with translated():
            cursor = self._collection.find(condition).sort([("last_seen", -1), ("_id", 1)])
            return [_record(document) async for document in cursor.limit(limit)]

    async def count(self, selection: Selection, status: Status, most: int = 0) -> int:
        """How many there are; at most `most`, if that is given."""
        limit: dict[str, Any] = {"limit": most} if most else {}
        async with translated():
            return await self._collection.count_documents(selection.condition(status), **limit)

    async def replays(self, selection: Selection, routes: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The arguments of a replay of these records, for each route that has some which can be queued."""
        found = {name: await self.count_queueable(selection, name) for name in routes}
        return {name: {"selection": selection.to_bson(), "chosen": count} for name, count in found.items() if count}

    async def discard(self, ids: Sequence[str]) -> int:
        """Close these records, if they are open, because a person wants to see them no more; returns how many."""
        change = [{"$set": {"status": "resolved", "resolved_at": "$$NOW", "discarded": True}}]
        async with translated():
            result = await self._collection.update_many({"_id": {"$in": list(ids)}, "status": "open"}, change)
        return result.modified_count

    async def count_queueable(self, selection: Selection, route: str) -> int:
        """How many open records a replay of this route can queue."""
        condition = {"$and": [selection.condition("open"), {"queueable": True, "route": route}]}
        async with translated():
            return await self._collection.count_documents(condition)

    async def count_by_reason(self, selection: Selection, status: Status) -> list[ReasonCount]:
        """How many there are for each route and reason, the largest count first."""
        stages: list[dict[str, Any]] = [
            {"$match": selection.condition(status)},
            {"$group": {"_id": {"route": "$route", "reason": "$reason"}, "count": {"$sum": 1}}},
            {"$sort": {"count": -1, "_id": 1}},
        ]
        async with translated():
            return [
                ReasonCount(group["_id"]["route"], group["_id"]["reason"], group["count"])
                async for group in self._collection.aggregate(stages)
            ]

    async def find(self, beginning: str) -> list[Record]:
        """At most `MOST_FOUND` records whose id has this prefix."""
        async with translated():
            cursor = self._collection.find({"_id": {"$regex": f"^{re.escape(beginning)}"}}).sort("_id", 1)
            return [_record(document) async for document in cursor.limit(MOST_FOUND)]

    async def page(self, selection: Selection, route: str, after: str, limit: int) -> Page:
        """The next open records after the id `after` ("": from the first), whose keys can be queued."""
        more = {"queueable": True, "route": route, "_id": {"$gt": after}}
        condition = {"$and": [selection.condition("open"), more]}
        async with translated(), await self._database.client.start_session(causal_consistency=True) as session:
            cursor = self._collection.find(condition, {"key": 1}, session=session).sort("_id", 1)
            found = [(document["_id"], document["key"]) async for document in cursor.limit(limit)]
            time: Timestamp | None = session.delegate.operation_time
        ids, keys = [record for record, _ in found], [key for _, key in found]
        return Page(ids, keys, BEGINNING_OF_TIME if time is None else time)

    async def mark(self, job: str, ids: Sequence[str]) -> None:
        """Note that this replay queues them now: whatever fails from now on has failed again."""
        change = [{"$set": {"replayed_by": {"$literal": job}, "replayed_at": "$$NOW"}}]
        async with translated():
            await self._collection.update_many({"_id": {"$in": list(ids)}}, change)

    async def outcome(self, job: str) -> Outcome:
        """What has become of the records that this replay has marked."""
        again = {"$gte": ["$last_seen", "$replayed_at"]}
        stages: list[dict[str, Any]] = [
            {"$match": {"replayed_by": job}},
            {"$group": {"_id": {"status": "$status", "again": again, "reason": "$reason"}, "count": {"$sum": 1}}},
        ]
        resolved = pending = 0
        failed: dict[str, int] = {}
        async with translated():
            async for group in self._collection.aggregate(stages):
                what, count = group["_id"], group["count"]
                if what["status"] == "resolved":
                    resolved += count
                elif what["again"]:
                    failed[what["reason"]] = failed.get(what["reason"], 0) + count
                else:
                    pending += count
        return Outcome(resolved, pending, failed)

    async def now(self) -> datetime:
        """MongoDB's time, which the records' times come from."""
        return await server_time(self._database)


def _record(document: Mapping[str, Any]) -> Record:
    names = ("route", "key", "reason", "error", "attempts", "first_seen", "last_seen", "status", "resolved_at")
    fields = {name: document[name] for name in names}
    return Record(
        id=document["_id"],
        queueable=document["queueable"],
        shown=document.get("shown", ""),
        discarded=document.get("discarded", False),
        **fields,
    )
