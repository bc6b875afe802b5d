"""How releases of Typesense differ, for the server that imitates them (pure).

Only 0.24.1 can be run here. What newer releases do differently was read in their sources and is expressed here as small
functions of the version; `release_server.py` puts them in front of the real server. Comments name the place in the
sources.

Invariant: everything else is answered by the real 0.24.1.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import orjson

# How many documents an export sends at a time by default (core_api.cpp).
EXPORT_BATCH = 100
NOT_FOUND = b'{"message": "Not found."}'


class Malformed(Exception):
    """The release answers 400 to this filter."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release, and how it differs from its neighbours."""

    version: str
    nodes: int = 1

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, for comparisons."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def has_metadata(self) -> bool:
        """Collections store `metadata` for their user."""
        return self.number >= (26,)

    @property
    def brackets_end_filters(self) -> bool:
        """Brackets in a filter count even inside backticks (parse_multi_valued_geopoint_filter)."""
        return (26,) <= self.number < (29,)

    @property
    def star_among_ids(self) -> bool:
        """A `*` in a list of ids means all documents, even inside backticks (filter::toFilter)."""
        return self.number >= (28,)

    @property
    def id_exports_end_at_deletes(self) -> bool:
        """A deletion ends an export that has `include_fields` (get_export_documents)."""
        return (27,) <= self.number < (30,)

    @property
    def id_exports_hold_errors(self) -> bool:
        """A deletion adds a line of plain text to an export that has `include_fields` (get_export_documents)."""
        return self.number >= (30,)

    @property
    def exports_without_flattened(self) -> bool:
        """A filtered export omits the fields that Typesense flattened (stateful_export_docs)."""
        return self.number >= (27,)

    @property
    def filtered_exports_end_early(self) -> bool:
        """Release notes of 26.1: a filtered export may lack its last documents."""
        return self.number == (26, 0)

    @property
    def filtered_exports_lack_fields(self) -> bool:
        """Release notes of 27.1: a filtered export lacks the fields that are not in the schema."""
        return self.number == (27, 0)

    @property
    def one_alter_at_a_time(self) -> bool:
        """A second, concurrent PATCH of a schema gets 422 (get_alter_in_progress)."""
        return self.number >= (28,)

    @property
    def binds_references_once(self) -> bool:
        """A reference to an alias that does not exist yet is never bound (typesense/typesense#2942)."""
        return (27,) <= self.number < (31,)

    @property
    def answers_end_with_an_empty_line(self) -> bool:
        """The last line of an import response may end with a line feed."""
        return self.number < (26,)

    @property
    def has_stopwords(self) -> bool:
        """Sets of stopwords exist (typesense_server.cpp)."""
        return self.number >= (26,)

    @property
    def has_synonym_sets(self) -> bool:
        """Synonyms and curations are separate sets, no longer part of a collection."""
        return self.number >= (30,)


RELEASES = {
    "0.24": Release("0.24.1"),
    "0.25": Release("0.25.2"),
    "26.0": Release("26.0"),
    "26.1": Release("26.1"),
    "27.0": Release("27.0"),
    "27.1": Release("27.1"),
    "28": Release("28.0"),
    "29": Release("29.0"),
    "30": Release("30.1"),
    "cluster of three": Release("29.0", nodes=3),
}


# ---- filters about ids ----


@dataclass(frozen=True, slots=True)
class Ids:
    """The documents that a filter names: all, or these ids."""

    all: bool
    ids: tuple[str, ...] = ()


def read_filter(release: Release, filter_by: str) -> Ids:
    """The ids named by a filter on ids only. Raises `Malformed` if the release, or this parser, cannot read it."""
    everything, ids = False, []
    tokens = list(_tokens(release, filter_by))
    if not tokens or len(tokens) % 2 == 0 or any(token != "||" for token in tokens[1::2]):
        raise Malformed("Could not parse the filter query.")
    for expression in tokens[::2]:
        values = list(_values_of(release, expression))
        if "*" in values and (release.star_among_ids or expression.endswith(":*")):
            everything = True
        ids += values
    return Ids(True) if everything else Ids(False, tuple(ids))


def _tokens(release: Release, text: str) -> Iterator[str]:
    """StringUtils::tokenize_filter_query."""
    place = 0
    while place < len(text):
        first = text[place]
        if first == " ":
            place += 1
        elif first in "()":
            yield first
            place += 1
        elif first in "&|":
            if text[place : place + 2] != 2 * first:
                raise Malformed("Could not parse the filter filter_query.")
            yield 2 * first
            place += 2
        else:
            end = _end_of_token(release, text, place)
            yield text[place:end].strip(" ")
            place = end


def _end_of_token(release: Release, text: str, place: int) -> int:
    in_backticks = behind_colon = in_parentheses = False
    character = text[place]
    while True:
        behind_colon |= character == ":"
        if character == ")":
            in_parentheses = False
        place += 1
        character = text[place : place + 1]
        if character == "`":
            in_backticks = not in_backticks
        if behind_colon and character == "(":
            in_parentheses, behind_colon = True, False
        elif behind_colon and character == "[" and release.brackets_end_filters:
            return _behind_brackets(text, place)
        elif character != " ":
            behind_colon = False
        if place >= len(text):
            return place
        ends = character in "()" or text[place : place + 2] in {"&&", "||"}
        if ends and not in_backticks and not in_parentheses:
            return place


