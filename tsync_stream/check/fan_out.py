"""How wide a change in a looked-up collection fans out, and what that needs: an index, pre-images. Changes nothing.

Invariant: every query has a time limit on the server; a number that cannot be had in time is missing, not wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


async def _width(client: MongoClient, route: Route, lookup: Lookup) -> Width:
    if isinstance(lookup, Children):
        name, field = lookup.collection, lookup.foreign
    else:
        name, field = route.collection, lookup.local
    referring = source_collection(client, Route(route.name, route.database, name, route.target))
    try:
        documents = int(await referring.estimated_document_count(maxTimeMS=QUERY_TIME_MS))
        indexed = field in [next(iter(index["key"])) async for index in referring.list_indexes()]
        most, exact = await _most(referring, field, documents, indexed=indexed)
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    findings = [] if indexed else [_no_index(route, name, field, documents)]
    if isinstance(lookup, Children) and not _has_pre_images(await described(client, route.database, name)):
        findings.append(_no_pre_images(route, name))
    return Width(lookup, name, field, most, exact, findings)


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


def _has_pre_images(information: Mapping[str, Any] | None) -> bool:
    options = {} if information is None else information.get("options", {})
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
