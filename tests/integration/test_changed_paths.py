"""The names of changed paths in a real change stream: for updates alone, never values, and not too many."""

import bson

from tests.integration.conftest import Client, Collection, changes
from tsync_stream.core.model import Route
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.changed_paths import MAX_CHANGED_PATHS
from tsync_stream.source.stream_scope import scope_of


async def test_an_update_names_what_it_changed(client: Client, route: Route, source: Collection) -> None:
    scope = scope_of([(route.database, route.collection)], changed_paths=True)
    stream = await ChangeStream.open(client, scope, None, 100)
    await source.insert_one({"_id": 1, "views": 1, "old": 1, "tags": [1, 2, 3], "seller": {"name": "Ann"}})
    await source.update_one({"_id": 1}, {"$inc": {"views": 1}, "$set": {"seller.name": "Bob"}, "$unset": {"old": ""}})
    await source.update_one({"_id": 1}, [{"$set": {"tags": {"$slice": ["$tags", 1]}}}])
    await source.update_one({"_id": 1}, {"$set": {"text": "x" * 5_000_000}})
    await source.update_one({"_id": 1}, {"$set": {f"field{n}": n for n in range(MAX_CHANGED_PATHS)}})
    await source.update_one({"_id": 1}, {"$set": {f"other{n}": n for n in range(MAX_CHANGED_PATHS + 1)}})
    await source.replace_one({"_id": 1}, {"a": 1})
    await source.delete_one({"_id": 1})
    found = await changes(stream, 8)
    await stream.close()
    assert [change["operation"] for change in found] == ["insert", *["update"] * 5, "replace", "delete"]
    named = [None if (names := change.get("changed")) is None else sorted(names) for change in found]
    assert named[:4] == [None, ["old", "seller.name", "views"], ["tags"], ["text"]]
    assert named[4] is not None
    assert len(named[4]) == MAX_CHANGED_PATHS
    assert named[5:] == [None] * 3
    assert all(len(bson.encode(change)) < 5_000 for change in found)
