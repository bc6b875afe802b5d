"""Synonyms and curations in both forms: of a collection, on the real 0.24.1, and in sets, as 30 has them.

The answers below were recorded: those of 0.24.1 from the real server, those of 30 from its sources (branch v30). The
tests compare them with what the servers answer, and read them with our own code.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, detecting_schema, remove, typesense_settings
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.artefact_equality import same_item
from tsync_stream.sink.artefacts import CURATIONS, SYNONYMS, ArtefactRefused, Belongings, has_sets
from tsync_stream.sink.carry_over import carry_over, differences, inherited
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.markers import METADATA, SYNONYM

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FORMS = ["0.24", "30"]
SYNONYM_GIVEN = {"root": "coat", "synonyms": ["jacket", "Parka"]}
CURATION_GIVEN = {"rule": {"query": "apple", "match": "exact"}, "includes": [{"id": "a/b", "position": 1}]}
SYNONYM_SHOWN = {"id": "co at/s", "root": "coat", "synonyms": ["jacket", "Parka"]}
CURATION_SHOWN = {
    "id": "pin",
    "rule": {"query": "apple", "match": "exact"},
    "includes": [{"id": "a/b", "position": 1}],
    "excludes": [],
    "filter_curated_hits": False,
    "remove_matched_tokens": False,
    "stop_processing": True,
}
NEW = "{name}.shop"
# Method, path, body; status, answer.
RECORDED: dict[str, list[tuple[str, str, Any, int, Any]]] = {
    "0.24": [
        ("GET", "/collections/{name}/synonyms", None, 200, {"synonyms": []}),
        ("PUT", "/collections/{name}/synonyms/co%20at%2Fs", SYNONYM_GIVEN, 200, SYNONYM_GIVEN | {"id": "co at/s"}),
        ("GET", "/collections/{name}/synonyms", None, 200, {"synonyms": [SYNONYM_SHOWN]}),
        ("PUT", "/collections/{name}/overrides/pin", CURATION_GIVEN, 200, CURATION_GIVEN | {"id": "pin"}),
        ("GET", "/collections/{name}/overrides", None, 200, {"overrides": [CURATION_SHOWN]}),
        ("PUT", "/collections/{name}/overrides/x", {}, 400, {"message": "Missing `rule` definition."}),
        ("DELETE", "/collections/{name}/overrides/pin", None, 200, {"id": "pin"}),
        ("DELETE", "/collections/{name}/overrides/pin", None, 404, {"message": "Could not find that `id`."}),
        ("GET", "/collections/{name}_gone/synonyms", None, 404, {"message": "Not Found"}),
        ("GET", "/synonym_sets", None, 404, {"message": "Not Found"}),
        ("GET", "/curation_sets/x", None, 404, {"message": "Not Found"}),
    ],
    "30": [
        ("GET", f"/synonym_sets/{NEW}", None, 404, {"message": "Synonym index not found"}),
        ("PUT", f"/synonym_sets/{NEW}", {"items": []}, 200, {"items": [], "name": NEW}),
        ("PUT", f"/synonym_sets/{NEW}/items/co%20at%2Fs", SYNONYM_GIVEN, 200, SYNONYM_GIVEN | {"id": "co at/s"}),
        ("GET", f"/synonym_sets/{NEW}", None, 200, {"items": [SYNONYM_SHOWN], "name": NEW}),
        ("PUT", f"/curation_sets/{NEW}", {"items": []}, 200, {"items": [], "name": NEW}),
        ("PUT", f"/curation_sets/{NEW}/items/pin", CURATION_GIVEN, 200, CURATION_GIVEN | {"id": "pin"}),
        ("GET", f"/curation_sets/{NEW}", None, 200, {"items": [CURATION_SHOWN], "name": NEW}),
        ("PUT", f"/curation_sets/{NEW}/items/x", {}, 400, {"message": "Missing `rule` definition."}),
        ("DELETE", f"/curation_sets/{NEW}/items/pin", None, 200, {"id": "pin"}),
        ("DELETE", f"/curation_sets/{NEW}/items/pin", None, 404, {"message": "Could not find that `id`."}),
        ("PATCH", "/collections/{name}", {"synonym_sets": [NEW]}, 200, {"synonym_sets": [NEW]}),
        ("PATCH", "/collections/{name}", {"synonym_sets": ["x"]}, 404, {"message": "Synonym set `x` not found."}),
        ("DELETE", f"/synonym_sets/{NEW}", None, 200, {"name": NEW}),
        ("GET", "/collections/{name}/synonyms", None, 404, {"message": "Not Found"}),
        ("GET", "/collections/{name}/overrides/x", None, 404, {"message": "Not Found"}),
    ],
}


@pytest.fixture
def served(stack: EmbeddedStack) -> Iterator[Names]:
    """Names whose collections are removed after the test."""
    chosen = Names.new()
    yield chosen
    remove(stack, chosen)


def filled_in(value: Any, name: str) -> Any:
    """A recorded value with the collection's name."""
    if isinstance(value, dict):
        return {key: filled_in(each, name) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_in(each, name) for each in value]
    return value.replace("{name}", name) if isinstance(value, str) else value


