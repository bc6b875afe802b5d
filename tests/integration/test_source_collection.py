"""The source collection on a real MongoDB: its identity, its size, and how it is read."""

from typing import Any

import pytest

from tests.integration.conftest import Client, Collection
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.source.collection import source_uuid
from tsync_stream.source.documents import count_documents, source_collection


async def test_documents_are_counted_without_being_read(client: Client, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": number} for number in range(7)])
    assert await count_documents(client, route.database, route.collection) == 7
    assert await count_documents(client, route.database, "nowhere") == 0


async def test_a_recreated_collection_has_another_identity(client: Client, route: Route, source: Collection) -> None:
    where = client, route.database, route.collection
    first = await source_uuid(*where)
    await source.insert_one({"_id": "a"})
    assert await source_uuid(*where) == first
    await source.drop()
    with pytest.raises(ConfigurationError, match="MONGODB_COLLECTION: there is no collection"):
        await source_uuid(*where)
    await client[route.database].create_collection(route.collection)
    assert await source_uuid(*where) != first


@pytest.mark.parametrize(
    ("kind", "options"),
    [("view", {"viewOn": "another", "pipeline": []}), ("time series", {"timeseries": {"timeField": "at"}})],
)
async def test_a_collection_without_change_streams_is_refused_as_a_source(
    client: Client, route: Route, kind: str, options: dict[str, Any]
) -> None:
    await client[route.database].create_collection(route.collection, **options)
    with pytest.raises(ConfigurationError, match=f"is a {kind}, which has no change stream; set MONGODB_COLLECTION"):
        await source_uuid(client, route.database, route.collection)


async def test_the_uri_cannot_weaken_the_reads(route: Route, client: Client) -> None:
    weak: Client = client.__class__(
        "mongodb://127.0.0.1:1/?readPreference=secondary&readConcernLevel=local&connect=false"
    )
    collection = source_collection(weak, route)
    assert collection.read_concern.level == "majority"
    assert collection.read_preference.mongos_mode == "primary"
    weak.close()
