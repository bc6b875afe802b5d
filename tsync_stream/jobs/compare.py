"""Compares what Typesense shows for some keys with what it should show according to MongoDB, and counts what differs.

Most documents are equal byte for byte, which takes little to find out; only the others are compared by what their
fields mean.

Invariant: both sides are kept as digests, so memory does not depend on the documents' size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import orjson
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.key_candidates import keys_sharing_id
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import Key
from tsync_stream.core.tasks import all_to_end
from tsync_stream.jobs.scan import Sides
from tsync_stream.routes.projector import Projector
from tsync_stream.sink.comparable import as_stored, comparable, line_as_stored
from tsync_stream.sink.live_schema import LiveSchema

Kind = Literal["missing", "different", "extra"]
# Typesense ids, each with all keys that could have it.
Groups: TypeAlias = Mapping[str, Sequence[Key]]
Form: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]

DIGEST_BYTES = 16
# Of one look. Typesense answers each of their requests, for a hundred ids or so, long before it is busy.
EXPORTS_AT_ONCE = 3
LEAST_IDS = 100
# As many documents may be unlike before we ask whether that is the rule here.
UNLIKE_AT_FIRST = 500
# The digest of a document that exists and cannot be written: nothing that Typesense shows equals it.
REFUSED = b""
# Few, because they travel in a cursor.
MOST_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """A Typesense id that does not show what it should, and the key that led to it."""

    kind: Kind
    key: Key
    document_id: str


@dataclass(slots=True)
class Findings:
    """What some pages showed: real differences, how many have an open dead letter, and how many never stood still."""

    differences: list[Difference] = field(default_factory=list)
    excepted: int = 0
    unsettled: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of a verification, and the first keys that differ.

    `foreign`: ids that this program would never write. `unseen`: more ids than are looked at are in Typesense alone.
    `left`: ids in Typesense alone that are not deleted because they are too many.
    """

    compared: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    excepted: int = 0
    unsettled: int = 0
    foreign: int = 0
    unseen: bool = False
    queued: int = 0
    left: int = 0
    examples: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many documents Typesense does not show as it should."""
        return self.missing + self.different + self.extra

    def plus(self, findings: Findings) -> "Tally":
        """With these findings added."""
        kinds = [item.kind for item in findings.differences]
        room = max(0, MOST_EXAMPLES - len(self.examples))
        examples = [{"kind": item.kind, "key": item.key} for item in findings.differences[:room]]
        return replace(
            self,
            missing=self.missing + kinds.count("missing"),
            different=self.different + kinds.count("different"),
            extra=self.extra + kinds.count("extra"),
            excepted=self.excepted + findings.excepted,
            unsettled=self.unsettled + findings.unsettled,
            examples=[*self.examples, *examples],
        )

    def to_bson(self) -> dict[str, Any]:
        """As cursors and jobs hold it; `Tally(**...)` is the inverse."""
        return asdict(self)


def difference(expected: bytes | None, actual: bytes | None) -> Kind | None:
    """What is wrong, if anything, where Typesense shows `actual` (None: nothing) and should show `expected` (pure)."""
    if expected is None:
        return None if actual is None else "extra"
    if actual is None:
        return "missing"
    return None if expected == actual else "different"


def digest(form: Mapping[str, Any]) -> bytes:
    """A digest that is equal for equal forms (`sink/comparable.py`), whatever the order of their fields (pure).

    Raises `orjson.JSONEncodeError` for what is not JSON.
    """
    return _digest_of_line(orjson.dumps(form, option=orjson.OPT_SORT_KEYS))


def _digest_of_line(line: bytes) -> bytes:
    return blake2b(line, digest_size=DIGEST_BYTES).digest()


def _as_it_is(document: dict[str, Any]) -> Mapping[str, Any]:
    return document


@dataclass(slots=True)
class Comparison:
    """Compares both sides. `schema` is the one that sync maps by; the fields in `left_out` are not compared."""

    sides: Sides
    schema: LiveSchema
    left_out: frozenset[str] = frozenset()
    # How many documents were compared byte for byte, and how many of them were unlike.
    asked: int = field(default=0, init=False)
    unlike: int = field(default=0, init=False)

    async def look(self, keys: Iterable[Key], not_before: Timestamp) -> list[Difference]:
        """What differs now for these keys, each of which has a Typesense id.

        Raises the errors of MongoDB and Typesense calls.
        """
        asked: dict[str, Key] = {}
        for key in keys:
            asked.setdefault(typesense_id(key), key)
        groups: Groups = {name: keys_sharing_id(key, name) for name, key in asked.items()}
        if self.mostly_alike:
            groups = await self._unlike(groups, not_before)
        if not groups:
            return []
        exports = map(self._shown, self._shares(groups))
        expected, *parts = await all_to_end([self._expected(groups, not_before, self._form), *exports])
        actual = {document_id: digest_of for part in parts for document_id, digest_of in part.items()}
        found = []
        for document_id in groups:
            kind = difference(expected.get(document_id), actual.get(document_id))
            if kind is not None:
                found.append(Difference(kind, asked[document_id], document_id))
        return found

    @property
    def mostly_alike(self) -> bool:
        """Whether it has been worthwhile to compare byte for byte first.

        It is not where Typesense fills in fields of its own, nor where all is different.
        """
        return self.unlike <= UNLIKE_AT_FIRST + self.asked // 2

    async def _unlike(self, groups: Groups, not_before: Timestamp) -> Groups:
        """Those for which Typesense does not show the very bytes: its documents are JSON with sorted names.

        An id is part of its document, so equal bytes are the document of that id.
        """
        shown: set[bytes] = set()
        exports = (self._add_lines(ids, shown) for ids in self._shares(groups))
        expected, *_ = await all_to_end([self._expected(groups, not_before, _as_it_is), *exports])
        assert expected is not None
        unlike = {name: keys for name, keys in groups.items() if expected.get(name, REFUSED) not in shown}
        self.asked += len(groups)
        self.unlike += len(unlike)
        return unlike

    def _shares(self, groups: Groups) -> list[list[str]]:
        ids = list(groups)
        share = max(LEAST_IDS, -(-len(ids) // EXPORTS_AT_ONCE))
        return [ids[first : first + share] for first in range(0, len(ids), share)]

    async def _add_lines(self, ids: Sequence[str], shown: set[bytes]) -> None:
        async with aclosing(self.sides.target.documents(self.sides.route.target, ids)) as lines:
            shown.update([_digest_of_line(line_as_stored(line)) async for line in lines])

    async def _shown(self, ids: Sequence[str]) -> dict[str, bytes]:
        actual: dict[str, bytes] = {}
        async with aclosing(self.sides.target.documents(self.sides.route.target, ids)) as lines:
            async for line in lines:
                try:
                    document = orjson.loads(line)
                    actual[document["id"]] = digest(self._form(as_stored(document)))
                except (ValueError, LookupError, TypeError) as error:
                    raise DependencyUnavailable("Typesense: an export has a line that is not a document") from error
        return actual

    async def _expected(self, groups: Groups, not_before: Timestamp, form: Form) -> dict[str, bytes]:
        expected: dict[str, bytes] = {}
        projector = Projector(await self.schema.plan())
        reading = self.sides.source.read(self.sides.route, list(groups.values()), not_before)
        async with aclosing(reading) as replies:
            async for documents in replies:
                for document in documents:
                    document_id = typesense_id(document["_id"])
                    # The first key in BSON order owns the id; where there is a collation, others' keys are found too.
                    if document_id in groups and document_id not in expected:
                        expected[document_id] = _digest_of_source(document, projector, form)
                del documents  # frees one reply before the next one is read
        return expected

    def _form(self, document: dict[str, Any]) -> Mapping[str, Any]:
        return comparable(document, self.left_out)


def _digest_of_source(document: Mapping[str, Any], projector: Projector, form: Form) -> bytes:
    try:
        return digest(form(projector.shown(document)))
    except (DocumentRejected, orjson.JSONEncodeError):
        return REFUSED
