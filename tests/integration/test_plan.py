"""`plan` on real servers: as a person types it, on planted conflicts, on a live collection, and in time."""

import json
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.database import Database

from tests.support.forked import ForkedWorker
from tests.support.planted import CONFLICTS, planted
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

A_DATE = datetime(2024, 5, 6, tzinfo=UTC)
SECRET = "a secret text"


@pytest.fixture
def database(stack: EmbeddedStack, names: Names) -> Iterator[Database[dict[str, Any]]]:
    """The source's database."""
    with mongo_client(stack) as client:
        yield client[names.database]


@pytest.fixture
def shell(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Worker:
    """A command line; its worker is never started."""
    return ForkedWorker(stack, names, tmp_path)


def plan(shell: Worker, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What `plan --json` prints about the one route."""
    result = shell.run_command("plan", "--json", *arguments)
    assert result.returncode == code, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["ok"] == (code == 0)
    (route,) = report["routes"].values()
    found: dict[str, Any] = route
    return found


def actions(shell: Worker) -> list[dict[str, Any]]:
    """What `plan --json` says that `apply` would do."""
    found: list[dict[str, Any]] = json.loads(shell.run_command("plan", "--json").stdout)["actions"]
    return found


def test_every_planted_conflict_is_named_and_nothing_is_touched(
    shell: Worker, stack: EmbeddedStack, names: Names, database: Database[dict[str, Any]]
) -> None:
    documents = [*planted(3), {"_id": "x", "text": SECRET}]
    database[names.collection].insert_many(documents)
    route = plan(shell)
    assert {each["field"] for each in route["conflicts"]} == CONFLICTS
    assert all(each["documents"] for each in route["conflicts"] if each["level"] == "conflict")
    assert (route["documents"], route["sampled"]) == ({"number": len(documents), "exact": True}, len(documents))
    assert route["effect"] == {"kind": "collection created", "added": [], "changed": []}
    assert route["added"] == {"number": len(documents), "exact": True}
    assert route["failures"] == []
    types = {each["field"]: each for each in route["fields"]}
    assert types["whole_and_fraction"]["types"] == {"int": 2, "float": 2}
    assert types["whole_and_fraction"]["proposed"] == "float"
    result = shell.run_command("plan")
    assert result.returncode == 0
    assert "no document of the samples would fail" in result.stdout
    assert "`apply` has nothing to do" in result.stdout
    assert SECRET not in result.stdout + json.dumps(route)
    with typesense_client(stack) as typesense:
        assert typesense.get(f"/collections/{names.typesense_collection}").status_code == 404
    with mongo_client(stack) as client:
        assert names.state_database not in client.list_database_names()


def test_documents_that_would_fail_are_named_by_id_and_counted(
    shell: Worker, names: Names, database: Database[dict[str, Any]]
) -> None:
    keys = [ObjectId() for _ in range(3)]
    good = [{"_id": f"g{number}", "n": number} for number in range(7)]
    bad = [{"_id": key, "n": 1, " blank ": SECRET} for key in keys]
    database[names.collection].insert_many([*good, *bad])
    (failure,) = plan(shell, code=1)["failures"]
    assert failure["reason"] == "unusable field name"
    assert failure["documents"] == {"number": 3, "exact": True}
    assert failure["examples"] == [{"$oid": str(key)} for key in keys]
    result = shell.run_command("plan")
    assert result.returncode == 1
    assert "would fail: 3 documents: unusable field name" in result.stdout
    assert "1 reason for which documents would fail" in result.stdout
    assert SECRET not in result.stdout


def test_a_declared_schema_is_judged_and_compared_with_the_live_collection(
    shell: Worker, stack: EmbeddedStack, names: Names, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database[names.collection].insert_many([{"_id": number, "price": (4, 4.5)[number % 2]} for number in range(10)])
    fields = [{"name": "price", "type": "int64", "optional": True}, {"name": "city", "type": "string"}]
    (tmp_path / "s.json").write_text(json.dumps({"fields": fields}))
    shell.environment["TYPESENSE_SCHEMA_FILE"] = str(tmp_path / "s.json")
    route = plan(shell, code=1)
    assert route["declared"]
    assert {each["reason"]: each["documents"]["number"] for each in route["failures"]} == {
        "no whole number": 5,
        "rejected by Typesense": 5,
    }
    with typesense_client(stack) as typesense:
        live = {"name": names.typesense_collection, "fields": [{"name": "price", "type": "float", "optional": True}]}
        typesense.post("/collections", json=live).raise_for_status()
        for document in ({"id": "1", "price": 4.5}, {"id": "gone"}, {"id": "gone too"}):
            path = f"/collections/{names.typesense_collection}/documents"
            typesense.post(path, json=document).raise_for_status()
    route = plan(shell)
    assert route["effect"] == {
        "kind": "reindex",
        "added": ["city string"],
        "changed": [
            "price: float in the live collection, int64 wanted",
            "city: documents may lack it; with `optional: true` it can be added in place",
            "`enable_nested_fields` is false in the live collection, true wanted",
        ],
    }
    assert [(each["kind"], each["route"]) for each in actions(shell)] == [("reindex", names.collection)]
    assert (route["added"], route["removed"]) == ({"number": 9, "exact": True}, {"number": 2, "exact": True})


def test_a_reference_has_to_be_safe(
    shell: Worker, names: Names, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database[names.collection].insert_one({"_id": 1, "seller": "a"})
    (tmp_path / "s.json").write_text(
        json.dumps({"fields": [{"name": "seller", "type": "string", "optional": True, "reference": "sellers.id"}]})
    )
    shell.environment["TYPESENSE_SCHEMA_FILE"] = str(tmp_path / "s.json")
    texts = [finding["fix"] for finding in plan(shell, code=1)["findings"]]
    assert any("`async_reference: true` and `cascade_delete: false`" in text for text in texts)


def test_one_document_is_shown_on_request(shell: Worker, names: Names, database: Database[dict[str, Any]]) -> None:
    key = ObjectId()
    database[names.collection].insert_many([{"_id": key, "listed": A_DATE, "text": SECRET}, {"_id": 2, "text": "b"}])
    document = plan(shell, "--document", str(key))["document"]
    assert document["before"] == {
        "_id": {"$oid": str(key)},
        "listed": {"$date": "2024-05-06T00:00:00Z"},
        "text": SECRET,
    }
    assert document["after"] == {"id": str(key), "listed": 1714953600, "text": SECRET}
    result = shell.run_command("plan", "--document", "nothing")
    assert result.returncode == 2
    assert "No document of the source has the id nothing." in result.stderr
    assert result.stdout == ""


def test_the_proposal_is_written_where_a_start_finds_it(
    shell: Worker, names: Names, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database[names.collection].insert_many([{"_id": 1, "price": 4}, {"_id": 2, "price": 4.5}])
    result = shell.run_command("plan", "--write")
    assert result.returncode == 0
    assert "Set TYPESENSE_SCHEMA_FILE=typesense-schema.json" in result.stderr
    written = shell.directory / "typesense-schema.json"
    assert json.loads(written.read_text())["fields"][0] == {"name": "price", "type": "float", "optional": True}
    assert shell.run_command("plan", "--write").returncode == 2
    shell.environment["TYPESENSE_SCHEMA_FILE"] = str(written)
    assert plan(shell)["declared"]


ROUTES = """\
# our shop
routes:
  listings:   # what people search
    source: {database}.listings
    target: {token}_listings
    filter: {{status: published}}
    lookups:
      - {{from: sellers, local: seller_id, as: seller, fields: [name]}}
      - {{children: reviews, foreign: listing_id, as: reviews, fields: [stars], summary: {{count: review_count}}}}
    exclude: [internal]

  sellers:
    source: {database}.sellers
    target: {token}_sellers
"""


@pytest.fixture
def routes(shell: Worker, names: Names, database: Database[dict[str, Any]]) -> Path:
    """A routes file with a filter and lookups, and documents for it: 100 published listings, 60 of one seller."""
    path = shell.directory / "tsync.yaml"
    path.write_text(ROUTES.format(database=names.database, token=names.token))
    database.sellers.insert_many([{"_id": f"s{number}", "name": f"seller {number}"} for number in range(3)])
    database.listings.insert_many(
        {
            "_id": number,
            "status": "published" if number < 100 else "draft",
            "seller_id": "s0" if number < 60 else "s1",
            "price": (4, 4.5)[number % 2],
            "internal": {"": SECRET},
        }
        for number in range(150)
    )
    database.reviews.insert_many([{"listing_id": number % 10, "stars": 5} for number in range(70)])
    return path


def test_a_view_is_planned_with_the_width_of_its_lookups(
    shell: Worker, names: Names, database: Database[dict[str, Any]], routes: Path
) -> None:
    route = plan(shell, "listings", code=1)
    assert route["documents"] == {"number": 100, "exact": True}
    assert route["sampled"] == 100
    fields = {field["name"]: field["type"] for field in route["proposal"]["fields"]}
    assert fields.items() >= {"price": "float", "seller": "object", "seller.name": "string"}.items()
    assert fields["review_count"] == "int64"
    assert not any(name.startswith("internal") for name in fields)
    assert route["lookups"] == [
        {"collection": "listings", "field": "seller_id", "most": 90, "exact": True},
        {"collection": "reviews", "field": "listing_id", "most": 7, "exact": True},
    ]
    lines = [line for finding in route["findings"] for line in finding["lines"]]
    result = shell.run_command("plan", "listings")
    assert "3 problems found" in result.stdout, "each is said once"
    assert [line.partition(").")[2].partition(")")[2].lstrip(".") or line for line in lines] == [
        'createIndex({"seller_id": 1})',
        'createIndex({"listing_id": 1})',
        lines[2],
    ]
    assert 'runCommand({collMod: "reviews", changeStreamPreAndPostImages: {enabled: true}})' in lines[2]
    database.listings.create_index("seller_id")
    database.reviews.create_index("listing_id")
    database.command("collMod", "reviews", changeStreamPreAndPostImages={"enabled": True})
    assert plan(shell, "listings")["findings"] == []


def test_the_proposal_is_written_into_the_routes_file_and_nothing_else_of_it_changes(
    shell: Worker, database: Database[dict[str, Any]], routes: Path
) -> None:
    before = routes.read_text().splitlines()
    database.listings.create_index("seller_id")
    database.reviews.create_index("listing_id")
    database.command("collMod", "reviews", changeStreamPreAndPostImages={"enabled": True})
    result = shell.run_command("plan", "--write")
    assert result.returncode == 0, result.stdout
    assert "declares the schema of listings, sellers now" in result.stderr
    after = routes.read_text().splitlines()
    assert [line for line in after if line in before] == before
    assert "        - {name: price, type: float, optional: true}" in after
    assert plan(shell, "listings")["declared"]
    assert shell.run_command("plan", "--write").returncode == 2


def test_a_document_that_the_filter_leaves_out_is_shown_with_the_reason(shell: Worker, routes: Path) -> None:
    document = plan(shell, "listings", "--document", "120", code=1)["document"]
    assert document["after"] is None
    assert "filter does not match" in document["failure"]
    assert plan(shell, "listings", "--document", "7", code=1)["document"]["after"]["seller"] == {"name": "seller 0"}


def test_an_unknown_route_is_a_usage_error(shell: Worker) -> None:
    result = shell.run_command("plan", "nonsense")
    assert result.returncode == 2
    assert "There is no route nonsense" in result.stderr


def test_a_large_collection_takes_a_bounded_time(
    shell: Worker, names: Names, database: Database[dict[str, Any]]
) -> None:
    """Ten times the documents that a sample may have."""
    generator = random.Random(1)
    for first in range(0, 100_000, 10_000):
        database[names.collection].insert_many(
            {"_id": number, "price": generator.choice([4, 4.5]), "title": f"title {number}", "tags": ["a", "b"]}
            for number in range(first, first + 10_000)
        )
    began_s = time.monotonic()
    route = plan(shell)
    assert time.monotonic() - began_s < 60  # 5 s, on a machine with nothing else to do
    assert 9_000 < route["sampled"] <= 11_000
    assert route["documents"]["number"] == 100_000
    assert [(each["field"], each["level"]) for each in route["conflicts"]] == [("price", "conflict")]


def test_the_page_describes_each_key(shell: Worker, names: Names, database: Database[dict[str, Any]]) -> None:
    database[names.collection].insert_one({"_id": 1})
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")
    section = page.partition("\n## plan\n")[2].partition("\n## ")[0].partition("`--json` prints")[2]
    first_cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == plan(shell).keys()