@pytest.mark.parametrize("form", RECORDED)
def test_the_recorded_answers_are_those_of_the_server(stack: EmbeddedStack, served: Names, form: str) -> None:
    name = served.typesense_collection
    with connected(stack, form) as (client, _):
        client.post("/collections", json=detecting_schema(name)).raise_for_status()
        for method, path, body, status, answer in RECORDED[form]:
            got = client.request(method, filled_in(path, name), json=filled_in(body, name))
            assert (path, got.status_code, got.json()) == (path, status, filled_in(answer, name))


@contextmanager
def connected(stack: EmbeddedStack, release: str) -> Iterator[tuple[httpx.Client, int]]:
    """A client of a release: of the real server itself, or of what imitates another one. And the port."""
    key = {"X-TYPESENSE-API-KEY": stack.typesense.api_key}
    if release == "0.24":
        with httpx.Client(base_url=f"http://127.0.0.1:{stack.typesense.port}", headers=key) as client:
            yield client, stack.typesense.port
        return
    with (
        ReleaseServer(stack.typesense.port, stack.typesense.api_key, release) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=key) as client,
    ):
        yield client, server.port


class Two:
    """Two collections of a release, and what reads and changes what belongs to them."""

    def __init__(
        self, client: httpx.Client, target: TypesenseTarget, names: Names, *, with_sets: bool, has_metadata: bool
    ) -> None:
        self.has_metadata = has_metadata
        self.client = client
        self.target = target
        self.old, self.new = f"{names.token}_1", f"{names.token}_2"
        self.belongings = Belongings(target, with_sets=with_sets)

    def create(self, name: str, **more: Any) -> None:
        self.client.post("/collections", json=detecting_schema(name) | more).raise_for_status()

    async def live(self, name: str) -> Any:
        found = await self.target.collection(name)
        assert found is not None
        return found

    def holder(self, name: str) -> str:
        """Where items of a collection are: itself, or a set of its own."""
        return f"{name}.set" if self.belongings.with_sets else name

    async def give(self, kind: Any, collection: str, item_id: str, item: dict[str, Any]) -> None:
        """Give a collection an item."""
        if self.belongings.with_sets:
            await self.belongings.make_set(kind, self.holder(collection))
            await self.belongings.refer(collection, {kind: [self.holder(collection)]})
        await self.belongings.put(kind, self.holder(collection), item_id, item)


@pytest.fixture(params=FORMS)
async def two(request: pytest.FixtureRequest, stack: EmbeddedStack, served: Names) -> AsyncIterator[Two]:
    """Two empty collections, in each form."""
    with connected(stack, request.param) as (client, port):
        target = TypesenseTarget(typesense_settings(port, stack.typesense.api_key))
        try:
            made = Two(client, target, served, with_sets=await has_sets(target), has_metadata=request.param != "0.24")
            assert made.belongings.with_sets is (request.param == "30")
            made.create(made.old)
            made.create(made.new)
            yield made
        finally:
            await target.close()


async def test_items_are_made_replaced_and_removed_one_by_one(two: Two) -> None:
    belongings, holder = two.belongings, two.holder(two.old)
    await two.give(SYNONYMS, two.old, "co at/s", SYNONYM_GIVEN)
    await two.give(CURATIONS, two.old, "pin", CURATION_GIVEN)
    assert await belongings.items(SYNONYMS, holder) == {"co at/s": SYNONYM_SHOWN}
    assert await belongings.items(CURATIONS, holder) == {"pin": CURATION_SHOWN}
    assert same_item(CURATION_GIVEN, CURATION_SHOWN)
    assert same_item(SYNONYM_GIVEN, SYNONYM_SHOWN)
    await belongings.put(SYNONYMS, holder, "co at/s", {"synonyms": ["one", "two"]})
    items = await belongings.items(SYNONYMS, holder)
    assert items is not None
    assert same_item(items["co at/s"], {"synonyms": ["one", "two"]})
    for _ in range(2):
        await belongings.remove(CURATIONS, holder, "pin")
    assert await belongings.items(CURATIONS, holder) == {}
    assert await belongings.items(CURATIONS, f"{holder}.gone") is None
    with pytest.raises(ArtefactRefused, match="Missing `rule` definition"):
        await belongings.put(CURATIONS, holder, "x", {"includes": []})


