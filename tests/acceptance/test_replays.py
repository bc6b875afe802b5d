"""Replays of dead letters: the real worker, the real command line, and the full comparison at the end."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.conftest import Source
from tests.support.background import repeated
from tests.support.comparison import wait_for
from tests.support.listings import listings
from tests.support.stack import Names, is_reconciled, redis_client, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Equal = Callable[..., None]
REFUSED = "no whole number"


class State:
    """What the product remembers, as a test looks at it."""

    def __init__(self, names: Names, source: Source) -> None:
        self._database = source.database.client[names.state_database]
        self.letters = self._database.dead_letters
        self.jobs = self._database.jobs

    def open_letters(self) -> int:
        return self.letters.count_documents({"status": "open"})

    def wait_for_letters(self, count: int) -> None:
        wait_for(lambda: self.open_letters() == count, 60.0, lambda: f"{self.open_letters()} dead letters, not {count}")

    def only_job(self) -> Any:
        (job,) = self.jobs.find({"kind": {"$ne": "reconcile"}})
        return job

    def wait_until_done(self) -> Any:
        wait_for(lambda: self.only_job()["status"] != "open", 90.0, lambda: f"the job is not done: {self.only_job()}")
        job = self.only_job()
        assert job["status"] == "done"
        return job["result"]

    def cursors(self) -> list[Any]:
        """Of every position that is stored."""
        positions = [record["position"] for record in self._database.pipeline.find({"position": {"$exists": True}})]
        return [cursor for position in positions for cursor in position["cursors"]]

    def is_reconciled(self) -> bool:
        return is_reconciled(self._database.pipeline.find_one({"_id": "pipeline"}))

    def everything(self) -> Any:
        return [list(collection.find().sort("_id", 1)) for collection in (self.letters, self.jobs)]


@pytest.fixture
def state(names: Names, source: Source) -> State:
    return State(names, source)


def poison(source: Source, state: State, worker: Worker, count: int) -> None:
    """Let so many documents fail: `amount` becomes a field of integers, and they have fractions."""
    worker.start()
    source.insert_one({"_id": "first", "amount": 4})
    wait_for(lambda: worker.metrics()["tsync_documents_written_total"] >= 1, 30.0, "nothing is written")
    # The first start's reconcile would go on after a restart, and resolve what a test wants to see replayed.
    wait_for(state.is_reconciled, 30.0, "the first start is not done")
    source.insert_many([{"_id": f"poison {number}", "amount": number + 0.5} for number in range(count)])
    state.wait_for_letters(count)


def mend_schema(stack: EmbeddedStack, names: Names) -> None:
    """What the hint says: give the field the type float."""
    fields = [{"name": "amount", "drop": True}, {"name": "amount", "type": "float", "optional": True}]
    with typesense_client(stack) as client:
        client.patch(f"/collections/{names.typesense_collection}", json={"fields": fields}).raise_for_status()


def changing(source: Source, keys: list[str]) -> AbstractContextManager[None]:
    """Change and delete these documents, over and over, as long as the block runs."""

    def step(number: int) -> None:
        key = keys[number % len(keys)]
        if number % 7 == 0:
            source.delete_one({"_id": key})
        else:
            source.update_one({"_id": key}, {"$set": {"amount": number + 0.25}}, upsert=True)

    return repeated(step)


def test_a_replay_after_the_schema_was_mended_resolves_everything(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 30)
    shown = orjson.loads(worker.run_command("dead-letters", "--json", "--limit", "5").stdout)
    assert shown["total"] == 30
    assert len(shown["dead_letters"]) == 5
    assert "give it the type float" in shown["dead_letters"][0]["hint"]

    # Before anything is mended a replay only fails again, and says so.
    result = worker.run_command("replay", "--all", "--wait", timeout_s=60.0)
    assert result.returncode == 1, result.stderr
    assert "30 queued, 0 resolved, 30 failed again" in result.stdout
    assert f"30  {REFUSED}" in result.stdout
    assert state.open_letters() == 30
    assert {letter["attempts"] for letter in state.letters.find()} == {2}

    mend_schema(stack, names)
    result = worker.run_command("replay", "--reason", REFUSED, "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "30 queued, 30 resolved, 0 failed again" in result.stdout
    assert state.open_letters() == 0
    equal()
    assert "No open dead letter is chosen" in worker.run_command("replay", "--all").stdout
    # Its cursor travels no further.
    wait_for(lambda: not state.cursors(), 30.0, lambda: f"cursors of finished jobs: {state.cursors()}")
    log = worker.log()
    assert "poison 1" not in log
    assert "Field `amount`" not in log


def test_only_what_was_chosen_is_replayed(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 6)
    mend_schema(stack, names)
    chosen = list(state.letters.find().sort("_id", 1))[:2]
    result = worker.run_command("replay", *(letter["_id"][:12] for letter in chosen), "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {letter["_id"] for letter in state.letters.find({"status": "resolved"})} == {x["_id"] for x in chosen}
    assert worker.run_command("replay", "--newer-than", "1h", "--wait", timeout_s=60.0).returncode == 0
    assert state.open_letters() == 0
    equal()


@pytest.mark.timeout(600)
def test_a_replay_that_kill_9_interrupts_is_picked_up_and_finished(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    # So slow that it can be interrupted.
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200", "SYNC_LANES": "1", "LEASE_TTL": "15s"}
    poison(source, state, worker, 5000)
    mend_schema(stack, names)
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.only_job()["_id"]
    for least in (400, 1200):

        def queued() -> int:
            return state.letters.count_documents({"replayed_by": name})

        wait_for(lambda least=least: queued() >= least, 60.0, "the replay does not begin")  # type: ignore[misc]
        worker.kill()
        assert queued() < 5000, "it was too late to interrupt anything"
        assert state.only_job()["status"] == "open"
        worker.start()
    result = state.wait_until_done()
    assert (result["resolved"], result["pending"], result["failed"]) == (5000, 0, [])
    assert state.open_letters() == 0
    equal(timeout_s=60)


@pytest.mark.timeout(600)
def test_a_replay_survives_the_loss_of_the_queue(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200"}
    poison(source, state, worker, 3000)
    mend_schema(stack, names)
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.only_job()["_id"]
    wait_for(lambda: state.letters.count_documents({"replayed_by": name}) >= 400, 60.0, "the replay does not begin")
    with redis_client(stack.primary_redis) as redis:
        keys = list(redis.scan_iter(match=f"{names.primary_queue_key}:*"))
        assert len(keys) >= 8
        redis.delete(*keys)
    result = state.wait_until_done()
    assert (result["resolved"], result["pending"], result["failed"]) == (3000, 0, [])
    equal(timeout_s=60)


@pytest.mark.timeout(600)
def test_replays_while_their_keys_change_do_no_harm(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    worker.environment |= {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "100"}
    poison(source, state, worker, 1000)
    mend_schema(stack, names)
    assert worker.stop() == 0
    for _ in range(2):
        assert worker.run_command("replay", "--all").returncode == 0
    # Half of the keys change all the time; the others only a replay can bring.
    with changing(source, [f"poison {number}" for number in range(500)]):
        worker.start()
        wait_for(lambda: state.jobs.count_documents({"status": "done"}) == 2, 90.0, "the replays do not end")
    equal(timeout_s=60)
    state.wait_for_letters(0)
    assert state.letters.count_documents({"replayed_by": {"$exists": True}}) >= 500


@pytest.mark.timeout(600)
def test_another_replica_finishes_a_replay_and_a_reconcile_beside_it(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal, tmp_path: Path
) -> None:
    small = {"BATCH_SIZE": "10", "MAX_BUFFER_SIZE": "200", "LEASE_TTL": "15s"}
    worker.environment |= small
    poison(source, state, worker, 3000)
    mend_schema(stack, names)
    with Worker(stack, names, tmp_path, **small) as other:
        assert worker.run_command("replay", "--all").returncode == 0
        name = state.only_job()["_id"]
        wait_for(lambda: state.letters.count_documents({"replayed_by": name}) >= 400, 60.0, "the replay does not begin")
        assert worker.metrics()["tsync_capturing"] == 1
        worker.kill()
        assert state.only_job()["status"] == "open"
        # It asks for another term while the replay runs, or waits to.
        assert other.run_command("reconcile", "--wait", timeout_s=90.0).returncode == 0
        result = state.wait_until_done()
        # The reconcile may have resolved some before the replay came to them.
        replayed = state.letters.count_documents({"replayed_by": name})
        assert replayed >= 400
        assert (result["resolved"], result["pending"], result["failed"]) == (replayed, 0, [])
        equal(timeout_s=60)
        assert state.letters.count_documents({"status": "open"}) == 0
        assert other.metrics()["tsync_capturing"] == 1


def test_a_dry_run_changes_nothing(source: Source, worker: Worker, state: State) -> None:
    poison(source, state, worker, 8)
    before = state.everything()
    result = worker.run_command("replay", "--all", "--dry-run", "--wait")
    assert result.returncode == 0, result.stderr
    assert "8 open dead letters are chosen" in result.stdout
    assert f"8  {source.name}: {REFUSED}" in result.stdout
    assert result.stdout.count('"poison ') == 5, "the first few are told"
    assert "Nothing was changed" in result.stdout
    acked = worker.metrics()["tsync_entries_acked_total"]
    # Whatever was queued would be synced before this is.
    source.insert_one({"_id": "later"})
    wait_for(lambda: worker.metrics()["tsync_entries_acked_total"] > acked, 20.0, "nothing is synced")
    assert state.everything() == before


def test_a_replay_that_is_filed_while_no_worker_runs_begins_with_the_next_start(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    poison(source, state, worker, 20)
    mend_schema(stack, names)
    assert worker.stop() == 0
    result = worker.run_command("replay", "--all")
    assert result.returncode == 0, result.stderr
    assert "No replica is live" in result.stdout
    name = state.only_job()["_id"]
    assert f"replay {name}: waiting for a replica" in worker.run_command("status").stdout
    (job,) = orjson.loads(worker.run_command("status", "--json").stdout)["jobs"]
    assert (job["job"], job["kind"], job["queued"], job["chosen"]) == (name, "replay", 0, 20)
    assert state.open_letters() == 20
    worker.start()
    assert state.wait_until_done()["resolved"] == 20
    equal()


def test_a_cancelled_replay_is_not_begun(source: Source, worker: Worker, state: State, equal: Equal) -> None:
    poison(source, state, worker, 5)
    assert worker.stop() == 0
    assert worker.run_command("replay", "--all").returncode == 0
    name = state.only_job()["_id"]
    result = worker.run_command("replay", "--cancel", name)
    assert (result.returncode, "is cancelled" in result.stdout) == (0, True)
    assert worker.run_command("replay", "--cancel", name).returncode == 1, "it is not open any more"
    worker.start()
    worker.wait_until_capturing()
    source.insert_many(listings(20))
    equal(ignoring=frozenset(f"poison {number}" for number in range(5)))
    assert state.letters.count_documents({"replayed_by": {"$exists": True}}) == 0
    assert state.only_job()["status"] == "cancelled"
