"""Z: the full comparison. Every id and the whole content of Typesense equals the mapped content of MongoDB.

It reads all of both sides with its own clients and trusts nothing that the product says about itself.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS, typesense_id
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

_EXPORT_TIMEOUT_S = 60.0


@dataclass
class Difference:
    """Typesense ids that differ from MongoDB. Falsy when there are none."""

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)

    def __str__(self) -> str:
        parts = ("missing", self.missing), ("extra", self.extra), ("different", self.different)
        return ", ".join(f"{len(ids)} {name} {ids[:3]}" for name, ids in parts)


def expected_documents(stack: EmbeddedStack, names: Names) -> dict[str, Any]:
    """What Typesense should hold, by id: all of MongoDB, mapped by the current schema of the collection."""
    with typesense_client(stack) as typesense:
        answer = typesense.get(f"/collections/{names.typesense_collection}")
    plan = Plan(MappingOptions(), answer.json()) if answer.is_success else Plan(MappingOptions())
    with mongo_client(stack) as client:
        collection = client[names.database].get_collection(names.collection, codec_options=BSON_OPTIONS)
        return {typesense_id(document["_id"]): _expected(document, plan) for document in collection.find()}


def _expected(document: dict[str, Any], plan: Plan) -> Any:
    """What Typesense should hold of a document. Of a refused document, nothing it could hold is right."""
    try:
        return orjson.loads(encode_line(map_document(document, plan)))
    except DocumentRejected as rejected:
        return rejected


def actual_documents(stack: EmbeddedStack, names: Names) -> dict[str, Any]:
    """What Typesense holds, by id; empty while the collection is missing."""
    with typesense_client(stack) as client:
        path = f"/collections/{names.typesense_collection}/documents/export"
        answer = client.get(path, timeout=_EXPORT_TIMEOUT_S)
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
        documents = [orjson.loads(line) for line in answer.content.splitlines() if line]
    return {document["id"]: document for document in documents}


def difference(stack: EmbeddedStack, names: Names, *, ignoring: frozenset[str] = frozenset()) -> Difference:
    """Compare all of Typesense with all of MongoDB, except for the ids in `ignoring` (open dead letters)."""
    expected, actual = expected_documents(stack, names), actual_documents(stack, names)
    return Difference(
        missing=sorted(expected.keys() - actual.keys() - ignoring),
        extra=sorted(actual.keys() - expected.keys() - ignoring),
        different=sorted(
            document_id
            for document_id in (expected.keys() & actual.keys()) - ignoring
            if expected[document_id] != actual[document_id]
        ),
    )


def wait_until_equal(
    stack: EmbeddedStack, names: Names, *, timeout_s: float = 30.0, ignoring: frozenset[str] = frozenset()
) -> None:
    """Wait until Z holds; fail with what still differs."""
    last = Difference()

    def equal() -> bool:
        nonlocal last
        last = difference(stack, names, ignoring=ignoring)
        return not last

    wait_for(equal, timeout_s, lambda: f"Typesense differs from MongoDB: {last}")
