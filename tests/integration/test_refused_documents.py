"""Refused documents on real servers: their dead letters, and what Typesense shows under their ids."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Database
from tests.support.stack import Names, typesense_client
from tsync_stream.capture.entries import Entries
from tsync_stream.core.model import BEGINNING_OF_TIME, Entry, Key, Operation, Reason, Route
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
from tsync_stream.sync.batch import SyncBatch, SyncResult

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NOT_MAPPED: dict[str, Any] = {"amount": 1, "ratio": float("nan")}  # refused before anything is sent
NOT_TAKEN: dict[str, Any] = {"amount": "many"}  # refused by Typesense
REFUSED = pytest.mark.parametrize("refused", [NOT_MAPPED, NOT_TAKEN], ids=["by the mapping", "by Typesense"])


@dataclass
class Shop:
    """A source, a sync, and their results."""

    client: Client
    state: Database
    stack: EmbeddedStack
    route: Route
    reader: DocumentReader
    target: TypesenseTarget
    environment: dict[str, str]
    directory: Path

    def __post_init__(self) -> None:
        self.letters = DeadLetters(self.state)
        self.source = self.client[self.route.database][self.route.collection]
        self.sync_with()

    def sync_with(self, **settings: str) -> None:
        """Use these settings from now on."""
        chosen = load_settings(self.directory, {**self.environment, **settings})
        schema = LiveSchema(self.target, self.route.target, MappingOptions(), lambda: 1)
        self.sync = Sync({self.route.name: Attempt(self.route, self.target, self.letters, Metrics(), chosen, schema)})

    async def put(self, key: Key, document: dict[str, Any]) -> None:
        await self.source.replace_one({"_id": key}, {"_id": key, **document}, upsert=True)

    async def run(self, *changes: tuple[Key, str]) -> SyncResult:
        """Sync one batch of changes, with the entries that capture would make."""
        entries = Entries(self.route, 1, Reason.CHANGE, Timestamp(7, 1))
        entries.add([key for key, _ in changes], [operation for _, operation in changes])
        return await self.run_entries(entries.by_partition.get(0, []))

    async def run_entries(self, entries: list[Entry]) -> SyncResult:
        result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        return await self.sync.run(SyncBatch(self.reader, entries, BEGINNING_OF_TIME, lambda: 1000.0, result))

    async def update(self, key: Key, document: dict[str, Any], operation: str = Operation.UPDATE) -> SyncResult:
        await self.put(key, document)
        return await self.run((key, operation))

    async def delete(self, key: Key) -> SyncResult:
        await self.source.delete_one({"_id": key})
        return await self.run((key, Operation.DELETE))

    def shown(self) -> dict[str, Any]:
        """The amounts that Typesense shows, by id."""
        with typesense_client(self.stack) as typesense:
            answer = typesense.get(f"/collections/{self.route.target}/documents/export").raise_for_status()
        documents = [orjson.loads(line) for line in answer.content.splitlines()]
        return {document["id"]: document["amount"] for document in documents}

    async def open(self) -> dict[Any, tuple[str, str]]:
        """For each open dead letter, by type and value of its key: the reason, and what Typesense shows."""
        found = self.state[DEAD_LETTERS].find({"status": "open"})
        return {
            (type(letter["key"]).__name__, letter["key"]): (letter["reason"], letter["shown"]) async for letter in found
        }


@pytest.fixture
async def shop(
    client: Client, state: Database, stack: EmbeddedStack, names: Names, tmp_path: Path
) -> AsyncIterator[Shop]:
    route = Route(names.collection, names.database, names.collection, names.typesense_collection)
    environment = {**stack.environment(), **names.environment()}
    target = TypesenseTarget(load_settings(tmp_path, environment).typesense)
    fields = [{"name": "amount", "type": "int64", "optional": True}, {"name": ".*", "type": "auto"}]
    await target.create_collection({"name": route.target, "fields": fields})
    reader = DocumentReader(client, 5.0)
    yield Shop(client, state, stack, route, reader, target, environment, tmp_path)
    await reader.close()
    await target.close()


@REFUSED
async def test_the_old_version_of_a_refused_document_is_kept_and_the_letter_says_so(
    shop: Shop, refused: dict[str, Any]
) -> None:
    await shop.update("a", {"amount": 1}, Operation.INSERT)
    await shop.update("a", refused)
    assert shop.shown() == {"a": 1}
    ((_, shown),) = (await shop.open()).values()
    assert shown == "older version"


@REFUSED
async def test_with_on_reject_delete_the_old_version_is_removed(shop: Shop, refused: dict[str, Any]) -> None:
    shop.sync_with(ON_REJECT="delete")
    await shop.update("a", {"amount": 1}, Operation.INSERT)
    await shop.update("b", {"amount": 2}, Operation.INSERT)
    result = await shop.update("a", refused)
    assert shop.shown() == {"b": 2}
    assert (result.deleted, result.dead_letters) == (1, 1)
    ((_, shown),) = (await shop.open()).values()
    assert shown == "nothing"
    await shop.update("a", {"amount": 3})
    assert shop.shown() == {"a": 3, "b": 2}
    assert await shop.open() == {}


async def test_an_unusable_id_needs_no_delete(shop: Shop) -> None:
    shop.sync_with(ON_REJECT="delete")
    await shop.put("x" * 2_000, {"amount": 1})
    result = await shop.run_entries([Entry(shop.route.name, "x" * 2_000, Operation.CHECK, Timestamp(7, 1))])
    assert (result.deleted, result.dead_letters) == (0, 1)
    assert list((await shop.open()).values()) == [("unusable id", "nothing")]


async def test_an_id_collision_does_not_touch_the_document_that_is_shown(shop: Shop) -> None:
    shop.sync_with(ON_REJECT="delete")
    await shop.update(12, {"amount": 1}, Operation.INSERT)
    await shop.update("12", {"amount": 2}, Operation.INSERT)
    assert shop.shown() == {"12": 1}
    assert await shop.open() == {("str", "12"): ("id collision", "another document")}


@REFUSED
async def test_a_deleted_document_does_not_stay_because_its_twin_is_refused(
    shop: Shop, refused: dict[str, Any]
) -> None:
    await shop.update(12, {"amount": 1}, Operation.INSERT)
    await shop.update("12", refused, Operation.INSERT)
    assert await shop.open() == {("str", "12"): ("id collision", "another document")}
    await shop.delete(12)
    assert shop.shown() == {}
    (((_, key), (reason, shown)),) = (await shop.open()).items()
    assert (key, shown) == ("12", "nothing")
    assert reason != "id collision"


@REFUSED
async def test_a_deleted_document_does_not_stay_when_only_a_reconcile_notices(
    shop: Shop, refused: dict[str, Any]
) -> None:
    """The delete was lost with the oplog; a reconcile queues the documents that exist."""
    await shop.update(12, {"amount": 1}, Operation.INSERT)
    await shop.update("12", refused, Operation.INSERT)
    await shop.source.delete_one({"_id": 12})
    await shop.run(("12", Operation.CHECK))
    assert shop.shown() == {}
    await shop.run(("12", Operation.CHECK))
    assert [shown for _, shown in (await shop.open()).values()] == ["nothing"]


@REFUSED
async def test_a_deleted_document_does_not_stay_because_a_refused_twin_is_inserted_in_the_same_batch(
    shop: Shop, refused: dict[str, Any]
) -> None:
    await shop.update(12, {"amount": 1}, Operation.INSERT)
    await shop.source.delete_one({"_id": 12})
    await shop.put("12", refused)
    await shop.run((12, Operation.DELETE), ("12", Operation.INSERT))
    assert shop.shown() == {}


@REFUSED
async def test_a_document_deleted_and_reinserted_does_not_show_its_old_version(
    shop: Shop, refused: dict[str, Any]
) -> None:
    await shop.update("a", {"amount": 1}, Operation.INSERT)
    await shop.put("a", refused)
    await shop.run(("a", Operation.DELETE), ("a", Operation.INSERT))
    assert shop.shown() == {}
