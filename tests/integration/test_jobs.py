"""Jobs on a real MongoDB: filed once, done oldest first, ended once, and limited in number."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson.int64 import Int64

from tests.integration.conftest import Client, Database, fail
from tests.support.keys import KEYS_OF_EVERY_TYPE, assert_same_keys
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.state.database import JOB_KEYS, JOBS
from tsync_stream.state.job_keys import PAGE, UNOWNED_FOR
from tsync_stream.state.jobs import BACKUP_JOB, MOST_OPEN, PARTIAL, REPLAY, JobStore, TooManyJobs
from tsync_stream.state.partial_reconciles import Chosen, chosen_from_bson, file_partial_reconcile

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


async def test_what_people_want_of_an_open_job_is_kept(jobs: JobStore, state: Database) -> None:
    name = await jobs.file(REPLAY, "listings", ARGUMENTS, rate_per_s=40)
    (job,) = await jobs.open()
    assert (job.paused, job.rate_per_s) == (False, 40)
    steered = await jobs.steer(name, paused=True, rate_per_s=None)
    assert steered is not None
    assert (steered.paused, steered.rate_per_s) == (True, None)
    assert await jobs.load(name) == steered
    await jobs.end(name, "cancelled")
    assert await jobs.steer(name, paused=False) is None, "it has ended"
    backup = await jobs.file(BACKUP_JOB, "", {})
    assert await jobs.steer(backup, paused=True) is None, "nobody would look"
    # As filed by a version that knew no wishes.
    await state[JOBS].update_one({"_id": backup}, {"$unset": {"paused": "", "rate_per_s": ""}})
    (job,) = await jobs.open()
    assert (job.paused, job.rate_per_s) == (False, None)


async def test_the_keys_of_a_job_are_kept_in_pages_until_it_has_ended(jobs: JobStore, state: Database) -> None:
    keys = [*KEYS_OF_EVERY_TYPE, *(f"key {number}" for number in range(2 * PAGE))]
    name = await file_partial_reconcile(jobs, "listings", keys, documents=9)
    (job,) = await jobs.open()
    assert (job.id, job.kind, job.arguments["chosen"]) == (name, PARTIAL, len(keys))
    assert await state[JOB_KEYS].count_documents({}) == 3
    pages = [await jobs.keys.page(name, number) for number in range(4)]
    assert pages[3] is None
    assert_same_keys([key for page in pages[:3] for key in page or ()], keys)
    await jobs.keys.remove_unowned([name])
    await jobs.keys.remove_unowned([])
    assert await state[JOB_KEYS].count_documents({}) == 3, "another command may be about to file their job"
    await state[JOB_KEYS].update_many({}, {"$set": {"stored_at": datetime.now(UTC) - 2 * UNOWNED_FOR}})
    await jobs.keys.remove_unowned([name])
    assert await state[JOB_KEYS].count_documents({}) == 3
    await jobs.keys.remove_unowned([])
    assert await state[JOB_KEYS].count_documents({}) == 0


async def test_keys_whose_job_cannot_be_filed_are_not_kept(jobs: JobStore, state: Database) -> None:
    for _ in range(MOST_OPEN):
        await jobs.file(REPLAY, "listings", ARGUMENTS)
    with pytest.raises(TooManyJobs):
        await file_partial_reconcile(jobs, "listings", ["a"])
    assert await state[JOB_KEYS].count_documents({}) == 0


async def test_a_query_is_kept_as_it_is(jobs: JobStore) -> None:
    query = {"$or": [{"a": {"$regex": "^x", "$ne": "xy"}}, {"$expr": {"$gt": ["$n", Int64(3)]}}]}
    await file_partial_reconcile(jobs, "listings", query, reason="the field n was added", rate_per_s=5)
    (job,) = await jobs.open()
    assert chosen_from_bson(job.arguments) == Chosen(query, 0, 0, "the field n was added")
    assert job.rate_per_s == 5