def _behind_brackets(text: str, place: int) -> int:
    open_brackets = 0
    for end in range(place, len(text)):
        open_brackets += {"[": 1, "]": -1}.get(text[end], 0)
        if not open_brackets:
            return end + 1
    raise Malformed("Could not parse the geopoint filter.")


def _values_of(release: Release, expression: str) -> Iterator[str]:
    """The elements of `id:…` (filter::toFilter, StringUtils::split_to_values)."""
    name, colon, value = expression.partition(":")
    value = value.strip(" ").lstrip("=").strip(" ")
    if name.strip(" ") != "id" or not colon or not value:
        raise Malformed("Could not parse the filter query.")
    if value[0] == "[" and value[-1] == "]":
        value = value[1:-1]
    elif value == "*" and release.number < (26,):
        raise Malformed("Could not parse the filter query.")
    buffer, in_backticks, before = "", False, ""
    for character in value:
        if character == "`" and before != "\\":
            in_backticks = not (in_backticks and buffer)
        elif character == "," and not in_backticks:
            yield buffer.strip(" ")
            buffer = ""
        else:
            buffer += character
        before = character
    if buffer:
        yield buffer.strip(" ")


# ---- collections ----


def described(
    release: Release, collection: Mapping[str, Any], metadata: Mapping[str, Any] | None, later_s: int
) -> dict[str, Any]:
    """A collection as a node of this release describes it; `later_s`: when the node applied its creation."""
    answer = {**collection, "created_at": collection["created_at"] + later_s}
    if release.has_metadata and metadata:
        answer["metadata"] = metadata
    return answer


# What a field has of a JOIN.
REFERENCE = ("reference", "async_reference", "cascade_delete")


def without_references(body: bytes) -> tuple[bytes, dict[str, dict[str, Any]]]:
    """A schema as 0.24.1 understands it, and what it says of references, by field. Anything else is left as it is."""
    try:
        schema = orjson.loads(body)
        found = {
            field["name"]: {part: field.pop(part) for part in REFERENCE if part in field}
            for field in schema["fields"]
            if "reference" in field
        }
    except (ValueError, LookupError, TypeError):
        return body, {}
    return orjson.dumps(schema), found


# ---- exports ----


def without_fields_of_the_schema(document: dict[str, Any], collection: Mapping[str, Any]) -> dict[str, Any]:
    """What 27.0 leaves of a document: its id, and what the schema names or a pattern of it finds."""
    kept = {field["name"].partition(".")[0] for field in collection["fields"]}
    return {name: value for name, value in document.items() if name == "id" or name in kept}


def without_flattened(document: dict[str, Any]) -> dict[str, Any]:
    """Collection::remove_flat_fields."""
    flattened = {".flat", *document.get(".flat", ())}
    return {name: value for name, value in document.items() if name not in flattened}


@dataclass(frozen=True, slots=True)
class ExportedBatch:
    """A part of an export's body; `ended` by a deletion, what comes is all that comes."""

    body: bytes
    ended: bool = False


def id_export_batch(release: Release, lines: Sequence[bytes], gone: Iterable[str]) -> ExportedBatch:
    """What a release makes of some documents of an export with `include_fields`, of which `gone` were deleted."""
    gone = set(gone)
    made = []
    for line in lines:
        document_id = orjson.loads(line)["id"]
        if document_id not in gone:
            made.append(line)
        elif release.id_exports_end_at_deletes:
            return ExportedBatch(NOT_FOUND, ended=True)
        elif release.id_exports_hold_errors:
            made.append(f"Error while getting seq_id of `{document_id}`: Not found.".encode())
        else:
            made.append(line)
    return ExportedBatch(b"\n".join(made))


# ---- paths ----

_OLD_SETS = re.compile(r"/collections/[^/]+/(synonyms|overrides)(/|$)")
_NEW_SETS = re.compile(r"/(synonym|curation)_sets(/|$)")
_STOPWORDS = re.compile(r"/stopwords(/|$)")


def unknown_path(release: Release, path: str) -> bool:
    """Whether a release has no such path: stopwords came with 26, synonyms and curations moved with 30."""
    if not release.has_stopwords and _STOPWORDS.match(path):
        return True
    return bool((_OLD_SETS if release.has_synonym_sets else _NEW_SETS).match(path))


def collection_path(collection: str) -> str:
    """The path of a collection."""
    return f"/collections/{quote(collection, safe='')}"


def document_path(collection: str, document_id: str) -> str:
    """The path of one document."""
    segment = quote(document_id, safe="") if document_id.strip(".") else document_id.replace(".", "%2E")
    return f"{collection_path(collection)}/documents/{segment}"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: nothing of a collection's, the collection, its documents, an export of them, one of them."""

    collection: str = ""
    rest: str = ""

    @classmethod
    def of(cls, path: str) -> "Place":
        """Take a path without its query."""
        parts = path.strip("/").split("/", 2)
        if len(parts) < 2 or parts[0] != "collections":
            return cls()
        return cls(unquote(parts[1]), parts[2] if len(parts) > 2 else "")

    @property
    def document_id(self) -> str:
        """The id, if it is one document."""
        names_one = self.rest.startswith("documents/") and self.rest not in {"documents/import", "documents/export"}
        return unquote(self.rest.removeprefix("documents/")) if names_one else ""
