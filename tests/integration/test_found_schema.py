"""The schema that is found in a sample takes every document of it, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Client, Collection, fail
from tests.support.planted import A_DATE, CONFLICTS, PARIS, planted
from tests.support.stack import Names, typesense_client, typesense_settings
from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.model import Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import ComesLater, found_schema, prepare_collection
from tsync_stream.routes.projector import Projector
from tsync_stream.routes.proposal import Proposal
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.mapping_plan import MappingOptions, Plan
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.sample import sample_keys, size_of

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass
class Shop:
    """A source, and a target that has no collection yet."""

    client: Client
    source: Collection
    declaration: Declaration
    target: TypesenseTarget
    typesense: httpx.Client

    async def found(self) -> Proposal | None:
        """The proposal for the source as it is now."""
        return await found_schema(
            self.client, lambda: DocumentReader(self.client, 10.0), MappingOptions(), self.declaration
        )

    async def prepared(self, like: str | None = None, after: Sequence[str] = ()) -> Mapping[str, Any]:
        """The collection, created if it is missing, in the place of `like`, and once those in `after` exist."""

        async def find(_: Declaration) -> Proposal | None:
            return await self.found()

        return await prepare_collection(self.target, self.declaration, None, find, like, after)

    async def load(self) -> list[str]:
        """Import every document by the live schema; returns why some are refused."""
        name = self.declaration.route.target
        live = await self.target.collection(name)
        assert live is not None
        projector, lines, refused = Projector(Plan(MappingOptions(), live)), [], []
        async for document in self.source.find():
            try:
                lines.append(projector.line(document, str(document["_id"])))
            except DocumentRejected as rejected:
                refused.append(str(rejected))
        return refused + [each.error for each in await self.target.import_lines(name, lines)]

    def search(self, **asked: str) -> list[str]:
        """The ids that a search finds, in order."""
        path = f"/collections/{self.declaration.route.target}/documents/search"
        answer = self.typesense.get(path, params={"q": "*", "per_page": "100", **asked}).raise_for_status().json()
        return [hit["document"]["id"] for hit in answer["hits"]]


@pytest.fixture
async def shop(
    stack: EmbeddedStack, names: Names, client: Client, route: Route, source: Collection
) -> AsyncIterator[Shop]:
    declaration = Declaration(Route(route.name, route.database, route.collection, names.typesense_collection))
    target = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key))
    with typesense_client(stack) as typesense:
        yield Shop(client, source, declaration, target, typesense)
    await target.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_planted_conflict_is_named_and_every_document_is_accepted(shop: Shop, seed: int) -> None:
    await shop.source.insert_many(planted(seed))
    proposal = await shop.found()
    assert proposal is not None
    assert {conflict.path for conflict in proposal.conflicts} == CONFLICTS
    assert not any(word in str(proposal.conflicts) for word in ("five", "65a1b2c3d4e5f60718293a4b", "2.35"))
    live = await shop.prepared()
    assert {field["name"] for field in live["fields"]} == {field["name"] for field in proposal.schema["fields"]}
    assert await shop.load() == []


async def test_a_collection_without_a_declared_schema_sorts_and_finds_places(shop: Shop) -> None:
    documents = [
        {
            "_id": number,
            "title": f"flat {'cab'[number]}",
            "price": (4, 4.5, 3)[number],
            "listed": A_DATE - timedelta(days=number),
            "position": {"type": "Point", "coordinates": [PARIS[0] + number, PARIS[1]]},
            "tags": ("a", ["a", "b"], [])[number],
            "address": {"city": "Paris"},
        }
        for number in range(3)
    ]
    await shop.source.insert_many(documents)
    await shop.prepared()
    assert await shop.load() == []
    assert shop.search(sort_by="price:asc") == ["2", "0", "1"]
    assert shop.search(sort_by="listed:asc") == ["2", "1", "0"]
    assert shop.search(sort_by="title:asc") == ["1", "2", "0"]
    assert shop.search(filter_by="position:(48.85,2.35,10 km)") == ["0"]
    assert shop.search(sort_by="position(48.85,4.35):asc") == ["2", "1", "0"]
    assert shop.search(filter_by="tags:=b") == ["1"]
    answer = shop.typesense.get(
        f"/collections/{shop.declaration.route.target}/documents/search", params={"q": "*", "facet_by": "address.city"}
    ).raise_for_status()
    (facet,) = answer.json()["facet_counts"]
    assert [(each["value"], each["count"]) for each in facet["counts"]] == [("Paris", 3)]


async def test_pairs_under_an_index_of_places_become_places(shop: Shop) -> None:
    await shop.source.create_index([("where.at", "2dsphere")])
    await shop.source.insert_many([{"_id": 0, "where": {"at": PARIS}}, {"_id": 1, "where": {"at": [13, 52]}}])
    await shop.prepared()
    assert await shop.load() == []
    assert shop.search(filter_by="where.at:(48.85,2.35,10 km)") == ["0"]


async def test_an_empty_source_leaves_all_types_to_typesense(shop: Shop) -> None:
    live = await shop.prepared()
    assert [(field["name"], field["type"]) for field in live["fields"]] == [(".*", "auto")]


async def test_two_replicas_that_create_it_at_once_have_one_collection(shop: Shop) -> None:
    await shop.source.insert_one({"price": 4})
    made = await asyncio.gather(*(shop.prepared() for _ in range(4)))
    assert len({each["created_at"] for each in made}) == 1
    assert all(each["fields"] == made[0]["fields"] for each in made)
    assert [field["type"] for field in made[0]["fields"]] == ["int64", "auto"]


async def test_a_declared_schema_is_used_as_it_is(shop: Shop) -> None:
    await shop.source.insert_one({"price": 4})
    fields = [{"name": "price", "type": "string", "optional": True}]
    shop.declaration = Declaration(shop.declaration.route, schema={"fields": fields})
    live = await shop.prepared()
    assert [(field["name"], field["type"]) for field in live["fields"]] == [("price", "string")]


# The sample itself


async def test_a_later_generation_has_the_settings_of_the_collection_that_it_replaces(shop: Shop) -> None:
    """Where nobody declares a schema. A declared one is used as it is, or it would ask for another reindex forever."""
    route = shop.declaration.route
    first, second = f"{route.target}_1", f"{route.target}_2"
    settings = {"token_separators": ["-"], "symbols_to_index": ["+"]}
    fields = [{"name": "title", "type": "string", "optional": True}]
    body = {"name": first, "fields": fields, **settings}
    shop.typesense.post("/collections", json=body).raise_for_status()
    shop.typesense.put(f"/aliases/{route.target}", json={"collection_name": first}).raise_for_status()
    later = replace(route, name=f"{route.name}@2", target=second, pinned=True)
    shop.declaration = replace(shop.declaration, route=later)
    for documents in (0, 1):
        if documents:
            await shop.source.insert_one({"_id": "a", "title": "a"})
        live = await shop.prepared(like=first)
        assert live["name"] == second
        assert {name: live[name] for name in settings} == settings
        shop.typesense.delete(f"/collections/{second}").raise_for_status()
    shop.declaration = replace(shop.declaration, schema={"fields": fields})
    live = await shop.prepared(like=first)
    assert {name: live[name] for name in settings} == {"token_separators": [], "symbols_to_index": []}


async def test_a_sample_has_both_ends_and_no_key_twice(shop: Shop) -> None:
    await shop.source.insert_many([{"_id": number} for number in range(30_000)])
    size = await size_of(shop.client, shop.declaration.route)
    assert size.documents == 30_000
    assert 0 < size.average_bytes < 100
    for matching in ({}, {"_id": {"$gte": 100}}):
        keys = await sample_keys(shop.client, shop.declaration.route, matching, size, most=1_000)
        assert len(set(keys)) == len(keys)
        first = 100 if matching else 0
        assert {first, first + 499, 29_500, 29_999} <= set(keys)
        assert 1_500 < len(keys) <= 2_000
        assert min(keys) == first


async def test_a_small_collection_is_sampled_as_a_whole(shop: Shop) -> None:
    await shop.source.insert_many([{"_id": number, "n": number % 2} for number in range(200)])
    size = await size_of(shop.client, shop.declaration.route)
    keys = await sample_keys(shop.client, shop.declaration.route, {"n": 1}, size)
    assert sorted(keys) == list(range(1, 200, 2))


async def test_without_a_sample_in_time_nothing_is_created(shop: Shop, mongo_names: Names) -> None:
    await shop.source.insert_one({"price": 4.5})
    await fail(shop.client, mongo_names, "aggregate", times=10, errorCode=50)
    with pytest.raises(DependencyUnavailable, match="no document for a sample"):
        await shop.prepared()
    assert await shop.target.collection(shop.declaration.route.target) is None


async def test_a_collection_is_not_created_before_those_it_refers_to(shop: Shop) -> None:
    name = shop.declaration.route.target
    first = f"{name}_first"
    with pytest.raises(ComesLater, match=f"{name} is created as soon as {first} exists"):
        await shop.prepared(after=[first])
    assert await shop.target.collection(name) is None
    shop.typesense.post(
        "/collections", json={"name": first, "fields": [{"name": "x", "type": "string"}]}
    ).raise_for_status()
    try:
        assert (await shop.prepared(after=[first]))["num_documents"] == 0
    finally:
        shop.typesense.delete(f"/collections/{first}").raise_for_status()
