"""Jobs that people file: a command stores one, and the capturing replica runs them, oldest first.

Invariants: a job is open until everything that it queued is synced, and ends once. Its cursor travels with the barriers
(`Position.cursors`), so nothing but the ending has to be exact here. Few jobs are open, and ended ones expire.

A reconcile of a whole route is no job here: its need is in the epoch document, where a route has at most one. Asking
while one is open changes nothing but what was allowed and how fast it goes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pymongo import ReturnDocument

from tsync_stream.core.errors import DependencyUnavailable, TsyncError
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import JOBS
from tsync_stream.state.job_keys import JobKeys
from tsync_stream.state.pipeline import PositionStore, new_nonce
from tsync_stream.state.route_state import ReconcileNeed

RECONCILE = "reconcile"
PARTIAL = "partial reconcile"
REPLAY = "replay"
VERIFY = "verify"
BACKUP_JOB = "backup"
# Those that a person may pause and resume, and whose rate may be limited.
STEERABLE = (PARTIAL, REPLAY, VERIFY)
# The phases in a job's cursor: through the source, through Typesense, and (any job) everything is queued.
SCAN = "scan"
SWEEP = "sweep"
DONE = "done"

# In the progress of a job, beside what the job reports: seconds left, or None while that is not known.
TIME_LEFT = "left_s"

MOST_OPEN = 100
KEPT_ENDED = timedelta(days=30)

Ending = Literal["done", "failed", "cancelled"]


class TooManyJobs(TsyncError):
    """Too many jobs are open to file another."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job of one route, as stored.

    `progress` may be a second old; `result` is set once the job is done or has failed.
    Of a reconcile only the result is stored. `paused`: a person wants it to wait. `rate_per_s`: the most documents a
    second that it may take on; None: no limit of its own.
    """

    id: str
    kind: str
    route: str
    arguments: Mapping[str, Any]
    status: str
    filed_at: datetime
    progress: Mapping[str, Any]
    result: Mapping[str, Any] | None
    ended_at: datetime | None = None
    paused: bool = False
    rate_per_s: int | None = None


class JobStore:
    """The `jobs` collection; `keys` are the keys of those that name theirs.

    Every call raises the errors of `errors.from_mongo`.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self.keys = JobKeys(database)
        self._collection = database[JOBS]

    async def start(self) -> None:
        """Create the indexes: open jobs by age, and ended ones, which expire."""
        async with translated():
            await self._collection.create_index([("status", 1), ("filed_at", 1)])
            await self._collection.create_index([("ended_at", 1)], expireAfterSeconds=int(KEPT_ENDED.total_seconds()))
        await self.keys.start()

    async def file(
        self,
        kind: str,
        route: str,
        arguments: Mapping[str, Any],
        *,
        rate_per_s: int | None = None,
        job: str | None = None,
    ) -> str:
        """File a job of a route; returns its id, a new one unless `job` is given.

        If that `job` is stored already, nothing changes. Raises `TooManyJobs` while `MOST_OPEN` are open.
        """
        job = job or new_nonce()
        fields = {
            "kind": {"$literal": kind},
            "route": {"$literal": route},
            "arguments": {"$literal": dict(arguments)},
            "status": "open",
            "filed_at": "$$NOW",
            "ended_at": None,
            "progress": {"$literal": {}},
            "result": None,
            "paused": False,
            "rate_per_s": rate_per_s,
        }
        async with translated():
            if await self._collection.count_documents({"status": "open"}, limit=MOST_OPEN) >= MOST_OPEN:
                raise TooManyJobs(f"{MOST_OPEN} jobs are open: wait until some are done, or cancel some")
            # Not an insert: only an update knows MongoDB's time, and finds its own work if it is repeated.
            filed = {"$replaceWith": {"$mergeObjects": [fields, "$$ROOT"]}}
            await self._collection.update_one({"_id": job}, [filed], upsert=True)
        return job

    async def open(self) -> list[Job]:
        """All open jobs, oldest first."""
        async with translated():
            cursor = self._collection.find({"status": "open"}).sort([("filed_at", 1), ("_id", 1)])
            return [_job(document) async for document in cursor.limit(MOST_OPEN)]

    async def ended(self, limit: int) -> list[Job]:
        """The jobs that ended last, newest first."""
        async with translated():
            cursor = self._collection.find({"ended_at": {"$ne": None}}).sort([("ended_at", -1), ("_id", 1)])
            return [_job(document) async for document in cursor.limit(limit)]

    async def load(self, job: str) -> Job | None:
        """One job; None if there is none with this id."""
        async with translated():
            document = await self._collection.find_one({"_id": job})
        return None if document is None else _job(document)

    async def save_progress(self, job: str, progress: Mapping[str, Any]) -> None:
        """Store how far an open job is, for people who ask."""
        async with translated():
            await self._collection.update_one({"_id": job, "status": "open"}, {"$set": {"progress": dict(progress)}})

    async def steer(self, job: str, **wanted: Any) -> Job | None:
        """Store what people want of an open job: `paused`, `rate_per_s` (None: no limit); None if none can be steered.

        Whoever captures follows within a second or two.
        """
        asked = {"_id": job, "status": "open", "kind": {"$in": STEERABLE}}
        async with translated():
            found = await self._collection.find_one_and_update(
                asked, {"$set": wanted}, return_document=ReturnDocument.AFTER
            )
        return None if found is None else _job(found)

    async def keep_result(
        self, job: str, kind: str, route: str, arguments: Mapping[str, Any], result: Mapping[str, Any]
    ) -> None:
        """Store the result of a route's job that was not filed here, as done. A repetition changes nothing."""
        fields = {
            "kind": {"$literal": kind},
            "route": {"$literal": route},
            "arguments": {"$literal": dict(arguments)},
            "status": "done",
            "filed_at": "$$NOW",
            "ended_at": "$$NOW",
            "progress": {"$literal": {}},
            "result": {"$literal": dict(result)},
        }
        async with translated():
            await self._collection.update_one({"_id": job}, [{"$set": fields}], upsert=True)

    async def end(self, job: str, ending: Ending, result: Mapping[str, Any] | None = None) -> bool:
        """End an open job; False if it is not open."""
        fields = {
            "status": ending,
            "ended_at": "$$NOW",
            "result": {"$literal": None if result is None else dict(result)},
        }
        async with translated():
            ended = await self._collection.update_one({"_id": job, "status": "open"}, [{"$set": fields}])
        return bool(ended.modified_count)


