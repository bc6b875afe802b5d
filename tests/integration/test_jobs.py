"""Jobs on a real MongoDB: filed once, done oldest first, ended once, and limited in number."""

from typing import Any

import pytest

from tests.integration.conftest import Client, Database, fail
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.state.database import JOBS
from tsync_stream.state.jobs import MOST_OPEN, REPLAY, JobStore, TooManyJobs

ARGUMENTS: dict[str, Any] = {"selection": {"reason": "$reason", "ids": ["ab"]}, "chosen": 3}


@pytest.fixture
async def jobs(state: Database) -> JobStore:
    chosen = JobStore(state)
    await chosen.start()
    return chosen


async def test_a_job_is_open_until_it_is_ended_and_then_keeps_its_result(jobs: JobStore) -> None:
    name = await jobs.file(REPLAY, "listings", ARGUMENTS)
    (job,) = await jobs.open()
    assert (job.id, job.kind, job.route, job.arguments, job.status) == (name, REPLAY, "listings", ARGUMENTS, "open")
    assert (job.progress, job.result) == ({}, None)
    await jobs.save_progress(name, {"phase": "queueing", "queued": 2})
    (job,) = await jobs.open()
    assert job.progress == {"phase": "queueing", "queued": 2}
    assert await jobs.end(name, "done", {"queued": 3})
    assert await jobs.open() == []
    ended = await jobs.load(name)
    assert ended is not None
    assert (ended.status, ended.result) == ("done", {"queued": 3})


async def test_a_job_is_ended_once(jobs: JobStore) -> None:
    name = await jobs.file(REPLAY, "listings", ARGUMENTS)
    assert await jobs.end(name, "cancelled")
    assert not await jobs.end(name, "done", {"queued": 3})
    await jobs.save_progress(name, {"queued": 1})
    job = await jobs.load(name)
    assert job is not None
    assert (job.status, job.result, job.progress) == ("cancelled", None, {})
    assert not await jobs.end("nobody", "cancelled")
    assert await jobs.load("nobody") is None


async def test_open_jobs_are_listed_oldest_first(jobs: JobStore, state: Database) -> None:
    names = [await jobs.file(REPLAY, "listings", {"chosen": number}) for number in range(5)]
    for minutes, name in enumerate(names):
        change = {"filed_at": {"$subtract": ["$filed_at", minutes * 60_000]}}
        await state[JOBS].update_one({"_id": name}, [{"$set": change}])
    assert [job.id for job in await jobs.open()] == names[::-1]


async def test_the_number_of_open_jobs_is_limited(jobs: JobStore) -> None:
    names = [await jobs.file(REPLAY, "listings", ARGUMENTS) for _ in range(MOST_OPEN)]
    with pytest.raises(TooManyJobs, match="cancel"):
        await jobs.file(REPLAY, "listings", ARGUMENTS)
    assert len(await jobs.open()) == MOST_OPEN
    await jobs.end(names[0], "cancelled")
    await jobs.file(REPLAY, "listings", ARGUMENTS)


async def test_ended_jobs_expire(jobs: JobStore, state: Database) -> None:
    indexes = await state[JOBS].index_information()
    (expiring,) = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert (expiring["key"], expiring["expireAfterSeconds"]) == ([("ended_at", 1)], 30 * 86_400)
    await jobs.file(REPLAY, "listings", ARGUMENTS)
    await jobs.end(await jobs.file(REPLAY, "listings", ARGUMENTS), "done", {})
    found = {job["status"]: job["ended_at"] async for job in state[JOBS].find()}
    assert found["open"] is None
    assert found["done"] is not None


async def test_the_result_of_an_unfiled_job_is_kept_and_expires(jobs: JobStore, state: Database) -> None:
    for _ in range(2):
        await jobs.keep_result("r1", "reconcile", "listings", {"reason": "$reason"}, {"queued": 3, "refused": []})
    assert await jobs.open() == []
    kept = await jobs.load("r1")
    assert kept is not None
    assert (kept.kind, kept.route, kept.status) == ("reconcile", "listings", "done")
    assert kept.arguments == {"reason": "$reason"}
    assert kept.result == {"queued": 3, "refused": []}
    found = await state[JOBS].find_one({"_id": "r1"})
    assert found is not None
    assert found["ended_at"] is not None


async def test_a_job_that_could_not_be_filed_raises_and_is_not_stored(
    jobs: JobStore, client: Client, mongo_names: Names
) -> None:
    await fail(client, mongo_names, "update", times=1, errorCode=1)
    with pytest.raises(DependencyUnavailable):
        await jobs.file(REPLAY, "listings", ARGUMENTS)
    assert await jobs.open() == []
