"""`apply` on real servers: what `plan` shows is done after asking, once, and nothing else."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson.timestamp import Timestamp

from tests.support.forked import ForkedWorker
from tests.support.rights import recipe
from tests.support.stack import Names, typesense_client
from tsync_stream.cli.apply import CHANGED, DECLINED, NO_TERMINAL, run_apply
from tsync_stream.cli.applying import servers
from tsync_stream.cluster.stored_views import store_views
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.reindex.filing import Filing
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_from_bson
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.pipeline import Pipeline, PositionStore

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TITLE = {"name": "title", "type": "string", "optional": True}
CITY = {"name": "city", "type": "string", "optional": True, "facet": True}
PRICE = {"name": "price", "type": "float", "optional": True}


@dataclass
class Shop:
    """Two routes with declared schemas, their live collections, and `apply` in this process."""

    typesense: httpx.Client
    names: Names
    file: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def declare(self, route: str, *fields: dict[str, Any], **parts: Any) -> None:
        self.routes[route] = {
            "source": f"{self.names.database}.{route}",
            "target": f"{self.names.token}_{route}",
            "schema": {"fields": fields},
            **parts,
        }
        self.file.write_text(json.dumps({"routes": self.routes}))

    async def goes_on_as_declared(self, route: str) -> None:
        """Store the route's declaration, as the first worker does."""
        async with servers(load_all()) as (_, state):
            await store_views(state, declared_routes(load_all()), {}, None)

    async def written(self, route: str) -> Declaration:
        """What the route goes on by."""
        async with servers(load_all()) as (_, state):
            stored = await GenerationStore(state).load(route)
        assert stored is not None
        assert stored.shown.declaration is not None
        return declaration_from_bson(stored.shown.declaration)

    def make(self, route: str, *fields: dict[str, Any]) -> None:
        body = {"name": f"{self.names.token}_{route}", "enable_nested_fields": True, "fields": fields}
        self.typesense.post("/collections", json=body).raise_for_status()

    def add(self, route: str, added: dict[str, Any]) -> None:
        """Somebody else adds a field."""
        self.typesense.patch(f"/collections/{self.names.token}_{route}", json={"fields": [added]}).raise_for_status()

    def put(self, route: str, document: dict[str, Any]) -> None:
        path = f"/collections/{self.names.token}_{route}/documents"
        self.typesense.post(path, json=document).raise_for_status()

    def live(self, route: str) -> list[str]:
        found = self.typesense.get(f"/collections/{self.names.token}_{route}").raise_for_status().json()
        return [each["name"] for each in found["fields"]]

    def answers(self, answer: Callable[[], bool]) -> None:
        """There is a terminal, and a person who answers the question by this."""
        self.monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        self.monkeypatch.setattr("click.confirm", lambda _question, err: answer())

    async def apply(self, route: str | None = None, *, yes: bool = True) -> tuple[int, dict[str, Any], str]:
        """The exit code, what `--json` prints, and what is said besides."""
        code = await run_apply(load_all(), route=route, yes=yes, as_json=True)
        printed, said = self.capsys.readouterr()
        return code, json.loads(printed) if printed else {}, said


@pytest.fixture
def shop(
    stack: EmbeddedStack,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shop]:
    for name, value in stack.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE_DATABASE", names.state_database)
    monkeypatch.chdir(tmp_path)
    with typesense_client(stack) as typesense:
        yield Shop(typesense, names, tmp_path / "tsync.yaml", monkeypatch, capsys)


async def test_fields_are_added_once(shop: Shop) -> None:
    shop.declare("listings", TITLE, CITY, PRICE)
    shop.declare("sellers", TITLE)
    shop.make("listings", TITLE)
    shop.make("sellers", TITLE)
    shop.put("listings", {"id": "1", "title": "a", "city": "Paris"})
    code, done, _ = await shop.apply()
    assert (code, done["ok"]) == (0, True)
    (action,) = done["actions"]
    assert (action["kind"], action["route"], action["done"]) == ("add fields", "listings", True)
    assert shop.live("listings") == ["title", "city", "price"]
    path = f"/collections/{shop.names.token}_listings/documents/search"
    found = shop.typesense.get(path, params={"q": "*", "filter_by": "city:=Paris"}).json()
    assert found["found"] == 1
    code, done, _ = await shop.apply()
    assert (code, done) == (0, {"ok": True, "actions": []})


async def test_one_route_alone_can_be_named(shop: Shop) -> None:
    for route in ("listings", "sellers"):
        shop.declare(route, TITLE, CITY)
        shop.make(route, TITLE)
    code, _, _ = await shop.apply("sellers")
    assert code == 0
    assert (shop.live("listings"), shop.live("sellers")) == (["title"], ["title", "city"])