def without_time_left(progress: Mapping[str, Any]) -> dict[str, Any]:
    """The progress that the job itself reported (pure)."""
    return {name: value for name, value in progress.items() if name != TIME_LEFT}


def _job(document: Mapping[str, Any]) -> Job:
    return Job(
        id=document["_id"],
        kind=document["kind"],
        route=document["route"],
        arguments=document["arguments"],
        status=document["status"],
        filed_at=document["filed_at"],
        progress=document["progress"],
        result=document["result"],
        ended_at=document["ended_at"],
        paused=document.get("paused", False),
        rate_per_s=document.get("rate_per_s"),
    )


ASKED_FOR = "requested by a person"
# Between our look and our write a reconcile can end and another begin, but not again and again.
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome: filed now, open already, or the route has never run, so that there is nothing to reconcile."""

    outcome: Literal["filed", "open", "nothing ran"]
    need: ReconcileNeed | None = None


async def ask_reconcile(
    positions: PositionStore, route: str, *, allow_mass_delete: bool, rate_per_s: int | None = None
) -> Asked:
    """File a reconcile of a route, or find the open one; a rate holds for that too.

    Raises the errors of `errors.from_mongo`.
    """
    wanted = ReconcileNeed(new_nonce(), ASKED_FOR, allow_mass_delete, rate_per_s=rate_per_s)
    for _ in range(ATTEMPTS):
        if await positions.request_reconcile(route, wanted):
            return Asked("filed", wanted)
        if allow_mass_delete:
            await positions.allow_mass_delete(route)
        stored = await positions.load()
        if stored is None or route not in stored.routes:
            return Asked("nothing ran")
        need = stored.need(route)
        if need is not None and need.allow_mass_delete >= allow_mass_delete:
            if rate_per_s is not None and not await positions.steer_reconcile(need.job, rate_per_s=rate_per_s):
                continue
            # The driver repeats a write whose reply was lost: then the open one may be ours.
            return Asked("filed" if need.job == wanted.job else "open", need)
    raise DependencyUnavailable("the epoch document keeps changing; try again")


def queued_of(cursor: Mapping[str, Any] | None) -> tuple[int, int]:
    """How many documents were queued up to this cursor, and about how many there were at the start (pure)."""
    return (0, 0) if cursor is None else (int(cursor.get("queued", 0)), int(cursor.get("documents", 0)))
