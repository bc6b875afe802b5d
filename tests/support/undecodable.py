"""Documents that MongoDB stores and the driver cannot decode."""

import struct
from typing import Any

from bson.raw_bson import RawBSONDocument

# A binary of subtype 2 has its length a second time inside; MongoDB does not look at that. Type and value.
WRONG_BINARY = b"\x05" + struct.pack("<i", 7) + b"\x02" + struct.pack("<i", 99) + b"abc"


def element(name: str, type_and_value: bytes) -> bytes:
    """A field of a document."""
    return type_and_value[:1] + name.encode() + b"\0" + type_and_value[1:]


def document_of(*fields: bytes) -> bytes:
    """A document of fields."""
    body = b"".join(fields)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def text(value: str) -> bytes:
    """Type and value of a text."""
    return b"\x02" + struct.pack("<i", len(value.encode()) + 1) + value.encode() + b"\0"


def insertion(collection: str, *documents: bytes) -> dict[str, Any]:
    """The command that inserts documents as they are: an `insert_one` would look into them."""
    return {"insert": collection, "documents": [RawBSONDocument(document) for document in documents]}
