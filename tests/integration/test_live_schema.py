"""Documents follow the live schema of a real Typesense: they are found, in the right form, or refused with a reason."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from bson.decimal128 import Decimal128
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Database
from tests.support.stack import Names, typesense_client
from tsync_stream.capture.entries import Entries
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.model import BEGINNING_OF_TIME, Operation, Reason, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.sync.agent import Sync
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LNG, LAT = 2.35, 48.85
A_POINT = {"type": "Point", "coordinates": [LNG, LAT]}


@dataclass
class Shop:
    """A source, and a sync that follows the live schema."""

    client: Client
    state: Database
    route: Route
    reader: DocumentReader
    target: TypesenseTarget
    typesense: httpx.Client
    environment: dict[str, str]
    directory: Path
    epoch: int = 1

    def __post_init__(self) -> None:
        self.source = self.client[self.route.database][self.route.collection]
        settings = load_settings(self.directory, {**self.environment, "TYPESENSE_MAX_RETRIES": "1"})
        self.schema = LiveSchema(self.target, self.route.target, MappingOptions(), lambda: self.epoch)
        self.sync = Sync(
            {
                self.route.name: Attempt(
                    self.route, self.target, DeadLetters(self.state), Metrics(), settings, self.schema
                )
            }
        )

    def make(self, *fields: tuple[str, str]) -> None:
        """Create the collection with these fields and type detection."""
        self.typesense.delete(f"/collections/{self.route.target}")
        described = [{"name": name, "type": kind, "optional": True} for name, kind in fields]
        body = {
            "name": self.route.target,
            "enable_nested_fields": True,
            "fields": [*described, {"name": ".*", "type": "auto"}],
        }
        self.typesense.post("/collections", json=body).raise_for_status()

    async def put(self, *documents: dict[str, Any]) -> SyncResult:
        """Sync one batch of documents, with ids from 0."""
        keys = [str(number) for number in range(len(documents))]
        for key, document in zip(keys, documents, strict=True):
            await self.source.replace_one({"_id": key}, {"_id": key, **document}, upsert=True)
        entries = Entries(self.route, 1, Reason.CHANGE, Timestamp(7, 1))
        entries.add(keys, [Operation.UPDATE] * len(keys))
        result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        batch = SyncBatch(self.reader, entries.by_partition[0], BEGINNING_OF_TIME, lambda: 1000.0, result)
        return await self.sync.run(batch)

    def shown(self) -> dict[str, Any]:
        answer = self.typesense.get(f"/collections/{self.route.target}/documents/export").raise_for_status()
        documents = [orjson.loads(line) for line in answer.content.splitlines()]
        return {document.pop("id"): document for document in documents}

    def near_paris(self, field: str) -> list[str]:
        """The ids found within 50 km of Paris."""
        query = {"q": "*", "filter_by": f"{field}:({LAT}, {LNG}, 50 km)", "per_page": "100"}
        answer = self.typesense.get(f"/collections/{self.route.target}/documents/search", params=query)
        return sorted(hit["document"]["id"] for hit in answer.raise_for_status().json()["hits"])

    async def reasons(self) -> dict[str, str]:
        """The reason of each open dead letter, by key."""
        return {letter["key"]: letter["reason"] async for letter in self.state[DEAD_LETTERS].find({"status": "open"})}


@pytest.fixture
async def shop(
    client: Client, state: Database, stack: EmbeddedStack, names: Names, tmp_path: Path
) -> AsyncIterator[Shop]:
    route = Route(names.collection, names.database, names.collection, names.typesense_collection)
    environment = {**stack.environment(), **names.environment()}
    target = TypesenseTarget(load_settings(tmp_path, environment).typesense)
    reader = DocumentReader(client, 5.0)
    with typesense_client(stack) as typesense:
        yield Shop(client, state, route, reader, target, typesense, environment, tmp_path)
    await reader.close()
    await target.close()


ONE_PLACE: list[Any] = [
    A_POINT,
    {**A_POINT, "city": "Paris", "_id": 7, "bbox": [1, 2, 3, 4], "crs": {"type": "name"}},
    {"type": "Point", "coordinates": [LNG, LAT, 35]},
    [LNG, LAT],
    {"lng": LNG, "lat": LAT},
    {"lat": Decimal128("48.85"), "lng": LNG},
]


@pytest.mark.parametrize("field", ["p", "o.p"])
async def test_every_geojson_and_legacy_form_of_paris_is_found_at_paris(shop: Shop, field: str) -> None:
    shop.make((field, "geopoint"))
    documents = [{"p": value} if field == "p" else {"o": {"p": value}} for value in ONE_PLACE]
    assert (await shop.put(*documents)).written == len(documents)
    assert shop.near_paris(field) == [str(number) for number in range(len(documents))]


async def test_several_places_are_all_found(shop: Shop) -> None:
    shop.make(("p", "geopoint[]"), ("a", "object[]"), ("a.p", "geopoint[]"))
    rome = [12.5, 41.9]
    values: list[Any] = [
        *ONE_PLACE,
        [A_POINT, {"type": "Point", "coordinates": rome}],
        {"type": "MultiPoint", "coordinates": [rome, [LNG, LAT]]},
        {"type": "GeometryCollection", "geometries": [A_POINT]},
        [rome, [LNG, LAT]],
        [{"lng": LNG, "lat": LAT}],
    ]
    documents = [{"p": value, "a": [{"p": rome}, {"p": value}]} for value in values]
    assert (await shop.put(*documents)).written == len(documents)
    ids = sorted(str(number) for number in range(len(documents)))
    assert shop.near_paris("p") == ids
    assert shop.near_paris("a.p") == ids


async def test_coordinates_declared_as_a_geopoint_are_found_where_they_are(shop: Shop) -> None:
    shop.make(("x", "object"), ("x.coordinates", "geopoint"))
    assert (await shop.put({"x": A_POINT}, {"x": {**A_POINT, "city": "Paris"}})).written == 2
    assert shop.near_paris("x.coordinates") == ["0", "1"]


async def test_an_invalid_place_is_refused_with_the_reason(shop: Shop) -> None:
    shop.make(("p", "geopoint"))
    line = {"type": "LineString", "coordinates": [[LNG, LAT], [3, 4]]}
    swapped = [LAT, 148.85]
    assert (await shop.put({"p": A_POINT}, {"p": line}, {"p": swapped}, {"p": {"x": LNG, "y": LAT}})).written == 1
    assert await shop.reasons() == {"1": "not a place", "2": "not a place on Earth", "3": "not a place"}


async def test_an_undeclared_field_takes_points_with_and_without_extra_members(shop: Shop) -> None:
    shop.make()
    assert (await shop.put({"p": A_POINT}, {"p": {**A_POINT, "city": "Paris"}})).written == 2
    assert shop.shown()["1"] == {"p": [LAT, LNG]}


async def test_a_field_detected_as_an_object_keeps_points_as_objects(shop: Shop) -> None:
    shop.make()
    assert (await shop.put({"p": {"type": "Point"}}, {"p": A_POINT})).written == 2
    assert await shop.reasons() == {}
    assert shop.shown()["1"] == {"p": A_POINT}


NUMBERS: list[Any] = [1_714_979_289_999.0, Decimal128("12"), 7, 4.0]


@pytest.mark.parametrize("kind", ["int64", "auto"])
async def test_whole_doubles_become_integers_in_an_integer_field(shop: Shop, kind: str) -> None:
    """With detection, the batch itself creates the field: lines that were refused for their type are sent again."""
    shop.make(*([("n", kind)] if kind != "auto" else []))
    assert (await shop.put({"n": 5}, *({"n": number} for number in NUMBERS), {"n": 4.5})).written == 5
    shown = [document["n"] for _, document in sorted(shop.shown().items())]
    assert orjson.dumps(shown) == orjson.dumps([5, 1_714_979_289_999, 12, 7, 4])
    assert await shop.reasons() == {"5": "no whole number"}


async def test_numbers_become_text_in_a_string_field(shop: Shop) -> None:
    shop.make(("s", "string"), ("l", "string[]"))
    assert (await shop.put({"s": 12, "l": [1, "b"]}, {"s": 12.5}, {"s": True}, {"s": "a"})).written == 4
    assert shop.shown() == {"0": {"s": "12", "l": ["1", "b"]}, "1": {"s": "12.5"}, "2": {"s": "true"}, "3": {"s": "a"}}


async def test_the_first_batch_is_checked_against_the_schema_in_force(shop: Shop) -> None:
    shop.make(("n", "int32"))
    assert (await shop.put({"n": 2**31}, {"n": 1})).written == 1
    assert await shop.reasons() == {"0": "value out of range"}


async def test_documents_follow_the_new_schema_of_a_recreated_collection(shop: Shop) -> None:
    shop.make(("n", "int64"))
    await shop.put({"n": 2**40})
    shop.make(("n", "int32"))
    shop.epoch = 2
    assert (await shop.put({"n": 2**40}, {"n": 1})).written == 1
    assert shop.shown() == {"1": {"n": 1}}


async def test_sync_waits_while_there_is_no_collection(shop: Shop) -> None:
    with pytest.raises(SyncFailed) as caught:
        await shop.put({"n": 1})
    assert isinstance(caught.value.cause, DependencyUnavailable)
    assert "no collection" in str(caught.value)
    assert await shop.reasons() == {}


@pytest.mark.parametrize("name", ["title ", "title.", " title", ".title", "id.", ".flat", ".ref", "a. b", "", ".."])
async def test_a_field_name_that_typesense_misreads_affects_no_other_document(shop: Shop, name: str) -> None:
    shop.make()
    for value in ({"en": 1}, 1):
        odd = {"_id": "odd", name: value}
        await shop.source.replace_one({"_id": "odd"}, odd, upsert=True)
        assert (await shop.put({"title": "a", "a": {"b": 1}}, odd | {"_id": "1"})).written == 1
    assert (await shop.put({"title": "b", "new": 1}, {"title": "c", "id_": {"x": 1}})).written == 2
    assert await shop.reasons() == {}


@pytest.mark.parametrize("name", ["title ", ".title", ".flat"])
async def test_a_collection_that_refuses_every_document_makes_no_dead_letters(shop: Shop, name: str) -> None:
    """Another program has written such a field."""
    shop.make()
    await shop.put({"title": "a"})
    path = f"/collections/{shop.route.target}"
    value = 1 if name == ".flat" else {"en": 1}
    shop.typesense.post(f"{path}/documents/import", content=orjson.dumps({"id": "odd", name: value}))
    with pytest.raises(SyncFailed) as caught:
        await shop.put({"title": "b"}, {"title": "c"})
    assert isinstance(caught.value.cause, ConfigurationError)
    assert f"Field `{name}`" in str(caught.value)
    assert await shop.reasons() == {}
    # As the message says:
    shop.typesense.patch(path, json={"fields": [{"name": name, "drop": True}]}).raise_for_status()
    assert (await shop.put({"title": "b"}, {"title": "c"})).written == 2


async def test_too_many_or_too_long_field_names_are_refused_before_they_crash_typesense(shop: Shop) -> None:
    shop.make()
    many = {f"key {number}": number for number in range(17_000)}
    long = {"x" * 70_000: 1}
    assert (await shop.put({"a": 1}, {"o": many}, {"o": long}, {**long}, {"b": 1})).written == 2
    assert await shop.reasons() == {
        "1": "too many field names",
        "2": "unusable field name",
        "3": "unusable field name",
    }
    assert (await shop.put({"a": 2}, {"a": 3}, {"a": 4}, {"a": 5})).written == 4
