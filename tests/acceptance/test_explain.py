"""`explain` says of one document what is true on both sides, why, and what happens next."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.acceptance.state import State
from tests.support.proxy import Proxy
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker, free_port
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.explanation import Explanation
from tsync_stream.observe.explanation_reader import ExplanationReader
from tsync_stream.routes.declared import declared_routes, load_all

SECRET = "a secret text"
FILE = """routes:
  shown:
    source: SOURCE
    target: TARGET
    filter: {status: published, $and: [{price: {$gt: 1}}, {title: {$exists: true}}]}
    pipeline:
      - {$set: {total: {$multiply: [$price, 2]}}}
      - {$match: {total: {$lt: 1000}}}
    schema:
      fields:
        - {name: price, type: int32}
        - {name: ".*", type: auto}
  other: {source: SOURCE, target: OTHER}
"""
GOOD = {"status": "published", "price": 5, "title": SECRET, "seller": {"name": "x", "stars": 4}}

Explain = Callable[[str], Explanation]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the Typesense client's own deprecated parts
    pytest.mark.reads("one database"),
]


@pytest.fixture
def worker(worker: Worker, names: Names, source: Source, tmp_path: Path) -> Worker:
    """A worker with a route that hides some documents, and one that shows all."""
    file = tmp_path / "routes.yaml"
    text = FILE.replace("SOURCE", f"{names.database}.{names.collection}")
    file.write_text(text.replace("TARGET", f"{names.token}_shown").replace("OTHER", f"{names.token}_other"))
    worker.environment["ROUTES_FILE"] = str(file)
    return worker


@pytest.fixture
def explain(worker: Worker) -> Explain:
    """Explains a document of the route `shown` in this process, which is faster than a command."""

    def explained(document_id: str, **changed: str) -> Explanation:
        async def look() -> Explanation:
            settings = load_all(Path("/nowhere"), {**worker.environment, **changed})
            async with ExplanationReader(settings, declared_routes(settings)["shown"]) as reader:
                return await reader.explain(document_id)

        return asyncio.run(look())

    return explained


@pytest.fixture
def typesense(stack: EmbeddedStack, names: Names) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Puts a document into the collection of the route `shown`, by hand."""
    with typesense_client(stack) as client:

        def put(document: dict[str, Any]) -> None:
            path = f"/collections/{names.token}_shown/documents?action=upsert"
            client.post(path, json=document).raise_for_status()

        yield put


def started(worker: Worker, state: State) -> None:
    worker.start()
    state.wait_until_reconciled()


def test_a_document_is_explained_from_both_sides(
    worker: Worker, source: Source, state: State, explain: Explain, typesense: Callable[[dict[str, Any]], None]
) -> None:
    source.insert_many(
        [
            {"_id": "good", **GOOD},
            {"_id": "draft", **GOOD, "status": "draft", "price": 0},
            {"_id": "dear", **GOOD, "price": 900},
            {"_id": "refused", **GOOD, "price": 1.5},
            {"_id": 12, **GOOD},
            {"_id": "12", **GOOD},
        ]
    )
    started(worker, state)
    state.wait_for_letters(3)

    good = explain("good")
    assert (good.verdict, good.expected, good.next.needs_person) == ("equal", "shown", False)
    assert {each.name: (each.mapped_type, each.outcome) for each in good.fields}["seller.stars"] == ("integer", "equal")
    assert good.owner.state == "live"
    assert good.waiting is not None
    assert (good.waiting.entries, good.waiting.complete, good.unseen) == ([], True, [])

    hidden = explain("draft")
    assert (hidden.verdict, hidden.expected, hidden.shown) == ("equal", "absent", False)
    assert hidden.keys is not None
    assert [(key.hidden_by, role) for key, role in hidden.keys] == [
        (["filter.status", "filter.$and.0.price"], "hidden"),
    ]
    dear = explain("dear")
    assert dear.keys is not None
    assert [key.hidden_by for key, _ in dear.keys] == [["pipeline.1.$match"]]

    refused = explain("refused")
    assert (refused.verdict, refused.expected, refused.shown) == ("differs", "refused", False)
    assert [(letter.status, letter.route) for letter in refused.letters] == [("open", "shown")]
    assert refused.next.text.startswith("It stays refused.")

    twins = explain("12")
    assert twins.keys is not None
    assert [(key.key, role) for key, role in twins.keys] == [(12, "owner"), ("12", "id collision")]
    assert [letter.key for letter in twins.letters] == ["12"]

    nowhere = explain("nowhere")
    assert (nowhere.verdict, nowhere.expected, nowhere.keys) == ("equal", "absent", [])

    typesense({"id": "good", **GOOD, "price": 6, "seller": {"name": "x"}, "total": 10, "more": True})
    differing = explain("good")
    assert differing.verdict == "differs"
    assert {each.name: each.outcome for each in differing.differing} == {
        "price": "different",
        "seller.stars": "missing",
        "more": "extra",
    }
    assert "verify --route shown --repair" in differing.next.text
    typesense({"id": "nowhere", **GOOD})
    assert (explain("nowhere").verdict, explain("nowhere").shown) == ("differs", True)


