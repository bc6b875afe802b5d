"""Exports of ids: complete while documents are deleted, on every release, and whatever the ids and texts contain."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace

import orjson
import pytest

from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, detecting_schema, typesense_client, typesense_settings
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.comparable import line_as_stored
from tsync_stream.sink.mapping import encode_line

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RELEASES = ["0.24", "26.1", "27.1", "28", "29", "30", "cluster of three"]
EVERYTHING = {f"{number:03}" for number in range(250)} | {"line\nfeed"}
# At the start, in the middle of a part of the export, and an id that does not fit on a line.
GONE = ["000", "150", "line\nfeed"]
Serving = Callable[..., AbstractAsyncContextManager[tuple[ReleaseServer, TypesenseTarget]]]


@pytest.fixture
def serving(stack: EmbeddedStack, names: Names) -> Serving:
    """A release, and a client of it, with a filled collection."""

    @asynccontextmanager
    async def begin(release: str, api_key: str = "") -> AsyncIterator[tuple[ReleaseServer, TypesenseTarget]]:
        key, name = api_key or stack.typesense.api_key, names.typesense_collection
        with ReleaseServer(stack.typesense.port, stack.typesense.api_key, release) as server:
            settings = typesense_settings(server.port, key, hosts=server.hosts, collection=name)
            target = TypesenseTarget(settings)
            await target.create_collection(detecting_schema(name))
            await target.import_lines(name, [orjson.dumps({"id": each, "n": 1}) for each in sorted(EVERYTHING)])
            try:
                yield server, target
            finally:
                await target.close()

    return begin


async def exported(target: TypesenseTarget, names: Names) -> list[str]:
    return [name async for batch in target.export_ids(names.typesense_collection, 100) for name in batch]


@pytest.mark.parametrize("release", RELEASES)
async def test_an_export_loses_nothing_to_concurrent_deletions(serving: Serving, names: Names, release: str) -> None:
    async with serving(release) as (server, target):
        for gone in GONE:
            server.delete_during_next_export(gone)
            found = await exported(target, names)
            assert len(found) == len(set(found))
            assert EVERYTHING - set(GONE) <= set(found) <= EVERYTHING


@contextmanager
def key_for_documents_alone(stack: EmbeddedStack, names: Names) -> Iterator[str]:
    """An API key that may not read the release."""
    with typesense_client(stack) as client:
        scope = {"actions": ["collections:*", "documents:*"], "collections": [names.typesense_collection]}
        made = client.post("/keys", json={"description": "a test's", **scope}).raise_for_status().json()
        try:
            yield made["value"]
        finally:
            client.delete(f"/keys/{made['id']}").raise_for_status()


@pytest.mark.parametrize("gone", GONE)
async def test_with_an_unknown_release_the_second_export_is_complete(
    stack: EmbeddedStack, serving: Serving, names: Names, gone: str
) -> None:
    with key_for_documents_alone(stack, names) as key:
        async with serving("29", key) as (server, target):
            server.delete_during_next_export(gone)
            with pytest.raises(DependencyUnavailable, match="deleted meanwhile"):
                await exported(target, names)
            assert set(await exported(target, names)) == EVERYTHING - {gone}
            server.delete_during_next_export("151")
            assert set(await exported(target, names)) >= EVERYTHING - {gone, "151"}


@pytest.mark.parametrize("release", RELEASES)
async def test_a_collection_that_is_gone_is_not_taken_for_a_deletion(
    stack: EmbeddedStack, serving: Serving, names: Names, release: str
) -> None:
    async with serving(release) as (_, target):
        with typesense_client(stack) as client:
            client.delete(f"/collections/{names.typesense_collection}").raise_for_status()
        with pytest.raises(ConfigurationError, match="no such collection"):
            await exported(target, names)


async def test_ids_with_unusual_line_breaks_are_exported_and_deleted(stack: EmbeddedStack, names: Names) -> None:
    settings = typesense_settings(stack.typesense.port, stack.typesense.api_key)
    target = TypesenseTarget(settings)
    name = names.typesense_collection
    await target.create_collection(detecting_schema(name))
    ids = ["a\u2028b", "a\x0bb", "a\x85b", "a\nb", "plain", "..", "`"]
    assert await target.import_lines(name, [orjson.dumps({"id": document_id}) for document_id in ids]) == []
    exported = [document_id async for some in target.export_ids(name, 2) for document_id in some]
    assert sorted(exported) == sorted(ids)
    found = [orjson.loads(line)["id"] async for line in target.documents(name, [*ids[1:], "nobody", "`nobody"])]
    assert sorted(found) == sorted(ids[1:])
    assert [line async for line in target.documents(name, ["nobody"])] == []
    await target.delete(name, ids)
    assert [batch async for batch in target.export_ids(name, 2)] == []
    assert await target.settled()
    restricted = {"description": "d", "actions": ["documents:*", "collections:*"], "collections": [name]}
    with typesense_client(stack) as http:
        key = http.post("/keys", json=restricted).raise_for_status().json()["value"]
    modest = TypesenseTarget(replace(settings, api_key=key))
    assert await modest.settled()
    assert await modest.collection(name) is not None
    await modest.close()
    await target.close()


async def test_no_character_is_lost_where_typesense_splits_a_long_import(stack: EmbeddedStack, names: Names) -> None:
    settings = typesense_settings(stack.typesense.port, stack.typesense.api_key, timeout_s=30.0)
    target, name = TypesenseTarget(settings), names.typesense_collection
    await target.create_collection(
        {"name": name, "fields": [{"name": "text", "type": "string", "optional": True, "index": False}]}
    )
    sent = {str(number): {"id": str(number), "text": "é" * 600_000 + "x" * number} for number in range(6)}
    assert await target.import_lines(name, [encode_line(document) for document in sent.values()]) == []
    await target.close()
    with typesense_client(stack) as http:
        answer = http.get(f"/collections/{name}/documents/export").raise_for_status()
    documents = [orjson.loads(line) for line in answer.content.split(b"\n")]
    assert {document["id"]: document for document in documents} == sent


async def test_typesense_shows_the_bytes_that_a_sorted_document_has(stack: EmbeddedStack, names: Names) -> None:
    """Otherwise a verification would compare every document twice: byte for byte in vain, and by its fields.

    That is what happens to 1e-07, which orjson writes as 1e-7.
    """
    name = names.typesense_collection
    target = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key, collection=name))
    await target.create_collection(detecting_schema(name))
    text = 'Café / "quoted" \\ \n\t\x01 \u2028 東京 🏠'
    flat = {"title": text, "price": 100.5, "whole": 3.0, "rooms": 4, "new": True, "tags": ["b", "a"]}
    documents = {f"{number}": {**flat, "id": f"{number}", "number": number} for number in range(5)}
    assert not await target.import_lines(name, [encode_line(each) for each in documents.values()])
    shown = {line_as_stored(line) async for line in target.documents(name, list(documents))}
    await target.close()
    assert shown == {orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in documents.values()}
