"""Promise 5: nothing is skipped silently. A position that is lost ends in a repair or in a red health check."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from tests.faults.support.trial import Trial
from tests.support.listings import listings
from tests.support.stack import typesense_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

# Every document may be deleted; the guard against mass deletes has its own tests.
SWEEPING = {"MASS_DELETE_SHARE": "1"}
FILLER_MB = 16


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Servers whose oplog rolls over after about 80 MB: it is cut only at checkpoints, so there is one a second."""
    arguments = ["--setParameter", "enableTestCommands=1", "--oplogSize", "32", "--syncdelay", "1"]
    with EmbeddedStack(tmp_path_factory.mktemp("skipped"), mongod_arguments=arguments) as servers:
        yield servers


def roll_the_oplog_over(trial: Trial) -> None:
    """Write until the oplog no longer contains its current entries."""
    with trial.source.watch() as stream:
        trial.source.update_one({}, {"$inc": {"number": 1}})
        stream.next()
        token = stream.resume_token
    trial.source.update_one({}, {"$inc": {"number": 1}})
    filler = trial.source.database["filler"]

    def rolled_over() -> bool:
        filler.insert_many([{"text": "x" * 1_000_000} for _ in range(FILLER_MB)])
        try:
            with trial.source.watch(resume_after=token) as stream:
                stream.try_next()
        except PyMongoError as error:
            return getattr(error, "code", None) == 286
        return False

    wait_for(rolled_over, 60.0, "the oplog does not roll over")
    filler.drop()


def reconciles(trial: Trial) -> int:
    """How many reconciles this test's replicas have begun."""
    return sum(replica.log().count("reconcile: began") for replica in trial.cluster.replicas)


def test_the_oplog_rolls_over_during_a_stop(trial: Trial, seed: Seed) -> None:
    with trial.under_load("21 oplog rollover during a stop", seed(521)):
        trial.load.wait_for_operations(300)
        for replica in trial.cluster.replicas:
            assert replica.stop() == 0
        trial.load.wait_for_operations(300)
        roll_the_oplog_over(trial)
        trial.cluster.start(*trial.cluster.replicas)
        trial.load.wait_for_operations(100)
        wait_for(lambda: reconciles(trial) == 2, 30.0, "the lost position does not cause a reconcile")
        trial.wait_until_reconciled()


def drop(trial: Trial) -> None:
    """The collection is dropped; the load recreates it."""
    trial.source.drop()


def drop_database(trial: Trial) -> None:
    """Its database is dropped; the load recreates it."""
    trial.source.database.client.drop_database(trial.names.database)


def rename_away(trial: Trial) -> None:
    """The collection is renamed, with all its documents; the load recreates it."""
    trial.source.rename("elsewhere")


def rename_in(trial: Trial) -> None:
    """Another collection takes its name: its documents never appear as inserts."""
    other = trial.source.database["other"]
    other.insert_many([{"_id": f"other {number}", **document} for number, document in enumerate(listings(500))])
    other.rename(trial.names.collection, dropTarget=True)


@pytest.mark.parametrize("act", [drop, drop_database, rename_away, rename_in])
def test_the_source_is_replaced_under_load(trial: Trial, seed: Seed, act: Callable[[Trial], None]) -> None:
    name = f"22 {act.__name__.replace('_', ' ')} under load"
    with trial.under_load(name, seed(522), replicas=2, settings=SWEEPING):
        trial.load.wait_for_operations(400)
        before = reconciles(trial)
        with trial.load.history.everything_goes(trial.load.next_version):
            act(trial)
        trial.load.wait_for_operations(300)
        wait_for(lambda: reconciles(trial) > before, 30.0, "no reconcile starts")
        trial.wait_until_reconciled()


def delete_collection(trial: Trial) -> None:
    """Somebody deletes the Typesense collection."""
    with typesense_client(trial.stack) as typesense:
        typesense.delete(f"/collections/{trial.names.typesense_collection}").raise_for_status()


def recreate_collection(trial: Trial) -> None:
    """Somebody deletes the Typesense collection and recreates it, empty."""
    with typesense_client(trial.stack) as typesense:
        old = typesense.get(f"/collections/{trial.names.typesense_collection}").raise_for_status().json()
        before = old["created_at"]
        delete_collection(trial)
        schema = {"name": old["name"], "fields": old["fields"], "enable_nested_fields": True}

        def made_later() -> bool:
            # It is identified by its creation time in seconds, which must differ.
            typesense.delete(f"/collections/{old['name']}")
            answer = typesense.post("/collections", json=schema)
            return answer.status_code == 201 and answer.json()["created_at"] > before

        wait_for(made_later, 20.0, "the collection is not recreated")


def lose_the_disk(trial: Trial) -> None:
    """Typesense loses all of its data."""
    trial.stack.typesense.kill()
    trial.stack.typesense.wipe()
    trial.stack.typesense.start()


@pytest.mark.parametrize("act", [delete_collection, recreate_collection, lose_the_disk])
def test_typesense_is_emptied_by_somebody_else(trial: Trial, seed: Seed, act: Callable[[Trial], None]) -> None:
    name = f"30 Typesense: {act.__name__.replace('_', ' ')}"
    with trial.under_load(name, seed(530), replicas=2):
        trial.load.wait_for_operations(400)
        before = reconciles(trial)
        with trial.watcher.excused():
            act(trial)
            trial.watcher.forget()
        trial.load.wait_for_operations(100)
        wait_for(lambda: reconciles(trial) > before, 30.0, "no reconcile starts")
        trial.wait_until_reconciled()


def test_a_verification_under_load_finds_no_difference_when_its_replica_crashes(trial: Trial, seed: Seed) -> None:
    """Entries in flight or waiting to be claimed are not differences; the next capturing replica resumes the job."""
    small = {"MAX_BUFFER_SIZE": "50", "BATCH_SIZE": "25"}

    def job() -> dict[str, Any]:
        (found,) = trial.state.jobs.find({"kind": {"$ne": "reconcile"}})
        return found

    with trial.under_load("a verification, kill -9 of its replica", seed(540), replicas=3, settings=small):
        trial.load.wait_for_operations(300)
        leader = trial.cluster.capturing()
        assert leader.run_command("verify").returncode == 0
        wait_for(lambda: f"verify {job()['_id']}: began" in leader.log(), 60.0, lambda: f"it does not start: {job()}")
        killed_s, others = time.monotonic(), trial.cluster.following()
        leader.kill()
        assert job()["status"] == "open", "it had finished before it was interrupted"
        trial.take_over(killed_s, *others)
        leader.launch()
        wait_for(lambda: job()["status"] == "done", 120.0, lambda: f"it does not end: {job()}")
        result, documents = job()["result"], job()["arguments"]["documents"]  # as many as there were at first
        assert (result["missing"], result["different"], result["extra"], result["foreign"]) == (0, 0, 0, 0), result
        assert result["compared"] > documents / 2 > 0
        trial.load.wait_for_operations(100)