async def test_a_route_whose_values_do_not_fit_stays_as_it_was_and_the_others_go_on(shop: Shop) -> None:
    shop.declare("listings", TITLE, CITY, PRICE)
    shop.declare("sellers", TITLE, CITY)
    shop.make("listings", TITLE)
    shop.make("sellers", TITLE)
    shop.put("listings", {"id": "1", "title": "a", "price": "much"})
    code, done, _ = await shop.apply()
    assert (code, done["ok"]) == (1, False)
    refused, added = done["actions"]
    assert (refused["done"], added["done"]) == (False, True)
    assert "Existing data for field `price` cannot be coerced into a float." in refused["outcome"]
    assert "`reindex listings` builds a new one" in refused["outcome"]
    assert "much" not in json.dumps(done)
    assert (shop.live("listings"), shop.live("sellers")) == (["title"], ["title", "city"])


async def test_a_collection_that_is_no_alias_is_left_alone_before_anything_of_its_route_is_done(shop: Shop) -> None:
    shop.declare("listings", {**TITLE, "facet": True}, synonyms={"coats": ["coat", "jacket"]})
    shop.declare("sellers", TITLE, CITY)
    shop.make("listings", TITLE)
    shop.make("sellers", TITLE)
    code, done, _ = await shop.apply()
    refused, added, waits = done["actions"]
    assert (code, refused["done"], added["done"], waits["done"]) == (1, False, True, False)
    assert refused["kind"] == "reindex"
    for said in (refused["sentence"], refused["outcome"]):
        assert "`tsync reindex listings --accept-gap`" in said
    assert (waits["kind"], waits["route"], waits["outcome"]) == ("artefacts", "listings", refused["outcome"])
    found = shop.typesense.get(f"/collections/{shop.names.token}_listings/synonyms").raise_for_status().json()
    assert found["synonyms"] == []

    def nobody_is_asked() -> bool:
        raise AssertionError("there is nothing to agree to")

    shop.answers(nobody_is_asked)
    code, done, said = await shop.apply("listings", yes=False)
    assert (code, [each["done"] for each in done["actions"]]) == (1, [False, False])
    assert "--accept-gap" in said
    async with servers(load_all()) as (_, state):
        assert await GenerationStore(state).all() == {}


async def test_a_preset_that_names_the_collection_itself_is_named_with_the_reindex(shop: Shop) -> None:
    shop.declare("listings", {**TITLE, "facet": True})
    shop.make("listings_1", TITLE)
    own, alias = f"{shop.names.token}_listings_1", f"{shop.names.token}_listings"
    shop.typesense.put(f"/aliases/{alias}", json={"collection_name": own}).raise_for_status()
    presets = {f"{shop.names.token}_own": own, f"{shop.names.token}_alias": alias}
    for name, collection in presets.items():
        shop.typesense.put(f"/presets/{name}", json={"value": {"collection": collection}}).raise_for_status()
    shop.answers(lambda: False)
    _, done, said = await shop.apply(yes=False)
    for name in presets:
        shop.typesense.delete(f"/presets/{name}")
    assert [each["kind"] for each in done["actions"]] == ["reindex"]
    told = f"do not follow a reindex: {shop.names.token}_own ({own}). Let them name {alias}"
    assert told in " ".join(said.split())


async def test_a_person_is_asked_and_may_decline(shop: Shop) -> None:
    shop.declare("listings", TITLE, CITY)
    shop.make("listings", TITLE)
    shop.answers(lambda: False)
    code, done, said = await shop.apply(yes=False)
    assert (code, done["actions"][0]["outcome"]) == (1, DECLINED)
    assert "1. Add city (string) to the collection" in said
    assert shop.live("listings") == ["title"]
    shop.answers(lambda: True)
    code, done, _ = await shop.apply(yes=False)
    assert (code, done["ok"]) == (0, True)
    assert shop.live("listings") == ["title", "city"]


async def test_nothing_is_done_if_the_servers_or_the_file_have_changed_since(shop: Shop) -> None:
    shop.declare("listings", TITLE, CITY)
    shop.make("listings", TITLE)

    def somebody_adds_a_field() -> bool:
        shop.add("listings", CITY)
        return True

    def somebody_declares_another_field() -> bool:
        shop.declare("listings", TITLE, CITY, PRICE)
        return True

    shop.answers(somebody_declares_another_field)
    code, done, _ = await shop.apply(yes=False)
    assert (code, done["actions"][0]["outcome"]) == (1, CHANGED)
    assert shop.live("listings") == ["title"]
    shop.answers(somebody_adds_a_field)
    code, done, _ = await shop.apply(yes=False)
    assert (code, done["actions"][0]["outcome"]) == (1, CHANGED)
    assert shop.live("listings") == ["title", "city"]


