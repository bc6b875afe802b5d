"""What is known of backups: which scheduled time was filed last, the open backup, and how the last ones ended.

Invariants: each scheduled time is filed once, whoever captures: as a job whose id is that time, and by a
compare-and-set that moves `after` forward. The job comes first, so a crash in between files it again and changes
nothing. It stays open until a replica has made the backup, so a replica that dies meanwhile leaves it to the next.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import BACKUPS, JOBS
from tsync_stream.state.jobs import BACKUP_JOB

_ID = "backups"


@dataclass(frozen=True, slots=True)
class Success:
    """A backup that was made. `took_s` is in seconds, `size` in bytes; `replica` is "" if a command made it."""

    at: datetime
    size: int
    took_s: float
    file: str
    replica: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A scheduled backup that was given up, and why."""

    at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class KnownBackups:
    """`after`: times up to this one are filed. `done` and `failed` are the last ones."""

    schedule: str = ""
    after: datetime | None = None
    done: Success | None = None
    failed: Failure | None = None

    @property
    def failing(self) -> Failure | None:
        """The last failure, if no backup was made since."""
        if self.failed is None or (self.done is not None and self.done.at >= self.failed.at):
            return None
        return self.failed


class BackupStore:
    """The `backups` collection, and the jobs of this kind. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[BACKUPS]
        self._jobs = database[JOBS]

    async def load(self) -> KnownBackups:
        """What is known now."""
        async with translated():
            document = await self._collection.find_one({"_id": _ID})
        return _known({} if document is None else document)

    async def begin_schedule(self, schedule: str, after: datetime) -> None:
        """From `after` on, this is the schedule; nothing of the one before is due any more."""
        async with translated():
            await self._collection.update_one(
                {"_id": _ID}, {"$set": {"schedule": schedule, "after": after}}, upsert=True
            )

    async def file(self, known: KnownBackups, due: datetime, now: datetime) -> bool:
        """File the backup of a scheduled time; False if another replica has moved on meanwhile."""
        job = f"backup-{due:%Y%m%dT%H%M}Z"
        fields = {
            "kind": BACKUP_JOB,
            "route": "",
            "arguments": {"due": due},
            "status": "open",
            "filed_at": now,
            "ended_at": None,
            "progress": {},
            "result": None,
        }
        async with translated():
            with suppress(DuplicateKeyError):  # another replica has filed it in this very moment
                await self._jobs.update_one({"_id": job}, {"$setOnInsert": fields}, upsert=True)
            moved = await self._collection.update_one(
                {"_id": _ID, "schedule": known.schedule, "after": known.after}, {"$set": {"after": due}}
            )
        return bool(moved.matched_count)

    async def take_open(self, replica: str) -> str | None:
        """The oldest open backup, which is this replica's to make from now on; None if there is none."""
        async with translated():
            found = await self._jobs.find_one_and_update(
                {"kind": BACKUP_JOB, "status": "open"}, {"$set": {"runner": replica}}, sort=[("filed_at", 1)]
            )
        return None if found is None else str(found["_id"])

    async def save_progress(self, job: str, replica: str, progress: Mapping[str, Any]) -> bool:
        """Store how far it is; False if it is not this replica's any more."""
        async with translated():
            result = await self._jobs.update_one(_ours(job, replica), {"$set": {"progress": dict(progress)}})
        return bool(result.matched_count)

    async def end(self, job: str, replica: str, outcome: Success | Failure) -> bool:
        """Store how a backup ended; False if it is not this replica's any more."""
        status = "done" if isinstance(outcome, Success) else "failed"
        fields = {"status": status, "ended_at": outcome.at, "result": _to_bson(outcome)}
        async with translated():
            ended = await self._jobs.update_one(_ours(job, replica), {"$set": fields})
        if ended.matched_count:
            await self.note(outcome)
        return bool(ended.matched_count)

    async def note(self, outcome: Success | Failure) -> None:
        """Remember how the last backup ended."""
        name = "done" if isinstance(outcome, Success) else "failed"
        async with translated():
            await self._collection.update_one({"_id": _ID}, {"$set": {name: _to_bson(outcome)}}, upsert=True)


def _ours(job: str, replica: str) -> dict[str, Any]:
    return {"_id": job, "status": "open", "runner": replica}


def _to_bson(outcome: Success | Failure) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"at": outcome.at, "error": outcome.error}
    names = ("at", "size", "took_s", "file", "replica")
    return {name: getattr(outcome, name) for name in names}


def _known(document: Mapping[str, Any]) -> KnownBackups:
    done, failed = document.get("done"), document.get("failed")
    return KnownBackups(
        schedule=document.get("schedule", ""),
        after=document.get("after"),
        done=None if done is None else Success(**done),
        failed=None if failed is None else Failure(**failed),
    )
