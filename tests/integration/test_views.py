"""Views of documents, made by a real MongoDB: filter, fields, lookups, summaries, pipelines, and what fails for one."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import bson
import pytest

from tests.integration.conftest import Client, Collection, fail
from tests.support.commands import Finds
from tests.support.stack import Names
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected, RouteUnusable
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.scan import pages
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.view import MAX_CHILDREN, source_view
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.driver import open_client
from tsync_stream.source.undecodable import Unreadable, require_readable

DIVIDE = {"$set": {"ratio": {"$divide": [12, "$n"]}}}

Open = Callable[..., DocumentReader]


@pytest.fixture
async def viewing(client: Client, route: Route) -> AsyncIterator[Open]:
    """Opens a reader whose route is declared as the arguments say."""
    readers: list[DocumentReader] = []

    def opened(chosen: Client = client, **declared: Any) -> DocumentReader:
        view = source_view(Declaration(route, **declared))
        readers.append(DocumentReader(chosen, 10.0, {} if view is None else {route.name: view}))
        return readers[-1]

    yield opened
    for reader in readers:
        await reader.close()


async def read(reader: DocumentReader, route: Route, *keys: Key) -> list[dict[str, Any]]:
    groups = [[key] for key in keys]
    return [document async for some in reader.read(route, groups, BEGINNING_OF_TIME) for document in some]


# Filter and fields


async def test_only_documents_that_the_filter_matches_exist(viewing: Open, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": 1, "status": "published"}, {"_id": 2, "status": "draft"}, {"_id": 3}])
    reader = viewing(filter={"status": "published"})
    assert await read(reader, route, 1, 2, 3, 4) == [{"_id": 1, "status": "published"}]
    assert await reader.existing_keys(route, [1, 2, 3, 4], BEGINNING_OF_TIME) == [1]
    assert await reader.existing_ids(route, [1, 2, 3, 4], BEGINNING_OF_TIME) == {"1"}


async def test_a_filter_on_the_key_and_one_with_operators_keep_their_meaning(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "n": number} for number in range(6)])
    assert await read(viewing(filter={"_id": {"$gt": 3}}), route, 3, 4) == [{"_id": 4, "n": 4}]
    either = viewing(filter={"$or": [{"n": 1}, {"n": 5}], "_id": {"$lt": 5}})
    assert await read(either, route, *range(6)) == [{"_id": 1, "n": 1}]


async def test_a_scan_passes_the_keys_that_the_filter_matches_and_ends(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "shown": number % 50 == 0} for number in range(200)])
    reader = viewing(filter={"shown": True})
    found = [keys async for keys, _ in pages(reader, route, None, BEGINNING_OF_TIME, 20)]
    assert [key for keys in found for key in keys] == [0, 50, 100, 150]
    assert len(found) > 9, "each page is one short query, however few documents it shows"


async def test_a_twin_that_the_filter_excludes_does_not_own_the_id(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": 12, "shown": False}, {"_id": "12", "shown": True}])
    reader = viewing(filter={"shown": True})
    found = [each async for some in reader.read(route, [[12, "12"]], BEGINNING_OF_TIME) for each in some]
    assert found == [{"_id": "12", "shown": True}]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"fields": ["title", "seller.name", "seller"]}, {"_id": 1, "title": "x", "seller": {"name": "Ann", "tax": 7}}),
        ({"fields": ["seller.name"]}, {"_id": 1, "seller": {"name": "Ann"}}),
        ({"fields": []}, {"_id": 1}),
        ({"exclude": ["cost", "seller.tax", "_id"]}, {"_id": 1, "title": "x", "seller": {"name": "Ann"}}),
        ({"fields": ["seller"], "exclude": ["seller.tax"]}, {"_id": 1, "seller": {"name": "Ann"}}),
    ],
    ids=str,
)
async def test_only_the_declared_fields_are_shown(
    viewing: Open, route: Route, source: Collection, declared: dict[str, Any], expected: dict[str, Any]
) -> None:
    await source.insert_one({"_id": 1, "title": "x", "cost": 3, "seller": {"name": "Ann", "tax": 7}})
    assert await read(viewing(**declared), route, 1) == [expected]


async def test_a_filter_and_fields_need_no_aggregation(stack: EmbeddedStack, viewing: Open, route: Route) -> None:
    finds = Finds()
    client: Client = open_client(stack.mongo.uri, event_listeners=[finds])
    await read(viewing(client, filter={"n": 1}, fields=["n"]), route, 1)
    client.close()
    assert [(command["projection"], command["hint"]) for command in finds.commands] == [
        ({"_id": 1, "n": 1}, {"_id": 1})
    ]


# Lookups


@pytest.fixture
async def other(client: Client, route: Route) -> Collection:
    """Another collection in the database of the source."""
    return client[route.database][f"{route.collection}_other"]


async def test_a_parent_is_shown_in_the_place_of_its_reference(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    await other.insert_many([{"_id": "a", "name": "Ann", "tax": 7}, {"_id": "b", "tax": 8}])
    await source.insert_many([{"_id": n, "seller": reference} for n, reference in enumerate(["a", "b", "gone", None])])
    await source.insert_one({"_id": 4, "seller": ["gone", "b", "a"]})
    await source.insert_one({"_id": 5})
    lookup = Parent(other.name, "seller", "seller", ["name"])
    found = await read(viewing(lookups=[lookup]), route, *range(6))
    assert found == [
        {"_id": 0, "seller": {"name": "Ann"}},
        {"_id": 1, "seller": {}},
        {"_id": 2},
        {"_id": 3},
        {"_id": 4, "seller": {}},
        {"_id": 5},
    ]
    whole = Parent(other.name, "seller", "who")
    assert await read(viewing(lookups=[whole]), route, 0) == [
        {"_id": 0, "seller": "a", "who": {"_id": "a", "name": "Ann", "tax": 7}}
    ]


async def test_fields_inside_objects_of_a_parent_are_shown_as_a_projection_shows_them(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    parents: list[dict[str, Any]] = [
        {"_id": 0, "address": {"city": "Paris", "zip": 1}, "people": [{"name": "a", "age": 1}, 3, {"age": 2}]},
        {"_id": 1, "address": "unknown", "people": {"name": "b"}},
        {"_id": 2, "address": {"zip": 2}, "people": []},
        {"_id": 3, "address": None},
    ]
    await other.insert_many(parents)
    await source.insert_many([{"_id": parent["_id"], "of": parent["_id"]} for parent in parents])
    fields = ["address.city", "people.name", "people.age"]
    found = await read(viewing(lookups=[Parent(other.name, "of", "parent", fields)]), route, *range(4))
    projected = [each async for each in other.find({}, {"_id": 0, **dict.fromkeys(fields, 1)}).sort("_id", 1)]
    assert [document["parent"] for document in found] == projected


async def test_several_parents_come_in_the_order_of_the_references(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    await other.insert_many([{"_id": number, "name": f"n{number}"} for number in range(5)])
    await source.insert_one({"_id": 1, "items": [{"category": 3}, {"category": 9}, {"category": 0.0}]})
    await source.insert_one({"_id": 2, "items": []})
    await source.insert_one({"_id": 3})
    lookup = Parent(other.name, "items.category", "categories", ["name"], many=True)
    found = await read(viewing(lookups=[lookup], fields=["categories"]), route, 1, 2, 3)
    assert found == [
        {"_id": 1, "categories": [{"name": "n3"}, {"name": "n0"}]},
        {"_id": 2, "categories": []},
        {"_id": 3, "categories": []},
    ]


async def test_children_come_in_the_order_of_their_keys_and_a_thousand_at_most(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    await other.create_index("of")
    await other.insert_many(
        [{"_id": key, "of": 1, "stars": key % 5, "text": "x"} for key in range(MAX_CHILDREN, -1, -1)]
    )
    await other.insert_one({"_id": -1, "of": 2, "stars": 3})
    await source.insert_many([{"_id": number} for number in range(1, 4)])
    found = await read(viewing(lookups=[Children(other.name, "of", "reviews", ["stars"])]), route, 1, 2, 3)
    assert found[0] == {"_id": 1, "reviews": [{"stars": key % 5} for key in range(MAX_CHILDREN)]}
    assert found[1:] == [{"_id": 2, "reviews": [{"stars": 3}]}, {"_id": 3, "reviews": []}]
    whole = await read(viewing(lookups=[Children(other.name, "of", "reviews")]), route, 2)
    assert whole == [{"_id": 2, "reviews": [{"_id": -1, "of": 2, "stars": 3}]}]


async def test_a_summary_counts_all_children(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    await other.create_index("of")
    await other.insert_many([{"of": 1, "stars": n % 5 + 1, "votes": n} for n in range(1_500)])
    await source.insert_many([{"_id": 1, "count": "replaced"}, {"_id": 2, "rating": "replaced too"}])
    summary = {
        "count": "count",
        "avg": {"stars": "rating"},
        "sum": {"votes": "stats.votes"},
        "min": {"stars": "worst"},
        "max": {"stars": "best", "votes": "most"},
    }
    found = await read(viewing(lookups=[Children(other.name, "of", "reviews", summary=summary)]), route, 1, 2)
    votes = sum(range(1_500))
    assert found == [
        {"_id": 1, "count": 1_500, "rating": 3.0, "stats": {"votes": votes}, "worst": 1, "best": 5, "most": 1_499},
        {"_id": 2, "count": 0, "stats": {"votes": 0}},
    ]


# Pipelines


async def test_documents_of_a_pipeline_come_in_the_order_of_the_index(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "tags": ["a", "b"]} for number in (3, 1, 2)])
    pipeline = [{"$unwind": "$tags"}, {"$group": {"_id": "$_id", "tags": {"$sum": 1}}}]
    assert await read(viewing(pipeline=pipeline, filter={"_id": {"$lt": 3}}), route, 1, 2, 3) == [
        {"_id": 1, "tags": 2},
        {"_id": 2, "tags": 2},
    ]


async def test_a_document_for_which_the_pipeline_fails_costs_no_other(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "n": number % 7} for number in range(20)])
    found = await read(viewing(pipeline=[DIVIDE]), route, *range(25))
    assert [document["_id"] for document in found] == list(range(20))
    failed = [document for document in found if isinstance(document, Unreadable)]
    assert [document["_id"] for document in failed] == [0, 7, 14]
    with pytest.raises(DocumentRejected, match=r"view failed: MongoDB cannot compute its view: code \d+"):
        require_readable(failed[0])
    assert found[6] == {"_id": 6, "n": 6, "ratio": 2.0}


async def test_a_filter_that_fails_for_a_document_costs_no_other(
    viewing: Open, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "n": number - 3} for number in range(8)])
    reader = viewing(filter={"$expr": {"$gt": [{"$divide": [12, "$n"]}, 0]}})
    found = await read(reader, route, *range(10))
    assert [(document["_id"], isinstance(document, Unreadable)) for document in found] == [
        (3, True),
        *((number, False) for number in range(4, 8)),
    ]
    assert sorted(await reader.existing_keys(route, list(range(10)), BEGINNING_OF_TIME)) == [3, 4, 5, 6, 7]


async def test_a_cursor_that_fails_after_its_first_reply_returns_no_document_twice(
    viewing: Open, route: Route, source: Collection
) -> None:
    text = "x" * 6_000_000
    await source.insert_many([{"_id": number, "n": 5 - number, "text": text} for number in range(7)])
    found = await read(viewing(pipeline=[DIVIDE]), route, *range(7))
    assert [(document["_id"], isinstance(document, Unreadable)) for document in found] == [
        (number, number == 5) for number in range(7)
    ]


async def test_a_view_of_more_than_16_mb_costs_its_own_document(
    viewing: Open, route: Route, source: Collection, other: Collection
) -> None:
    await other.insert_many([{"_id": number, "text": "x" * 6_000_000} for number in range(3)])
    await source.insert_many([{"_id": 1, "parts": [0]}, {"_id": 2, "parts": [0, 1, 2]}, {"_id": 3, "parts": [2]}])
    found = await read(viewing(lookups=[Parent(other.name, "parts", "parts", many=True)]), route, 1, 2, 3)
    assert [document["_id"] for document in found] == [1, 2, 3]
    with pytest.raises(DocumentRejected, match="view too large"):
        require_readable(found[1])


async def test_what_cannot_be_decoded_in_a_view_costs_its_own_document(
    client: Client, viewing: Open, route: Route, source: Collection
) -> None:
    documents = [bson.encode({"_id": number, "n": 3}) for number in range(3)]
    documents[1] = document_of(
        element("_id", b"\x10\1\0\0\0"), element("n", b"\x10\4\0\0\0"), element("x", WRONG_BINARY)
    )
    await client[route.database].command(insertion(route.collection, *documents))
    found = await read(viewing(pipeline=[DIVIDE]), route, 0, 1, 2)
    assert [(document["_id"], isinstance(document, Unreadable)) for document in found] == [
        (0, False),
        (1, True),
        (2, False),
    ]
    assert await read(viewing(exclude=["x"]), route, 1) == [{"_id": 1, "n": 4}], "its field is not shown anyway"


@pytest.mark.parametrize(
    "declared",
    [
        {"pipeline": [{"$set": {"x": {"$noSuchOperator": 1}}}]},
        {"pipeline": [{"$noSuchStage": {}}]},
        {"filter": {"n": {"$noSuchOperator": 1}}},
        {"fields": ["$n"]},
        {"pipeline": [{"$project": {"_id": 0}}]},
        {"pipeline": [{"$set": {"_id": ["$_id"]}}]},
    ],
    ids=str,
)
async def test_a_view_that_mongodb_refuses_is_the_routes_fault(
    viewing: Open, route: Route, source: Collection, declared: dict[str, Any]
) -> None:
    await source.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    with pytest.raises(RouteUnusable, match=f"route {route.name}"):
        await read(viewing(**declared), route, 1, 2)


async def test_an_outage_is_no_documents_fault(
    client: Client, viewing: Open, mongo_names: Names, route: Route, source: Collection
) -> None:
    await source.insert_one({"_id": 1, "n": 0})
    await fail(client, mongo_names, "aggregate", times=2, errorCode=262)  # the driver asks twice
    with pytest.raises(DependencyUnavailable):
        await read(viewing(pipeline=[DIVIDE]), route, 1)
    # Unknown to us, and gone when we ask again.
    await fail(client, mongo_names, "aggregate", errorCode=8)
    await source.update_one({"_id": 1}, {"$set": {"n": 4}})
    assert await read(viewing(pipeline=[DIVIDE]), route, 1) == [{"_id": 1, "n": 4, "ratio": 3.0}]


@pytest.mark.parametrize(
    ("declared", "requests"),
    [({"filter": {"n": 1}}, ["find"]), ({"pipeline": [DIVIDE]}, ["aggregate", "getMore"])],
    ids=["find", "aggregation"],
)
async def test_a_view_reads_with_majority_after_the_cluster_time(
    client: Client, viewing: Open, route: Route, source: Collection, declared: dict[str, Any], requests: list[str]
) -> None:
    await source.insert_many([{"_id": "a", "n": 1}, {"_id": "b", "n": 1}])
    now = (await client.admin.command("ping"))["operationTime"]
    reader = viewing(**declared)
    database = client[route.database]
    profile = database["system.profile"]
    await database.command("profile", 2)
    groups: Sequence[Sequence[Key]] = [["a"], ["b"]]
    found = [document async for some in reader.read(route, groups, now) for document in some]
    await database.command("profile", 0)
    seen = [each["command"] async for each in profile.find({"ns": f"{route.database}.{source.name}"})]
    await profile.drop()
    assert [typesense_id(document["_id"]) for document in found] == ["a", "b"]
    # The driver opens a raw cursor of an aggregation with an empty first reply.
    assert [next(iter(each)) for each in seen] == requests
    command = seen[0]
    assert command["readConcern"] == {"level": "majority", "afterClusterTime": now}
    assert command["maxTimeMS"] > 0
    assert reader.operation_time >= now
