"""One look at both sides: what Typesense shows for some keys, and what MongoDB says that it should show.

Invariant: both sides are kept as digests, so that memory does not depend on the documents.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import orjson
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.key_candidates import keys_sharing_id
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import Key, Route
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping import map_document
from tsync_stream.sink.mapping_plan import Plan
from tsync_stream.sink.schema import values_at
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.undecodable import require_decoded

Kind = Literal["missing", "different", "extra"]

DIGEST_BYTES = 16
# Every whole number up to here is a double, and an integer too.
LARGEST_WHOLE = 2**53
# The digest of a document that exists and cannot be written: nothing that Typesense shows is equal to it.
REFUSED = b""
FLATTENED = ".flat"


@dataclass(frozen=True, slots=True)
class Difference:
    """A Typesense id that does not show what it should, and the key by which it was asked for."""

    kind: Kind
    key: Key
    document_id: str


def difference(expected: bytes | None, actual: bytes | None) -> Kind | None:
    """What is wrong, if anything, where `actual` is shown (None: nothing) instead of `expected` (pure)."""
    if expected is None:
        return None if actual is None else "extra"
    if actual is None:
        return "missing"
    return None if expected == actual else "different"


def digest(document: Mapping[str, Any]) -> bytes:
    """Equal for documents that are equal as JSON, whatever the order of their fields (pure).

    So are `4` and `4.0`: a field of integers that was given the type float shows the one, and would be sent the other.
    Raises `orjson.JSONEncodeError` for what is no JSON.
    """
    text = orjson.dumps(_with_whole_numbers(document), option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=DIGEST_BYTES).digest()


def _with_whole_numbers(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return int(value) if -LARGEST_WHOLE <= value <= LARGEST_WHOLE and value.is_integer() else value
    if kind is dict:
        return {name: item if type(item) is str else _with_whole_numbers(item) for name, item in value.items()}
    if kind is list:
        return [item if type(item) is str else _with_whole_numbers(item) for item in value]
    return value


def as_stored(exported: dict[str, Any]) -> dict[str, Any]:
    """A document of a filtered export, as it is stored (pure).

    Typesense 0.24.1 leaves in it what it has flattened for itself, and says in `.flat` what that is.
    """
    for name in exported.pop(FLATTENED, ()):
        exported.pop(name, None)
    return exported


def without_doubles(document: dict[str, Any]) -> dict[str, Any]:
    """A document without its field `a.b` if its field `a` has a `b` in it: an export cannot tell them apart (pure)."""
    for name in [name for name in document if "." in name]:
        others = {other: value for other, value in document.items() if other != name}
        if any(True for _ in values_at(others, name.split("."))):
            document = others
    return document


def fields_of_its_own(collection: Mapping[str, Any]) -> frozenset[str]:
    """The fields at the top that a live schema makes Typesense fill in (`embed`) or keep out of documents (`store`).

    See https://typesense.org/docs/latest/api/collections.html (pure).
    """
    fields = collection["fields"]
    return frozenset(field["name"] for field in fields if "embed" in field or field.get("store") is False)


@dataclass(slots=True)
class BothSides:
    """What a look works with. `schema` is the one that sync maps by; `left_out` are not compared."""

    route: Route
    source: DocumentReader
    target: TypesenseTarget
    schema: LiveSchema
    left_out: frozenset[str] = frozenset()

    async def look(self, keys: Iterable[Key], not_before: Timestamp) -> list[Difference]:
        """What differs for these keys, each of which has a Typesense id.

        Raises the errors of MongoDB and Typesense calls.
        """
        asked: dict[str, Key] = {}
        for key in keys:
            asked.setdefault(typesense_id(key), key)
        groups = {document_id: keys_sharing_id(key, document_id) for document_id, key in asked.items()}
        actual = await self._actual(list(groups))
        expected = await self._expected(groups, not_before)
        found = []
        for document_id, key in asked.items():
            kind = difference(expected.get(document_id), actual.get(document_id))
            if kind is not None:
                found.append(Difference(kind, key, document_id))
        return found

    async def _actual(self, ids: Sequence[str]) -> dict[str, bytes]:
        actual: dict[str, bytes] = {}
        async with aclosing(self.target.documents(self.route.target, ids)) as lines:
            async for line in lines:
                try:
                    document = orjson.loads(line)
                    actual[document["id"]] = self._digest(as_stored(document))
                except (ValueError, LookupError, TypeError) as error:
                    raise DependencyUnavailable("Typesense: an export holds a line that is no document") from error
        return actual

    async def _expected(self, groups: Mapping[str, Sequence[Key]], not_before: Timestamp) -> dict[str, bytes]:
        expected: dict[str, bytes] = {}
        plan = await self.schema.plan()
        reading = self.source.read(self.route, list(groups.values()), not_before)
        async with aclosing(reading) as replies:
            async for documents in replies:
                for document in documents:
                    document_id = typesense_id(document["_id"])
                    # The first key in BSON order owns the id; a collation finds others' keys too.
                    if document_id in groups and document_id not in expected:
                        expected[document_id] = self._digest_of_source(document, plan)
                del documents  # not one reply in memory while the next one comes
        return expected

    def _digest_of_source(self, document: Mapping[str, Any], plan: Plan) -> bytes:
        try:
            require_decoded(document)
            return self._digest(map_document(document, plan))
        except (DocumentRejected, orjson.JSONEncodeError):
            return REFUSED

    def _digest(self, document: dict[str, Any]) -> bytes:
        for name in self.left_out:
            document.pop(name, None)
        return digest(without_doubles(document))
