"""An export of ids while documents are deleted, on every release: all that are left, and nothing that never was."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import orjson
import pytest

from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, typesense_client
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.client import TypesenseTarget

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RELEASES = ["0.24", "26.1", "27.1", "28", "29", "30", "cluster of three"]
EVERYTHING = {f"{number:03}" for number in range(250)} | {"line\nfeed"}
# At the start, in the middle of a part of the export, and one that no line can hold.
GONE = ["000", "150", "line\nfeed"]
Serving = Callable[..., AbstractAsyncContextManager[tuple[ReleaseServer, TypesenseTarget]]]


@pytest.fixture
def serving(stack: EmbeddedStack, names: Names) -> Serving:
    """A release, and a target that leads to it, with a full collection."""

    @asynccontextmanager
    async def begin(release: str, api_key: str = "") -> AsyncIterator[tuple[ReleaseServer, TypesenseTarget]]:
        key, name = api_key or stack.typesense.api_key, names.typesense_collection
        with ReleaseServer(stack.typesense.port, stack.typesense.api_key, release) as server:
            settings = TypesenseSettings(key, server.hosts, server.port, "http", name, 10.0, 60.0, 3, 0.1, None)
            target = TypesenseTarget(settings)
            await target.create_collection({"name": name, "fields": [{"name": ".*", "type": "auto"}]})
            await target.import_lines(name, [orjson.dumps({"id": each, "n": 1}) for each in sorted(EVERYTHING)])
            try:
                yield server, target
            finally:
                await target.close()

    return begin


async def exported(target: TypesenseTarget, names: Names) -> list[str]:
    return [name async for batch in target.export_ids(names.typesense_collection, 100) for name in batch]


@pytest.mark.parametrize("release", RELEASES)
async def test_deletions_meanwhile_take_nothing_else_from_an_export(
    serving: Serving, names: Names, release: str
) -> None:
    async with serving(release) as (server, target):
        for gone in GONE:
            server.delete_during_next_export(gone)
            found = await exported(target, names)
            assert len(found) == len(set(found))
            assert EVERYTHING - set(GONE) <= set(found) <= EVERYTHING


@contextmanager
def key_for_documents_alone(stack: EmbeddedStack, names: Names) -> Iterator[str]:
    """A key that may not ask which release this is."""
    with typesense_client(stack) as client:
        scope = {"actions": ["collections:*", "documents:*"], "collections": [names.typesense_collection]}
        made = client.post("/keys", json={"description": "a test's", **scope}).raise_for_status().json()
        try:
            yield made["value"]
        finally:
            client.delete(f"/keys/{made['id']}").raise_for_status()


@pytest.mark.parametrize("gone", GONE)
async def test_where_the_release_is_not_known_the_second_export_is_whole(
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
