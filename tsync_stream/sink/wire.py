"""What goes over the wire (pure): the body of an import, requests about documents by their ids, and answers.

The body of an import holds documents line by line, in UTF-8 if it is short, in ASCII if it is long: Typesense takes a
body that is longer than its window in pieces, wherever they end, and silently drops a character that is cut in two
there (seen with 0.24.1, whose window is 196,605 bytes: ACTIVE_STREAM_WINDOW_SIZE in http_server.h; a shorter body is
whole, in however many packets it comes).

Invariants: in a long body no character has more than one byte, so none can be cut. An id is never read as anything but
an id, neither in a filter nor in a path. Every line of an import's answer is read, since an import answers 200 even if
all lines failed.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable

_ASCII = bytes(range(128))
_LAST_OF_LATIN_1 = "\xff"
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
# Up to this many different characters, as texts of one language mostly have, are replaced in the whole body at once.
# That takes a fifth of the time of encoding each line anew.
MAX_REPLACED = 16
# In Latin-1 they are one byte each, and finding one byte takes a twentieth of the time of finding two in a row.
MAX_REPLACED_OF_LATIN_1 = 64
# A body up to this is never taken in pieces. Escapes make it up to three times as long, and Typesense slower.
MAX_WHOLE_BYTES = 190_000
# Two bytes of UTF-8 become the six of an escape, four become twelve.
ESCAPED_GROWTH = 3

_BACKTICK, _COMMA, _COLON_BRACKET, _BRACKET = (quote(text) for text in ("`", ",", ":[", "]"))

# A filter travels in the request line, of which proxies take 8 KB by default, and some less.
MAX_FILTER_BYTES = 4_000
_LITERAL = re.compile(r"(?! )[^`\[\]]*[^`\[\]\\ ]")
# A line's answers that are no document's fault: 401, 403 and 404 are those of an embedding provider.
_WAIT_CODES = frozenset({408, 422, 429})
_PROVIDER_CODES = frozenset({401, 403, 404})
_SUCCESS = b'{"success":true}'


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line of an import that is refused: its index in the request, a short reason, the server's words."""

    line: int
    reason: str
    error: str


# ---- The body of an import ----


def import_body(lines: Sequence[bytes]) -> bytes:
    """The lines, which are JSON in UTF-8; in a long body every character beyond ASCII is escaped (pure)."""
    body = b"\n".join(lines)
    if len(body) <= MAX_WHOLE_BYTES or body.isascii():
        return body
    beyond = set(body.translate(None, _ASCII).decode())
    if max(beyond) <= _LAST_OF_LATIN_1 and len(beyond) <= MAX_REPLACED_OF_LATIN_1:
        body = body.decode().encode("latin-1")
        for character in beyond:
            body = body.replace(character.encode("latin-1"), _escaped(character))
        return body
    if len(beyond) > MAX_REPLACED:
        return b"\n".join(line if line.isascii() else _ENCODER.encode(orjson.loads(line)).encode() for line in lines)
    for character in beyond:
        body = body.replace(character.encode(), _escaped(character))
    return body


def most_bytes(line: bytes) -> int:
    """How long a line may become in the body."""
    return len(line) if line.isascii() else ESCAPED_GROWTH * len(line)


@lru_cache(1024)
def _escaped(character: str) -> bytes:
    return json.dumps(character)[1:-1].encode()


# ---- Requests about documents by their ids: as few as there can be ----


@dataclass(frozen=True, slots=True)
class IdRequest:
    """One request: about `ids` by a filter, or, where there are none, about `document_id` by its path.

    Paths are what comes behind the path of the collection's documents.
    """

    ids: tuple[str, ...] = ()
    document_id: str = ""

    @property
    def delete_path(self) -> str:
        """Where to send DELETE."""
        return f"?{self._filter}" if self.ids else self._document

    @property
    def get_path(self) -> str:
        """Where to send GET. A filter is answered by a line for each document, a path by the document."""
        return f"/export?{self._filter}" if self.ids else self._document

    def smaller(self) -> "list[IdRequest]":
        """What to ask for instead where this is refused; nothing if it is as small as can be."""
        if not self.ids:
            return []
        if len(self.ids) == 1:
            return [IdRequest(document_id=self.ids[0])]
        middle = len(self.ids) // 2
        return [IdRequest(self.ids[:middle]), IdRequest(self.ids[middle:])]

    @property
    def _filter(self) -> str:
        # Each by itself: `quote` goes through a text character by character as soon as it finds one to escape.
        return f"filter_by=id{_COLON_BRACKET}{_COMMA.join(map(_quoted_literal, self.ids))}{_BRACKET}"

    @property
    def _document(self) -> str:
        return f"/{path_segment(self.document_id)}"