async def test_everything_is_carried_over_and_again_only_what_changed(two: Two) -> None:
    await two.give(SYNONYMS, two.old, "..", SYNONYM_GIVEN)
    await two.give(SYNONYMS, two.old, "coats", SYNONYM_GIVEN)
    await two.give(CURATIONS, two.old, "pin", CURATION_GIVEN)
    lacking = await differences(two.target, two.old, two.new)
    assert len(lacking) == (2 if two.belongings.with_sets else 3)
    assert any("curation" in each for each in lacking)
    assert any("synonym" in each for each in lacking)

    carried = await carry_over(two.target, two.old, two.new)
    assert await differences(two.target, two.old, two.new) == []
    assert await carry_over(two.target, two.old, two.new, carried) == carried
    if two.belongings.with_sets:
        assert (await two.live(two.new))["synonym_sets"] == [f"{two.old}.set"]
        return
    # What the new one has of its own stays; what was brought and is gone from the old one goes, too.
    await two.belongings.put(SYNONYMS, two.new, "its own", SYNONYM_GIVEN)
    await two.belongings.remove(SYNONYMS, two.old, "coats")
    await two.belongings.put(CURATIONS, two.old, "pin", CURATION_GIVEN | {"stop_processing": False})
    assert await differences(two.target, two.old, two.new) == [
        f"curation `pin` differs between {two.old} and {two.new}"
    ]
    again = await carry_over(two.target, two.old, two.new, carried)
    assert await differences(two.target, two.old, two.new) == []
    items = await two.belongings.items(SYNONYMS, two.new)
    assert items is not None
    assert sorted(items) == ["..", "its own"]
    assert again["synonyms"] == [".."]


async def test_references_of_the_new_one_stay_beside_those_that_are_carried(two: Two) -> None:
    if not two.belongings.with_sets:
        return  # there are none
    for name in (f"{two.old}.a", f"{two.old}.b", f"{two.new}.own"):
        await two.belongings.make_set(SYNONYMS, name)
    await two.belongings.refer(two.old, {SYNONYMS: [f"{two.old}.a", f"{two.old}.b"]})
    await two.belongings.refer(two.new, {SYNONYMS: [f"{two.new}.own"]})
    carried = await carry_over(two.target, two.old, two.new)
    assert (await two.live(two.new))["synonym_sets"] == [f"{two.new}.own", f"{two.old}.a", f"{two.old}.b"]
    await two.belongings.refer(two.old, {SYNONYMS: [f"{two.old}.b"]})
    await carry_over(two.target, two.old, two.new, carried)
    assert (await two.live(two.new))["synonym_sets"] == [f"{two.new}.own", f"{two.old}.b"]


@pytest.mark.parametrize("two", ["0.24", "29"], indirect=True)
async def test_our_own_mark_is_not_carried(two: Two) -> None:
    if two.has_metadata:
        theirs = {METADATA: "nonce", "owner": "shop"}
        two.client.patch(f"/collections/{two.old}", json={"metadata": theirs}).raise_for_status()
        two.client.patch(f"/collections/{two.new}", json={"metadata": {METADATA: "its own"}}).raise_for_status()
        assert await differences(two.target, two.old, two.new) == [f"metadata `owner` is missing in {two.new}"]
        for _ in range(2):
            await carry_over(two.target, two.old, two.new)
            assert (await two.live(two.new))["metadata"] == {METADATA: "its own", "owner": "shop"}
    else:
        two.client.put(f"/collections/{two.old}/synonyms/{SYNONYM}", json={"synonyms": ["a", "b"]}).raise_for_status()
        await carry_over(two.target, two.old, two.new)
        assert two.client.get(f"/collections/{two.new}/synonyms/{SYNONYM}").status_code == 404
        assert await two.belongings.items(SYNONYMS, two.old) == {}


async def test_what_only_a_creation_sets_is_inherited_by_the_schema(two: Two) -> None:
    name = f"{two.old}_source"
    fields = [{"name": "price", "type": "float"}, {"name": ".*", "type": "auto"}]
    two.create(name, fields=fields, token_separators=["-"], symbols_to_index=["+"], default_sorting_field="price")
    live = await two.live(name)
    schema = inherited({"name": f"{name}_2", "fields": fields, "symbols_to_index": []}, live)
    two.client.post("/collections", json=schema).raise_for_status()
    made = await two.live(f"{name}_2")
    assert (made["token_separators"], made["symbols_to_index"]) == (["-"], [])
    assert made["default_sorting_field"] == "price"


async def test_a_key_without_the_right_is_told_which_it_needs(two: Two, stack: EmbeddedStack) -> None:
    if two.belongings.with_sets:
        return  # the imitation does not know rights
    body = {"description": "t", "actions": ["collections:get", "debug:list", "synonyms:*"], "collections": [".*"]}
    key = two.client.post("/keys", json=body).raise_for_status().json()
    limited = TypesenseTarget(typesense_settings(two.client.base_url.port or 0, key["value"]))
    try:
        with pytest.raises(ConfigurationError, match=r"TYPESENSE_API_KEY.*`overrides:list`"):
            await carry_over(limited, two.old, two.new)
    finally:
        await limited.close()
        two.client.delete(f"/keys/{key['id']}").raise_for_status()
