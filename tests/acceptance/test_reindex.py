"""A reindex in a running deployment: what searches find meanwhile, the way back, and every way to end it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.load import Load
from tests.support.reindexing import FACETED, ROUTE, UNTOUCHED, Reindexed
from tests.support.stack import Names
from tsync_stream.embedded import EmbeddedStack

DOCUMENTS = 300
AT_ONCE = ("--yes", "--watch", "0s", "--keep", "0s")
TO_KEEP = ("--yes", "--watch", "0s")


@pytest.fixture
def reindexed(stack: EmbeddedStack, names: Names, source: Source, worker: ForkedWorker) -> Reindexed:
    """The route, whose collection exists behind an alias; no worker runs yet."""
    source.insert_many(listings(DOCUMENTS, first=UNTOUCHED))
    made = Reindexed(stack, names, worker, source.database.client[names.state_database])
    made.begin()
    return made


def started(reindexed: Reindexed, state: State) -> None:
    """The worker runs, the first load is done, and another schema is declared."""
    reindexed.worker.start()
    state.wait_until_reconciled()
    reindexed.declare(FACETED)


def test_a_schema_is_replaced_under_load_and_no_search_notices(
    reindexed: Reindexed, state: State, make_load: Callable[[int], Load], equal: Equal
) -> None:
    started(reindexed, state)
    reindexed.add_synonym("homes", "loft", "attic")
    reindexed.add_curation("first", "loft", "1")
    with make_load(1).running() as load, reindexed.searched() as searches:
        load.wait_for_operations(200)
        done = reindexed.reindex_well(*AT_ONCE)
        load.wait_for_operations(200)
    assert (done["outcome"], done["last"]["result"]) == ("done", "done")
    assert searches.failed == []
    assert set(searches.found) == {DOCUMENTS}
    assert reindexed.shown() == f"{reindexed.target}_2"
    assert reindexed.fields()["number"]["facet"]
    assert reindexed.synonyms() == {"homes"}
    assert reindexed.curations() == {"first"}
    assert reindexed.live()["symbols_to_index"] == [], "a declared schema is used as it is"
    plan = orjson.loads(reindexed.worker.run_command("plan", "--json").stdout)
    assert plan["actions"] == [], "a reindex that is done is not asked for again"
    equal()
    assert reindexed.collections() == {f"{reindexed.target}_2"}
    assert set(reindexed.kept_of(ROUTE).values()) == {0}
    assert reindexed.routes() == [f"{ROUTE}@2"]


def test_a_second_one_follows_the_first_and_the_way_back_is_equal_after_further_writes(
    reindexed: Reindexed, state: State, source: Source, make_load: Callable[[int], Load], equal: Equal
) -> None:
    started(reindexed, state)
    with reindexed.preset({"searches": [{"collection": f"{reindexed.target}_1"}]}) as preset:
        asked = reindexed.reindex("--yes", "--watch", "0s", "--no-follow")
    assert "is filed" in asked.stdout
    assert f"do not follow a reindex: {preset} ({reindexed.target}_1). Let them name" in asked.stderr
    first = reindexed.stored()["reindex"]["id"]
    again = reindexed.reindex_well()  # nobody is asked, since nothing is filed
    assert (again["outcome"], again["reindex"]["id"]) == ("kept", first)
    late = reindexed.reindex("--cancel")
    assert late.returncode == 1
    assert "--rollback" in late.stderr
    status = reindexed.worker.run_command("status").stdout
    assert f"{reindexed.target}_1 is kept up to date until" in status
    with make_load(1).running() as load, reindexed.searched() as searches:
        load.wait_for_operations(300)
        back = reindexed.reindex_well("--rollback")
    assert back["outcome"] == "rolled back"
    assert searches.failed == []
    assert set(searches.found) == {DOCUMENTS}
    assert reindexed.shown() == f"{reindexed.target}_1"
    equal()
    assert reindexed.collections() == {f"{reindexed.target}_1"}


def test_what_the_new_schema_refuses_is_never_shown_unless_it_is_accepted(
    reindexed: Reindexed, state: State, source: Source, equal: Equal
) -> None:
    started(reindexed, state)
    reindexed.declare([{"name": "title", "type": "string"}, {"name": ".*", "type": "auto"}])
    source.insert_one({"number": 1})  # without a title
    equal()
    failed = reindexed.reindex(*AT_ONCE)
    assert failed.returncode == 1
    assert f"{reindexed.target}_2 refuses 1 documents" in failed.stdout
    assert f"dead-letters --route {ROUTE}@2" in failed.stdout
    assert reindexed.shown() == f"{reindexed.target}_1"
    problems = reindexed.worker.health()["problems"]
    assert [problem["level"] for problem in problems if problem["check"] == f"reindex {ROUTE}"] == ["red"]
    assert reindexed.reindex("--retry").returncode == 1
    accepted = reindexed.reindex_well("--retry", "--accept-refused")
    assert accepted["outcome"] == "done"
    assert (accepted["last"]["documents"], accepted["last"]["refused"]) == (DOCUMENTS, 1)
    assert reindexed.shown() == f"{reindexed.target}_2"


def test_one_that_is_killed_while_it_shows_the_new_collection_goes_on(
    reindexed: Reindexed, state: State, names: Names, equal: Equal
) -> None:
    reindexed.worker.environment |= {"LEASE_TTL": "6s", "TYPESENSE_CONNECTION_TIMEOUT": "2s"}
    started(reindexed, state)
    assert reindexed.reindex("--no-follow", *AT_ONCE).returncode == 0
    reindexed.wait_for_phase("building", "verifying")
    reindexed.worker.kill()
    reindexed.worker.start()
    reindexed.wait_for_phase("carrying", "swapping", "watching", "cleaning", "")
    reindexed.worker.kill()
    reindexed.worker.start()
    reindexed.wait_for_phase("")
    assert reindexed.stored()["last"]["result"] == "done"
    assert reindexed.shown() == f"{reindexed.target}_2"
    equal()
    assert reindexed.collections() == {f"{reindexed.target}_2"}


def test_another_replica_goes_on_when_the_capturing_one_is_killed(
    reindexed: Reindexed, stack: EmbeddedStack, names: Names, state: State, tmp_path: Path, equal: Equal
) -> None:
    quick = {"LEASE_TTL": "6s", "TYPESENSE_CONNECTION_TIMEOUT": "2s"}
    reindexed.worker.environment |= quick
    started(reindexed, state)
    directory = tmp_path / "other"
    directory.mkdir()
    shutil.copy(tmp_path / "tsync.yaml", directory)
    with ForkedWorker(stack, names, directory, **quick):
        assert reindexed.reindex("--no-follow", *AT_ONCE).returncode == 0
        reindexed.wait_for_phase("building", "verifying", "carrying", "swapping")
        reindexed.worker.kill()
        reindexed.wait_for_phase("")
        assert reindexed.stored()["last"]["result"] == "done"
        assert reindexed.shown() == f"{reindexed.target}_2"
        equal()
        assert reindexed.collections() == {f"{reindexed.target}_2"}


def test_a_real_collection_gives_way_if_a_gap_is_accepted(
    stack: EmbeddedStack, names: Names, source: Source, worker: ForkedWorker, state: State, equal: Equal
) -> None:
    source.insert_many(listings(DOCUMENTS, first=UNTOUCHED))
    reindexed = Reindexed(stack, names, worker, source.database.client[names.state_database])
    reindexed.begin(alias=False)
    started(reindexed, state)
    refused = reindexed.reindex(*AT_ONCE)
    assert refused.returncode == 1
    assert "--accept-gap" in refused.stderr
    assert reindexed.stored() == {}
    done = reindexed.reindex_well("--accept-gap", *AT_ONCE)
    assert done["outcome"] == "done"
    assert reindexed.shown() == f"{reindexed.target}_2"
    source.update_many({}, {"$set": {"version": 2}})
    equal()
    assert reindexed.collections() == {f"{reindexed.target}_2"}