def test_the_command_shows_values_on_request_alone_and_its_exit_code_tells(
    worker: Worker, source: Source, state: State, typesense: Callable[[dict[str, Any]], None]
) -> None:
    source.insert_one({"_id": "good", **GOOD})
    started(worker, state)
    found = worker.run_command("explain", "shown", "good")
    assert (found.returncode, "equal: Typesense shows what it should" in found.stdout) == (0, True), found.stdout
    assert SECRET not in found.stdout
    with_values = worker.run_command("explain", "--show-values", "shown", "good")
    assert SECRET in with_values.stdout
    as_json = worker.run_command("explain", "--json", "shown", "good")
    assert SECRET not in as_json.stdout
    told = json.loads(as_json.stdout)
    assert (told["verdict"], told["keys"]) == ("equal", [{"key": "good", "role": "owner", "hidden_by": []}])

    typesense({"id": "good", **GOOD, "total": 10, "status": "sold"})
    assert worker.run_command("explain", "shown", "good").returncode == 1
    several = worker.run_command("explain", "good")
    assert (several.returncode, "There are several routes" in several.stderr) == (2, True)
    unknown = worker.run_command("explain", "showm", "good")
    assert (unknown.returncode, "Did you mean shown?" in unknown.stderr) == (2, True)


def test_entries_that_wait_and_servers_that_are_away_are_said(
    stack: EmbeddedStack, worker: Worker, source: Source, state: State, explain: Callable[..., Explanation]
) -> None:
    direct = {"TYPESENSE_PORT": worker.environment["TYPESENSE_PORT"]}
    with Proxy(stack.typesense.port) as proxy:
        worker.environment["TYPESENSE_PORT"] = str(proxy.port)
        source.insert_one({"_id": "good", **GOOD})
        started(worker, state)
        proxy.cut()
        source.update_one({"_id": "good"}, {"$set": {"price": 7}})

        def waits() -> bool:
            waiting = explain("good", **direct).waiting
            return waiting is not None and len(waiting.entries) == 1

        wait_for(waits, 20.0, "no entry of the document waits")
        found = explain("good", **direct)
        assert found.verdict == "differs"
        assert found.next.text.startswith("An entry of it waits in partition")

        # Seen with the worker's own settings, Typesense is away.
        away = explain("good")
        assert (away.verdict, away.expected, away.shown) == ("unknown", "shown", None)
        assert any(text.startswith("Typesense: ") for text in away.unseen), away.unseen
        proxy.restore()

    nothing = str(free_port())
    no_queue = explain("good", **direct, PRIMARY_REDIS_PORT=nothing)
    assert no_queue.waiting is None
    assert any("primary Redis" in text for text in no_queue.unseen), no_queue.unseen
    no_mongo = explain("good", **direct, MONGODB_URI=f"mongodb://127.0.0.1:{nothing}/?replicaSet=rs0")
    assert (no_mongo.verdict, no_mongo.keys, no_mongo.shown) == ("unknown", None, True)
    assert "while MongoDB does not answer" in no_mongo.next.text
    worker.stop()
    assert "No replica is live" in explain("good", **direct).next.text
