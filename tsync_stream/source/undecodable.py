"""BSON that MongoDB stores but no driver decodes, such as a binary whose inner length is wrong (pure).

Invariant: what cannot be decoded costs its own document or key, and nothing else in the same reply. It is isolated by
the lengths in front of all BSON values, which MongoDB checks when it stores a document.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson.errors import BSONError

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import UnreadableKey

# What the driver raises for bytes that it does not understand.
NOT_DECODED = (BSONError, ValueError, OverflowError, RecursionError)

_FIXED_BYTES = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16}
_FIXED_BYTES |= {0x7F: 0, 0xFF: 0}
_STRINGS = frozenset({0x02, 0x0D, 0x0E})
_WITH_OWN_LENGTH = frozenset({0x03, 0x04, 0x0F})
_BINARY, _REGEX, _DB_POINTER = 0x05, 0x0B, 0x0C


@dataclass(frozen=True, slots=True)
class Element:
    """One field in the bytes of a document: where it starts (with its type), and where its value starts and ends."""

    name: bytes
    start: int
    value: int
    end: int


class Unreadable(dict[str, Any]):
    """A document that exists and cannot be shown: at most its key is known, and the words of its dead letter."""

    def __init__(self, known: Mapping[str, Any], reason: str, detail: str) -> None:
        super().__init__(known)
        self.reason = reason
        self.detail = detail


def decoded_one_by_one(replies: bytes) -> list[dict[str, Any]]:
    """The documents of a reply, each decoded by itself; one that cannot be decoded is `Unreadable`."""
    return [_decoded(document) for document in documents_in(replies)]


def require_readable(document: Mapping[str, Any]) -> None:
    """Raise `DocumentRejected` for a document that could not be read."""
    if isinstance(document, Unreadable):
        raise DocumentRejected(document.reason, document.detail)


def decoded_by_field(document: bytes) -> dict[str, Any]:
    """A document whose fields are decoded one by one; a field that cannot be decoded is an `UnreadableKey`.

    Raises `BSONError` if its lengths are wrong.
    """
    result: dict[str, Any] = {}
    for element in elements(document):
        name = element.name.decode(errors="surrogateescape")
        try:
            alone = bson.decode(_document_of(document[element.start : element.end]), BSON_OPTIONS)
        except NOT_DECODED:
            kind = document[element.start : element.start + 1]
            result[name] = UnreadableKey(kind + document[element.value : element.end])
        else:
            result |= alone
    return result


def documents_in(replies: bytes) -> Iterator[bytes]:
    """The bytes of each of several concatenated documents. Raises `BSONError` if a length is wrong."""
    start = 0
    while start < len(replies):
        end = start + _int32(replies, start)
        if end <= start or end > len(replies):
            raise BSONError("a document's length is wrong")
        yield replies[start:end]
        start = end


def elements(document: bytes) -> Iterator[Element]:
    """The fields of a document, in order. Raises `BSONError` if a length is wrong or a type unknown."""
    start, last = 4, len(document) - 1
    while start < last:
        name_end = document.find(b"\0", start + 1)
        value = name_end + 1
        end = value + _value_bytes(document, document[start], value)
        if name_end < 0 or not value <= end <= last:
            raise BSONError("a field's length is wrong")
        yield Element(document[start + 1 : name_end], start, value, end)
        start = end


def field_of(document: bytes, name: bytes) -> bytes | None:
    """The bytes of a field that holds a document or an array; None if there is no such field."""
    return next((document[found.value : found.end] for found in elements(document) if found.name == name), None)


def _decoded(document: bytes) -> dict[str, Any]:
    try:
        return bson.decode(document, BSON_OPTIONS)
    except NOT_DECODED as error:
        key = next((item for item in elements(document) if item.name == b"_id"), None)
        only_key = b"" if key is None else document[key.start : key.end]
        detail = f"its BSON cannot be decoded ({type(error).__name__})"
        return Unreadable(decoded_by_field(_document_of(only_key)), "unreadable document", detail)


def _document_of(fields: bytes) -> bytes:
    return struct.pack("<i", len(fields) + 5) + fields + b"\0"


def _value_bytes(document: bytes, kind: int, value: int) -> int:
    if kind in _FIXED_BYTES:
        return _FIXED_BYTES[kind]
    if kind in _STRINGS:
        return 4 + _int32(document, value)
    if kind in _WITH_OWN_LENGTH:
        return _int32(document, value)
    if kind == _BINARY:
        return 5 + _int32(document, value)
    if kind == _REGEX:
        return document.find(b"\0", document.find(b"\0", value) + 1) + 1 - value
    if kind == _DB_POINTER:
        return 4 + _int32(document, value) + 12
    raise BSONError("a type is unknown")


def _int32(document: bytes, place: int) -> int:
    try:
        return int(struct.unpack_from("<i", document, place)[0])
    except struct.error as error:
        raise BSONError("it ends too soon") from error
