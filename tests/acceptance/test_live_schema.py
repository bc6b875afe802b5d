"""The worker follows the live schema, from its first document on and when somebody changes it."""

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.comparison import actual_documents
from tests.support.planted import CONFLICTS, planted
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

LNG, LAT = 2.35, 48.85


def near_paris(stack: EmbeddedStack, names: Names) -> list[str]:
    """The ids found within 50 km of Paris."""
    query = {"q": "*", "filter_by": f"place:({LAT}, {LNG}, 50 km)"}
    with typesense_client(stack) as client:
        answer = client.get(f"/collections/{names.typesense_collection}/documents/search", params=query)
    return sorted(hit["document"]["id"] for hit in answer.json().get("hits", []))


@pytest.mark.timeout(120)
def test_the_first_documents_are_checked_against_the_schema_file(
    stack: EmbeddedStack, names: Names, source: Source, state: State, worker: Worker, tmp_path: Path, equal: Equal
) -> None:
    """They arrive within a second after the collection is made; what Typesense silently indexes wrongly would stay."""
    schema = tmp_path / "schema.json"
    fields = [{"name": "n", "type": "int32", "optional": True}, {"name": "place", "type": "geopoint", "optional": True}]
    schema.write_text(json.dumps({"fields": [*fields, {"name": ".*", "type": "auto"}]}))
    worker.environment["TYPESENSE_SCHEMA_FILE"] = str(schema)
    source.insert_many([{"_id": f"large {number}", "n": 2**31 + number} for number in range(20)])
    source.insert_many([{"_id": f"good {number}", "n": float(number)} for number in range(20)])
    source.insert_one({"_id": "paris", "place": {"type": "Point", "coordinates": [LNG, LAT], "city": "Paris"}})
    source.insert_one({"_id": "swapped", "place": [LAT, 148.85]})
    worker.start()
    wait_for(lambda: len(actual_documents(stack, names)) >= 21, 30.0, lambda: f"not synced: {worker.health()}")
    letters = state.wait_for_letters(21, 30.0)
    assert {letter["reason"] for letter in letters} == {"value out of range", "not a place on Earth"}
    assert near_paris(stack, names) == ["paris"]
    source.delete_many({"_id": {"$in": [letter["key"] for letter in letters]}})
    equal()


@pytest.mark.timeout(120)
def test_documents_are_rewritten_when_a_field_is_declared_a_geopoint_later(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    """Typesense silently reads the existing pairs, longitude first, as latitude and longitude."""
    source.insert_many([{"_id": "pair", "place": [LNG, LAT]}, {"_id": "point", "place": [LNG, LAT]}])
    worker.start()
    equal()
    fields = [{"name": "place", "drop": True}, {"name": "place", "type": "geopoint", "optional": True}]
    with typesense_client(stack) as client:
        client.patch(f"/collections/{names.typesense_collection}", json={"fields": fields}).raise_for_status()
    wait_for(lambda: near_paris(stack, names) == ["pair", "point"], 30.0, lambda: f"not found: {worker.health()}")
    equal()


@pytest.mark.timeout(120)
def test_values_that_detection_would_refuse_become_no_dead_letters(
    source: Source, state: State, worker: Worker, equal: Equal
) -> None:
    """The schema is found in a sample before the first document is written, and the log names what is in conflict."""
    source.insert_many(planted(seed=5))
    worker.start()
    equal()
    state.wait_until_reconciled()
    assert state.open_letters() == []
    log = worker.log()
    named = {path for path in CONFLICTS if f": `{path}` " in log}
    assert named == CONFLICTS
    assert "five" not in log
    source.insert_one({"_id": "later", "one_and_many": "z", "whole_and_fraction": 7.25, "new": 1})
    equal()
    assert state.open_letters() == []
