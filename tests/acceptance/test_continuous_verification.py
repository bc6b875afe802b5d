"""Continuous verification finds what was tampered with by itself, repairs it, and reports nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.changing import changing
from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

FOUND = re.compile(r"verification of route \S+: the document (.+) is (\w+) in Typesense; it is synced")
# Typesense stores a field that no schema names as it comes: there, a value may have another type.
SCHEMA = {"fields": [{"name": "title", "type": "string", "optional": True}]}
# All documents make one page: each page with documents that change all the time takes a quarter of a minute.
FAST = {"VERIFY_RATE": "1000", "MAX_BUFFER_SIZE": "500", "BATCH_SIZE": "500"}


@pytest.fixture
def typesense(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with typesense_client(stack) as client:
        yield client


@pytest.fixture
def documents_path(names: Names) -> str:
    return f"/collections/{names.typesense_collection}/documents"


def found(worker: Worker) -> set[tuple[str, str]]:
    """The ids that were reported, and what was wrong with each."""
    return set(FOUND.findall(worker.log()))


def route(worker: Worker) -> dict[str, Any]:
    """What `status --json` says of the one route's verification."""
    (one,) = json.loads(worker.run_command("status", "--json").stdout)["routes"]
    verified: dict[str, Any] = one["verified"] or {}
    return verified


def passes(state: State) -> int:
    """When the last complete pass began; 0 before there is any."""
    stored = state.verification()
    last = stored.get("last")
    return 0 if last is None else int(last["began"].time)


def is_complete(stored: dict[str, Any]) -> bool:
    return bool(stored) and stored["cursor"] is not None and stored["cursor"]["phase"] == "done"


def is_under_way(stored: dict[str, Any]) -> bool:
    return bool(stored) and stored["cursor"] is not None and stored["cursor"]["phase"] == "scan"


def filled(source: Source, worker: Worker, equal: Equal, count: int) -> list[Any]:
    keys = source.insert_many([{**each, "note": "5"} for each in listings(count)]).inserted_ids
    schema = worker.directory / "schema.json"
    schema.write_bytes(orjson.dumps(SCHEMA))
    worker.environment |= {**FAST, "TYPESENSE_SCHEMA_FILE": str(schema)}
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    equal()
    return keys


def test_every_kind_of_difference_is_found_and_repaired_and_nothing_else_is_reported(
    source: Source, worker: Worker, state: State, equal: Equal, typesense: httpx.Client, documents_path: str
) -> None:
    keys = filled(source, worker, equal, 300)
    shown = typesense.get(f"{documents_path}/{keys[9]}").json()
    with changing(source):
        typesense.delete(f"{documents_path}/{keys[7]}").raise_for_status()
        planted = [
            {**shown, "title": "changed by hand"},
            {**typesense.get(f"{documents_path}/{keys[11]}").json(), "note": 5},
            {"id": "from nowhere", "title": "extra"},
        ]
        body = b"\n".join(map(orjson.dumps, planted))
        answer = typesense.post(f"{documents_path}/import?action=upsert", content=body)
        assert answer.text.count('"success":true') == len(planted), answer.text
        expected = {
            (str(keys[7]), "missing"),
            (str(keys[9]), "different"),
            (str(keys[11]), "different"),
            ("from nowhere", "extra"),
        }
        wait_for(lambda: found(worker) >= expected, 90.0, lambda: f"only {found(worker)} are found")
        seen = passes(state)
        wait_for(lambda: passes(state) > seen, 90.0, lambda: f"no further pass: {state.verification()}")
    assert found(worker) == expected
    equal()
    told = route(worker)
    assert (told["equal"], told["open"], told["since"] is not None) == (True, 0, True), told
    assert worker.metrics()['tsync_documents_drifted_total{kind="different"}'] == 2
    assert worker.metrics()["tsync_documents_verified_total"] >= 300
    assert "changed by hand" not in worker.log()


def test_it_goes_on_where_it_stopped_and_the_claim_outlives_a_restart(
    source: Source, worker: Worker, state: State, equal: Equal
) -> None:
    filled(source, worker, equal, 100)
    wait_for(lambda: is_complete(state.verification()), 60.0, "no pass is complete")
    assert worker.stop() == 0
    began = state.verification()["began"]
    # A pass takes a minute then.
    worker.environment |= {"VERIFY_RATE": "2", "MAX_BUFFER_SIZE": "50", "BATCH_SIZE": "50"}
    worker.start()
    wait_for(lambda: is_under_way(state.verification()), 60.0, lambda: f"{state.verification()}")
    worker.kill()
    stored = state.verification()
    assert stored["last"]["began"] == began
    worker.start()
    wait_for(lambda: state.verification()["latest"] > stored["latest"], 90.0, "it does not go on")
    now = state.verification()
    assert (now["began"], now["last"]) == (stored["began"], stored["last"]), "the pass began anew"
    assert now["cursor"]["tally"]["compared"] > stored["cursor"]["tally"]["compared"]
    told = route(worker)
    assert (told["equal"], told["since"] is not None, told["share"] < 1) == (True, True, True), told


def test_it_is_switched_off_by_a_rate_of_zero(source: Source, worker: Worker, state: State, equal: Equal) -> None:
    keys = filled(source, worker, equal, 5)
    assert keys
    worker.stop()
    state.forget_verification()
    worker.environment |= {"VERIFY_RATE": "0"}
    worker.start()
    worker.wait_until_capturing()
    source.insert_one({"_id": "one more"})
    equal()
    assert state.verification() == {}
    assert route(worker) == {}
