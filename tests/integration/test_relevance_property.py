"""Relevance against MongoDB itself: an update that changes a view must have been judged relevant."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from tests.support.stack import Names, mongo_client
from tsync_stream.core.model import Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.relevance import relevance_of
from tsync_stream.routes.view import source_view
from tsync_stream.source.changed_paths import CHANGED_PATHS

ROUTE = Route("listings", "shop", "listings", "listings")

# Few names, so that paths meet; one looks like a position, and one has a dot in it.
NAMES = ["a", "b", "c", "0", "1"]
VALUES = st.recursive(
    st.sampled_from([None, 0, 1, "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "a.b"]), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(st.sampled_from([*NAMES, "a.b"]), VALUES, max_size=4)
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(".".join)
UPDATES = st.one_of(
    st.tuples(st.just("$set"), PATHS, VALUES),
    st.tuples(st.just("$unset"), PATHS, st.just("")),
    st.tuples(st.just("$inc"), PATHS, st.just(1)),
    st.tuples(st.just("$push"), PATHS, st.sampled_from([0, "x", {"a": 1}])),
    st.tuples(st.just("$push"), PATHS, st.just({"$each": [], "$slice": 1})),
    st.tuples(st.just("$pull"), PATHS, st.sampled_from([0, "x"])),
    st.tuples(st.just("$pop"), PATHS, st.sampled_from([1, -1])),
    st.tuples(st.just("$rename"), st.sampled_from(["a", "b", "c"]), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("$pipeline"), PATHS, VALUES.filter(lambda value: not isinstance(value, dict))),
    st.tuples(st.just("$whole"), st.sampled_from([*NAMES, "a.b"]), st.sampled_from([0, 1, "x"])),
)
DECLARED = st.fixed_dictionaries(
    {},
    optional={
        "fields": st.lists(PATHS, max_size=3),
        "filter": st.dictionaries(PATHS, st.sampled_from([0, 1, "x", {"$exists": True}]), max_size=2),
    },
) | st.fixed_dictionaries({"exclude": st.lists(PATHS, min_size=1, max_size=3)})
CASES = st.lists(st.tuples(DOCUMENTS, UPDATES, DECLARED), min_size=60, max_size=60)
NAMES_ONLY = {"$project": {"key": "$documentKey._id", "operation": "$operationType", "changed": CHANGED_PATHS}}


@pytest.fixture
def collection(stack: EmbeddedStack, names: Names) -> Iterator[Collection[dict[str, Any]]]:
    with mongo_client(stack) as client:
        client[names.database].create_collection(names.collection)
        yield client[names.database][names.collection]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(CASES)
def test_an_update_that_changes_a_view_is_relevant(
    collection: Collection[dict[str, Any]], cases: Sequence[tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]]
) -> None:
    collection.delete_many({})
    collection.insert_many([{"_id": key, **document} for key, (document, _, _) in enumerate(cases)])
    before = views(collection, cases)
    with collection.watch([NAMES_ONLY]) as stream:
        with suppress(BulkWriteError):  # MongoDB refuses some of them
            collection.bulk_write(
                [UpdateOne({"_id": key}, operation(each)) for key, (_, each, _) in enumerate(cases)], False
            )
        end = collection.insert_one({"end": True}).inserted_id
        events = list(takewhile(lambda event: event["key"] != end, stream))
    collection.delete_one({"_id": end})
    after = views(collection, cases)
    judged = {event["key"]: event for event in events}
    for key, (document, update, declared) in enumerate(cases):
        if before[key] == after[key]:
            continue
        event = judged[key]
        if event["operation"] == "update":
            relevance = relevance_of(Declaration(ROUTE, **declared))
            assert relevance.touched_by(event.get("changed")), (document, update, declared, event)


def views(collection: Collection[dict[str, Any]], cases: Sequence[tuple[Any, Any, dict[str, Any]]]) -> list[Any]:
    """What each case's route shows of its document."""
    found = []
    for key, (_, _, declared) in enumerate(cases):
        view = source_view(Declaration(ROUTE, **declared))
        query, projection = ({"_id": key}, None) if view is None else (view.query([key]), view.projection)
        # As bytes: to Python, 1 and 1.0 and True are equal.
        found.append([bson.encode(document) for document in collection.find(query, projection)])
    return found


def operation(update: tuple[Any, ...]) -> Any:
    kind, path, value = update
    if kind == "$pipeline":
        return [{"$set": {path: {"$literal": value}}}]
    if kind == "$whole":
        return [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$arrayToObject": [[{"k": path, "v": value}]]}]}}]
    return {kind: {path: value}}