async def test_a_route_that_waits_for_a_reindex_takes_up_fields_without_one(shop: Shop) -> None:
    shop.declare("listings", TITLE, on_change="reindex", filter={"a": 1})
    shop.make("listings", TITLE)
    await shop.goes_on_as_declared("listings")
    assert (await shop.apply())[1]["actions"] == []
    shop.declare("listings", TITLE, CITY, on_change="reindex", filter={"a": 1})
    code, done, _ = await shop.apply()
    assert (code, [each["kind"] for each in done["actions"]]) == (0, ["add fields", "take up"])
    assert (await shop.written("listings")).schema == {"fields": [TITLE, CITY]}
    assert (await shop.apply())[1]["actions"] == []
    shop.declare("listings", CITY, TITLE, on_change="reindex", filter={"a": 1})  # in other words
    code, done, _ = await shop.apply()
    assert (code, [each["kind"] for each in done["actions"]]) == (0, ["take up"])
    assert (await shop.apply())[1]["actions"] == []


async def test_a_reindex_does_not_bring_back_what_the_file_has_overtaken(shop: Shop) -> None:
    """While a route has one collection, the file decides whether a stored declaration counts; a reindex makes two."""
    shop.make("listings_1", TITLE)
    alias = {"collection_name": f"{shop.names.token}_listings_1"}
    shop.typesense.put(f"/aliases/{shop.names.token}_listings", json=alias).raise_for_status()
    shop.declare("listings", TITLE, on_change="reindex", filter={"a": 1})
    await shop.goes_on_as_declared("listings")
    for on_change, goes_on in (("reindex", True), ("reconcile", False)):
        shop.declare("listings", TITLE, on_change=on_change, filter={"a": 2})
        async with servers(load_all()) as (target, state):
            declared = declared_routes(load_all())["listings"]
            prepared = await Filing(GenerationStore(state), target).prepared(declared, accept_gap=False)
        assert prepared.shown.collection == alias["collection_name"]
        assert (prepared.shown.declaration is not None) == goes_on


async def test_the_key_of_the_security_page_adds_fields_and_files_a_reindex(shop: Shop) -> None:
    alias = f"{shop.names.token}_listings"
    body = json.loads(recipe("Typesense", "json", 1).replace("listings", alias)) | {"description": alias}
    key = shop.typesense.post("/keys", json=body).raise_for_status().json()
    shop.monkeypatch.setenv("TYPESENSE_API_KEY", key["value"])
    shop.make("listings_1", TITLE)
    shop.typesense.put(f"/aliases/{alias}", json={"collection_name": f"{alias}_1"}).raise_for_status()
    shop.declare("listings", TITLE, CITY)
    async with servers(load_all()) as (_, state):
        position = Position({"_data": "82"}, Timestamp(1, 1))
        pipeline = Pipeline(EpochRef("0a1b2c3d", 1, "n", "primary"), 1, 8, position, position)
        await PositionStore(state).create(pipeline)
    code, done, _ = await shop.apply()
    assert (code, [each["kind"] for each in done["actions"]]) == (0, ["add fields"]), done
    assert shop.live("listings") == ["title", "city"]
    shop.declare("listings", {**TITLE, "facet": True}, CITY)
    code, done, _ = await shop.apply()
    assert (code, [each["kind"] for each in done["actions"]]) == (0, ["reindex"]), done
    async with servers(load_all()) as (_, state):
        stored = await GenerationStore(state).load("listings")
    assert stored is not None
    assert [each.collection for each in stored.generations] == [f"{alias}_1", f"{alias}_2"]
    shop.typesense.delete(f"/keys/{key['id']}").raise_for_status()


def test_without_a_terminal_it_needs_to_be_told(shop: Shop, stack: EmbeddedStack, names: Names, tmp_path: Path) -> None:
    shop.declare("listings", TITLE, CITY)
    shop.make("listings", TITLE)
    shell = ForkedWorker(stack, names, tmp_path)
    result = shell.run_command("apply")
    assert (result.returncode, result.stderr.strip()) == (2, NO_TERMINAL)
    assert "1. Add city (string) to the collection" in result.stdout
    assert shop.live("listings") == ["title"]
    result = shell.run_command("apply", "--yes")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "all 1 done"
    assert shop.live("listings") == ["title", "city"]
