"""Documents that MongoDB stores although the driver cannot decode them."""

import struct
from typing import Any

from bson.raw_bson import RawBSONDocument

# Type and value of a binary of subtype 2, which repeats its length inside; MongoDB does not check that.
WRONG_BINARY = b"\x05" + struct.pack("<i", 7) + b"\x02" + struct.pack("<i", 99) + b"abc"


def element(name: str, type_and_value: bytes) -> bytes:
    """The bytes of a field."""
    return type_and_value[:1] + name.encode() + b"\0" + type_and_value[1:]


def document_of(*fields: bytes) -> bytes:
    """The bytes of a document with these fields."""
    body = b"".join(fields)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def text(value: str) -> bytes:
    """Type and value of a string."""
    return b"\x02" + struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"


def insertion(collection: str, *documents: bytes) -> dict[str, Any]:
    """The command that inserts documents as raw bytes; `insert_one` would decode them."""
    return {"insert": collection, "documents": [RawBSONDocument(document) for document in documents]}
