"""Decoding the replies that documents come in, within a bound of memory.

A document of 13 MB with 650,000 subdocuments takes ten times its bytes as Python objects. Invariants: no more than
`PORTION_BYTES` of objects are made at once, by estimate, unless it is one document alone; of what takes more than
`DENSE_BYTES` there is one portion at a time in the process. What takes long is done off the event loop.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.source.undecodable import NOT_DECODED, decoded_one_by_one, documents_in

# Decoding more than this would hold up the event loop, where the leases live.
DECODE_INLINE_BYTES = 1_000_000
PORTION_BYTES = 64_000_000
DENSE_BYTES = 96_000_000
# What Python makes of BSON: of a byte of a text little more, of short values up to six times their bytes; a dictionary
# has 260 bytes, a binary 150. Such values begin with these bytes; others that are equal only make the estimate higher.
_BYTES_PER_BYTE = 6
_BYTES_BEYOND = ((b"\x03", 260), (b"\x05", 150))


class DenseDocuments(list[dict[str, Any]]):
    """A portion that takes much memory, and long for whatever is done with it: not on the event loop."""


def decoded_bytes(raw: bytes) -> int:
    """About how much memory these documents take when they are decoded, at the most (pure)."""
    return _BYTES_PER_BYTE * len(raw) + sum(size * raw.count(kind) for kind, size in _BYTES_BEYOND)


def portions(raw: bytes) -> Iterator[bytes]:
    """A reply in parts that may be decoded at once: nearly always as a whole (pure). Raises one of `NOT_DECODED`."""
    if len(raw) <= DECODE_INLINE_BYTES or decoded_bytes(raw) <= PORTION_BYTES:
        yield raw
        return
    start = end = taken = 0
    for document in documents_in(raw):
        size = decoded_bytes(document)
        if end > start and taken + size > PORTION_BYTES:
            yield raw[start:end]
            start, taken = end, 0
        end, taken = end + len(document), taken + size
    yield raw[start:end]


def turn_for(portion: bytes, dense_turn: asyncio.Lock) -> AbstractAsyncContextManager[None]:
    """To be held while a portion is decoded and until it is gone."""
    return dense_turn if is_dense(portion) else nullcontext()


def is_dense(portion: bytes) -> bool:
    """Whether only one such portion may be in memory (pure)."""
    return len(portion) > DECODE_INLINE_BYTES and decoded_bytes(portion) > DENSE_BYTES


async def decode(portion: bytes) -> list[dict[str, Any]]:
    """The documents, of which those that cannot be decoded say so. Raises one of `NOT_DECODED` for what is no BSON."""
    if len(portion) <= DECODE_INLINE_BYTES:
        return decoded(portion)
    documents = await asyncio.to_thread(decoded, portion)
    return DenseDocuments(documents) if is_dense(portion) else documents


def decoded(raw: bytes) -> list[dict[str, Any]]:
    """The same, at once."""
    try:
        return bson.decode_all(raw, BSON_OPTIONS)
    except NOT_DECODED:
        return decoded_one_by_one(raw)