def id_requests(ids: Iterable[str]) -> list[IdRequest]:
    """The requests about these ids: few by filters, and one by path for each id that fits none (pure)."""
    by_filter: list[str] = []
    by_path: list[IdRequest] = []
    for document_id in ids:
        if fits_filter(document_id):
            by_filter.append(document_id)
        else:
            by_path.append(IdRequest(document_id=document_id))
    return [*map(IdRequest, filter_parts(by_filter)), *by_path]


def fits_filter(document_id: str) -> bool:
    """Whether an id can be written between backticks in a filter, on every release of Typesense (pure).

    A backtick ends the literal, a backslash before its end hides that end, and spaces around it are cut off; an empty
    literal crashes 0.24.1. From 26 to 28 brackets are counted within backticks too, so that what follows one is read
    as a filter of its own; from 28 on `*` stands for all documents.
    """
    return document_id != "*" and _LITERAL.fullmatch(document_id) is not None


def path_segment(name: str) -> str:
    """A name or an id as one segment of a path; `.` and `..` would be directions (RFC 3986, section 5.2.4)."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def collection_path(name: str) -> str:
    """The path of a collection, or of what an alias shows."""
    return f"/collections/{path_segment(name)}"


def filter_parts(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """The ids, divided into filters of bounded length (pure)."""
    parts: list[tuple[str, ...]] = []
    part: list[str] = []
    size = 0
    for document_id in ids:
        added = len(_quoted_literal(document_id)) + len(_COMMA)
        size += added
        if part and size > MAX_FILTER_BYTES:
            parts.append(tuple(part))
            part, size = [], added
        part.append(document_id)
    if part:
        parts.append(tuple(part))
    return parts


def _quoted_literal(document_id: str) -> str:
    """Backticks keep commas, operators and parentheses inside."""
    return f"{_BACKTICK}{quote(document_id, safe='')}{_BACKTICK}"


# ---- Answers ----


def read_import_answer(answer: bytes, expected_lines: int) -> list[Rejection]:
    """The refused lines. Raises `DependencyUnavailable` if it is no answer, or a line failed with 5xx or 422.

    Raises `ConfigurationError` where nothing can be embedded, whatever documents there are.
    """
    if answer == b"\n".join([_SUCCESS] * expected_lines):
        return []
    lines = answer.split(b"\n")
    if lines[-1] == b"" and len(lines) > expected_lines:
        lines.pop()  # up to Typesense 0.25 the last one may be empty
    if len(lines) != expected_lines:
        raise DependencyUnavailable(
            f"Typesense: an import of {expected_lines} lines was answered by {len(lines)}", in_doubt=True
        )
    results = ((number, line) for number, line in enumerate(lines) if line != _SUCCESS)
    some_written = _SUCCESS in lines
    rejections = [_rejection(number, line, some_written) for number, line in results]
    return [rejection for rejection in rejections if rejection is not None]


def _rejection(number: int, line: bytes, some_written: bool) -> Rejection | None:
    try:
        result = orjson.loads(line)
        if result.get("success"):
            return None
        code = int(result.get("code", 400))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DependencyUnavailable("Typesense: an import line's answer is no JSON object", in_doubt=True) from error
    # 422 is "out of disk or memory" (core_api.cpp), which time cures; other 4xx are the document's own.
    if code >= 500 or code in _WAIT_CODES:
        raise DependencyUnavailable(f"Typesense: an import line answers {code}", in_doubt=True)
    # What the provider says of one text alone ("too long") is that document's fault: it embeds others.
    if code in _PROVIDER_CODES or ("embedding_error" in result and not some_written):
        raise ConfigurationError(
            f"TYPESENSE_SCHEMA_FILE: the provider of embeddings that the collection names refuses Typesense ({code})"
        )
    return Rejection(number, f"rejected by Typesense ({code})", str(result.get("error", "")))


def described(answer: Any) -> Mapping[str, Any]:
    """A collection as Typesense describes it. Raises `DependencyUnavailable` for what lacks something that we need."""
    right = (
        isinstance(answer, dict)
        and all(type(answer.get(name)) is int for name in ("created_at", "num_documents"))
        and isinstance(answer.get("fields"), list)
        and all(isinstance(field, dict) and _names_and_types(field) for field in answer["fields"])
    )
    if not right:
        raise DependencyUnavailable("Typesense: something else answers, for it is no description of a collection")
    found: Mapping[str, Any] = answer
    return found


def _names_and_types(field: Mapping[str, Any]) -> bool:
    return isinstance(field.get("name"), str) and isinstance(field.get("type"), str)
