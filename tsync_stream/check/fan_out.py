"""How wide a change in a looked-up collection fans out, and what that needs: an index, pre-images. Changes nothing.

Invariant: every query has a time limit on the server; a number that cannot be had in time is missing, not wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from tsync_stream.check.findings import Finding, wrong
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Lookup
from tsync_stream.source.collection import described
from tsync_stream.source.documents import source_collection
from tsync_stream.source.driver import MongoClient, MongoCollection
from tsync_stream.source.errors import code_of, from_mongo

QUERY_TIME_MS = 1_500
_SAMPLED = 10_000


@dataclass(frozen=True, slots=True)
class Width:
    """One lookup. `most` is how many documents refer to the most referred one; None: unknown. It may be `exact`.

    `collection` is the one whose field `field` holds the references.
    """

    lookup: Lookup
    collection: str
    field: str
    most: int | None
    exact: bool
    findings: Sequence[Finding] = ()


async def widths(client: MongoClient, declaration: Declaration) -> list[Width]:
    """The width of each lookup of a route. Raises the errors of `from_mongo`."""
    return [await _width(client, declaration.route, lookup) for lookup in declaration.lookups]


async def lookup_findings(client: MongoClient, declaration: Declaration) -> list[Finding]:
    """What the lookups of a route lack, without their widths. Raises the errors of `from_mongo`.

    Without an index it works, slowly; without pre-images, deleted children stay in what shows them.
    """
    found, route = [], declaration.route
    for lookup in declaration.lookups:
        documents, indexed = await _size_and_index(client, route, lookup)
        if not indexed:
            found.append(replace(_no_index(route, *_reference(route, lookup), documents), level="note"))
        found += await _without_pre_images(client, route, lookup)
    return found


async def _width(client: MongoClient, route: Route, lookup: Lookup) -> Width:
    name, field = _reference(route, lookup)
    documents, indexed = await _size_and_index(client, route, lookup)
    try:
        most, exact = await _most(_referring(client, route, name), field, documents, indexed=indexed)
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    findings = [] if indexed else [_no_index(route, name, field, documents)]
    findings += await _without_pre_images(client, route, lookup)
    return Width(lookup, name, field, most, exact, findings)


def _reference(route: Route, lookup: Lookup) -> tuple[str, str]:
    """The collection that holds a lookup's references, and the field."""
    if isinstance(lookup, Children):
        return lookup.collection, lookup.foreign
    return route.collection, lookup.local


def _referring(client: MongoClient, route: Route, name: str) -> MongoCollection:
    return source_collection(client, Route(route.name, route.database, name, route.target))


async def _size_and_index(client: MongoClient, route: Route, lookup: Lookup) -> tuple[int, bool]:
    """About how many documents may refer to others, and whether the field that does has an index."""
    name, field = _reference(route, lookup)
    referring = _referring(client, route, name)
    try:
        documents = int(await referring.estimated_document_count(maxTimeMS=QUERY_TIME_MS))
        indexes = [index async for index in referring.list_indexes()]
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    # An index of some documents finds no others.
    return documents, any(
        next(iter(index["key"])) == field and "partialFilterExpression" not in index for index in indexes
    )


async def _without_pre_images(client: MongoClient, route: Route, lookup: Lookup) -> list[Finding]:
    """The finding about children that keep none; a missing collection keeps none yet."""
    if not isinstance(lookup, Children):
        return []
    information = await described(client, route.database, lookup.collection)
    return [] if information is None or _has_pre_images(information) else [_no_pre_images(route, lookup.collection)]


async def _most(referring: MongoCollection, field: str, documents: int, *, indexed: bool) -> tuple[int | None, bool]:
    """How many documents refer to the most referred one, and whether that is exact."""
    pipeline: list[Mapping[str, Any]] = [
        {"$sample": {"size": _SAMPLED}},
        {"$project": {"_id": 0, "reference": f"${field}"}},
        {"$unwind": "$reference"},
        {"$group": {"_id": "$reference", "count": {"$sum": 1}}},
        {"$sort": {"count": -1}},
        {"$limit": 1},
    ]
    try:
        async for found in referring.aggregate(pipeline, maxTimeMS=QUERY_TIME_MS):
            sampled = int(found["count"])
            if documents <= _SAMPLED:
                return sampled, True
            if indexed:
                count = await referring.count_documents({field: found["_id"]}, maxTimeMS=QUERY_TIME_MS)
                return int(count), True
            return sampled * documents // _SAMPLED, False
    except PyMongoError as error:
        if code_of(error) is None:
            raise
        return None, False
    return 0, True


def _no_index(route: Route, collection: str, field: str, documents: int) -> Finding:
    return wrong(
        f"route {route.name}: `{field}` of {route.database}.{collection} has no index, so each change of what it "
        f"refers to scans about {documents:,} documents",
        "create it:",
        f"db.getSiblingDB({_quoted(route.database)}).getCollection({_quoted(collection)}).createIndex({{"
        f"{_quoted(field)}: 1}})",
    )


def _has_pre_images(information: Mapping[str, Any]) -> bool:
    options = information.get("options", {})
    return bool(options.get("changeStreamPreAndPostImages", {}).get("enabled"))


def _no_pre_images(route: Route, collection: str) -> Finding:
    return wrong(
        f"route {route.name}: {route.database}.{collection} keeps no pre-images, so a deleted or moved document no "
        "longer tells what it referred to",
        "switch them on (MongoDB 6.0 and newer):",
        f"db.getSiblingDB({_quoted(route.database)}).runCommand({{collMod: {_quoted(collection)}, "
        "changeStreamPreAndPostImages: {enabled: true}})",
    )


def _quoted(name: str) -> str:
    """A JavaScript text."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
