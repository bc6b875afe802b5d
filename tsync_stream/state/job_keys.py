"""The keys of jobs that were filed with a list of them, in pages.

Invariants: the pages of a job are stored before the job is filed, so an open job has all of its pages, unless its
database was restored without them. They are removed once their job has ended. No page is larger than a few MB.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from tsync_stream.core.model import Key
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import JOB_KEYS

# A key has at most 1 KB.
PAGE = 1_000
# Pages without an open job are those of a command that did not come to file it, or of a job that ended unseen.
# Nothing takes this long between storing pages and filing their job, whatever the clocks say.
UNOWNED_FOR = timedelta(days=1)


class JobKeys:
    """The `job_keys` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[JOB_KEYS]

    async def start(self) -> None:
        """Create the index by job."""
        async with translated():
            await self._collection.create_index([("job", 1)])

    async def store(self, job: str, keys: Sequence[Key]) -> None:
        """Store the keys of a job that will be filed next."""
        stored_at = datetime.now(UTC)
        for number, first in enumerate(range(0, len(keys), PAGE)):
            page = {"_id": _page_id(job, number), "job": job, "stored_at": stored_at}
            async with translated():
                await self._collection.insert_one({**page, "keys": list(keys[first : first + PAGE])})

    async def page(self, job: str, number: int) -> list[Key] | None:
        """One page of at most `PAGE` keys, from 0; None if there is none."""
        async with translated():
            found = await self._collection.find_one({"_id": _page_id(job, number)}, {"keys": 1})
        return None if found is None else list(found["keys"])

    async def remove(self, jobs: Collection[str]) -> None:
        """These jobs have ended."""
        async with translated():
            await self._collection.delete_many({"job": {"$in": list(jobs)}})

    async def remove_unowned(self, open_jobs: Collection[str]) -> None:
        """Remove old pages that belong to none of the open jobs."""
        before = datetime.now(UTC) - UNOWNED_FOR
        async with translated():
            await self._collection.delete_many({"job": {"$nin": list(open_jobs)}, "stored_at": {"$lt": before}})


def _page_id(job: str, number: int) -> str:
    return f"{job}.{number}"
