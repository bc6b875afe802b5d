"""`apply` while a worker runs: added fields are searched, and the documents that show them are synced again."""

import json
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

LNG, LAT = 2.35, 48.85


def test_an_added_field_is_searched_and_its_documents_are_synced_again(
    stack: EmbeddedStack, names: Names, source: Source, state: State, worker: Worker, tmp_path: Path, equal: Equal
) -> None:
    """Typesense takes a stored pair for a place, the wrong way round; the mapping knows better."""

    def near_paris() -> list[str]:
        query = {"q": "*", "filter_by": f"place:({LAT}, {LNG}, 50 km)"}
        with typesense_client(stack) as client:
            answer = client.get(f"/collections/{names.typesense_collection}/documents/search", params=query)
        return sorted(hit["document"]["id"] for hit in answer.json().get("hits", []))

    def declare(*fields: dict[str, Any]) -> None:
        (tmp_path / "schema.json").write_text(json.dumps({"fields": fields}))

    title = {"name": "title", "type": "string", "optional": True}
    declare(title)
    worker.environment["TYPESENSE_SCHEMA_FILE"] = str(tmp_path / "schema.json")
    source.insert_many([{"_id": f"t{number}", "title": "a"} for number in range(50)])
    source.insert_many([{"_id": f"p{number}", "title": "a", "place": [LNG, LAT]} for number in range(3)])
    worker.start()
    state.wait_until_reconciled()
    equal()
    declare(title, {"name": "place", "type": "geopoint", "optional": True})
    done = json.loads(worker.run_command("apply", "--yes", "--json").stdout)
    assert [(each["kind"], each["done"]) for each in done["actions"]] == [("add fields", True)]
    wait_for(lambda: near_paris() == ["p0", "p1", "p2"], 40.0, lambda: str(near_paris()))
    job = state.jobs.find_one({"kind": "partial reconcile"})
    assert job is not None
    assert job["_id"] in done["actions"][0]["outcome"]
    wait_for(lambda: state.jobs.find_one({"_id": job["_id"], "status": "done"}) is not None, 40.0, "the job is open")
    ended = state.jobs.find_one({"_id": job["_id"]})
    assert ended is not None
    assert ended["result"]["queued"] == 3, "those that have the field, and no others"
    equal()
    assert json.loads(worker.run_command("apply", "--yes", "--json").stdout) == {"ok": True, "actions": []}
