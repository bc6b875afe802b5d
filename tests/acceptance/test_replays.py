"""Replays of dead letters, with the real command line and a full comparison at the end."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.background import repeated
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.stack import Names, redis_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

REFUSED = "no whole number"


def poison(source: Source, state: State, worker: Worker, count: int) -> None:
    """Make `count` dead letters: `amount` becomes an integer field, and these documents have fractions."""
    worker.start()
    source.insert_one({"_id": "first", "amount": 4})
    wait_for(lambda: worker.total("tsync_documents_written_total") >= 1, 30.0, "the first document is not written")
    # The reconcile of the first start would resume after a restart and resolve what a test wants to see replayed.
    state.wait_until_reconciled()
    source.insert_many([{"_id": f"poison {number}", "amount": number + 0.5} for number in range(count)])
    state.wait_for_letters(count)


def fix_schema(stack: EmbeddedStack, names: Names) -> None:
    """Do what the hint says: give the field the type float."""
    fields = [{"name": "amount", "drop": True}, {"name": "amount", "type": "float", "optional": True}]
    with typesense_client(stack) as client:
        client.patch(f"/collections/{names.typesense_collection}", json={"fields": fields}).raise_for_status()


def everything(state: State) -> list[Any]:
    """All dead letters and jobs."""
    return [list(collection.find().sort("_id", 1)) for collection in (state.letters, state.jobs)]


def changing(source: Source, keys: list[str]) -> AbstractContextManager[None]:
    """Change and delete these documents repeatedly as long as the block runs."""

    def step(number: int) -> None:
        key = keys[number % len(keys)]
        if number % 7 == 0:
            source.delete_one({"_id": key})
        else:
            source.update_one({"_id": key}, {"$set": {"amount": number + 0.25}}, upsert=True)

    return repeated(step)


def test_a_replay_after_the_schema_is_fixed_resolves_everything(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 30)
    shown = orjson.loads(worker.run_command("dead-letters", "--json", "--limit", "5").stdout)
    assert shown["total"] == 30
    assert len(shown["dead_letters"]) == 5
    assert "give it the type float" in shown["dead_letters"][0]["hint"]

    # Before the schema is fixed, a replay only fails again and says so.
    result = worker.run_command("replay", "--all", "--wait", timeout_s=60.0)
    assert result.returncode == 1, result.stderr
    assert "30 queued, 0 resolved, 30 failed again" in result.stdout
    assert f"30  {REFUSED}" in result.stdout
    assert len(state.open_letters()) == 30
    assert {letter["attempts"] for letter in state.letters.find()} == {2}

    fix_schema(stack, names)
    result = worker.run_command("replay", "--reason", REFUSED, "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "30 queued, 30 resolved, 0 failed again" in result.stdout
    assert state.open_letters() == []
    equal()
    assert "No open dead letter is chosen" in worker.run_command("replay", "--all").stdout
    # The barriers no longer carry its cursor.
    wait_for(lambda: not state.cursors(), 30.0, lambda: f"cursors of finished jobs: {state.cursors()}")
    log = worker.log()
    assert "poison 1" not in log
    assert "Field `amount`" not in log


def test_only_the_selected_dead_letters_are_replayed(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 6)
    fix_schema(stack, names)
    chosen = list(state.letters.find().sort("_id", 1))[:2]
    result = worker.run_command("replay", *(letter["_id"][:12] for letter in chosen), "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {letter["_id"] for letter in state.letters.find({"status": "resolved"})} == {x["_id"] for x in chosen}
    assert worker.run_command("replay", "--newer-than", "1h", "--wait", timeout_s=60.0).returncode == 0
    assert state.open_letters() == []
    equal()


@pytest.mark.timeout(600)
def test_a_replay_interrupted_by_kill_9_is_resumed_and_finished(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    # Slow enough to be interrupted.
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200", "SYNC_LANES": "1", "LEASE_TTL": "15s"}
    poison(source, state, worker, 5000)
    fix_schema(stack, names)
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.job()["_id"]
    for least in (400, 1200):

        def queued() -> int:
            return state.letters.count_documents({"replayed_by": name})

        wait_for(lambda least=least: queued() >= least, 60.0, "the replay does not start")  # type: ignore[misc]
        worker.kill()
        assert queued() < 5000, "it had finished before it was interrupted"
        assert state.job()["status"] == "open"
        worker.start()
    result = state.wait_for_job()
    assert (result["resolved"], result["pending"], result["failed"]) == (5000, 0, [])
    assert state.open_letters() == []
    equal(timeout_s=60)


@pytest.mark.timeout(600)
def test_a_replay_survives_the_loss_of_the_queue(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200"}
    poison(source, state, worker, 3000)
    fix_schema(stack, names)
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.job()["_id"]
    wait_for(lambda: state.letters.count_documents({"replayed_by": name}) >= 400, 60.0, "the replay does not start")
    with redis_client(stack.primary_redis) as redis:
        keys = list(redis.scan_iter(match=f"{names.primary_queue_key}:*"))
        assert len(keys) >= 8
        redis.delete(*keys)
    result = state.wait_for_job()
    assert (result["resolved"], result["pending"], result["failed"]) == (3000, 0, [])
    equal(timeout_s=60)


@pytest.mark.timeout(600)
def test_replays_are_harmless_while_their_keys_change(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "100"}
    poison(source, state, worker, 1000)
    fix_schema(stack, names)
    assert worker.stop() == 0
    for _ in range(2):
        assert worker.run_command("replay", "--all").returncode == 0
    # Half of the keys change all the time; only a replay syncs the others.
    with changing(source, [f"poison {number}" for number in range(500)]):
        worker.start()
        wait_for(lambda: state.jobs.count_documents({"status": "done"}) == 2, 90.0, "the replays do not end")
    equal(timeout_s=60)
    state.wait_for_letters(0)
    assert state.letters.count_documents({"replayed_by": {"$exists": True}}) >= 500


@pytest.mark.timeout(600)
def test_another_replica_finishes_a_replay_and_a_reconcile_filed_meanwhile(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal, tmp_path: Path
) -> None:
    small = {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200", "LEASE_TTL": "15s"}
    worker.environment |= small
    poison(source, state, worker, 3000)
    fix_schema(stack, names)
    with ForkedWorker(stack, names, tmp_path, **small) as other:
        assert worker.run_command("replay", "--all").returncode == 0
        name = state.job()["_id"]
        wait_for(lambda: state.letters.count_documents({"replayed_by": name}) >= 400, 60.0, "the replay does not start")
        assert worker.metrics()["tsync_capturing"] == 1
        worker.kill()
        assert state.job()["status"] == "open"
        # This requests another term while the replay is running or waiting.
        assert other.run_command("reconcile", "--wait", timeout_s=90.0).returncode == 0
        result = state.wait_for_job()
        # The reconcile may have resolved some before the replay reached them.
        replayed = state.letters.count_documents({"replayed_by": name})
        assert replayed >= 400
        assert (result["resolved"], result["pending"], result["failed"]) == (replayed, 0, [])
        equal(timeout_s=60)
        assert state.letters.count_documents({"status": "open"}) == 0
        assert other.metrics()["tsync_capturing"] == 1


def test_a_dry_run_changes_nothing(source: Source, worker: Worker, state: State) -> None:
    poison(source, state, worker, 8)
    before = everything(state)
    result = worker.run_command("replay", "--all", "--dry-run", "--wait")
    assert result.returncode == 0, result.stderr
    assert "8 open dead letters are chosen" in result.stdout
    assert f"8  {source.name}: {REFUSED}" in result.stdout
    assert result.stdout.count('"poison ') == 5, "the first few are listed"
    assert "Nothing was changed" in result.stdout
    acked = worker.metrics()["tsync_entries_acked_total"]
    # Anything queued by the dry run would be synced before this document.
    source.insert_one({"_id": "later"})
    wait_for(lambda: worker.total("tsync_entries_acked_total") > acked, 20.0, "nothing is synced")
    assert everything(state) == before


def test_a_replay_filed_while_no_worker_runs_starts_with_the_next_worker(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 20)
    fix_schema(stack, names)
    assert worker.stop() == 0
    result = worker.run_command("replay", "--all")
    assert result.returncode == 0, result.stderr
    assert "No replica is live" in result.stdout
    name = state.job()["_id"]
    assert f"replay {name}: waiting for a replica" in worker.run_command("status").stdout
    (job,) = orjson.loads(worker.run_command("status", "--json").stdout)["jobs"]
    assert (job["job"], job["kind"], job["queued"], job["chosen"]) == (name, "replay", 0, 20)
    assert len(state.open_letters()) == 20
    worker.start()
    assert state.wait_for_job()["resolved"] == 20
    equal()


def test_a_cancelled_replay_does_not_start(source: Source, worker: Worker, state: State, equal: Equal) -> None:
    poison(source, state, worker, 5)
    assert worker.stop() == 0
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.job()["_id"]
    result = worker.run_command("replay", "--cancel", name)
    assert (result.returncode, "is cancelled" in result.stdout) == (0, True)
    assert worker.run_command("replay", "--cancel", name).returncode == 1, "it is not open any more"
    worker.start()
    worker.wait_until_capturing()
    source.insert_many(listings(20))
    equal(ignoring=frozenset(f"poison {number}" for number in range(5)))
    assert state.letters.count_documents({"replayed_by": {"$exists": True}}) == 0
    assert state.job()["status"] == "cancelled"
