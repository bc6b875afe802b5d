"""Decoding the replies that documents come in, within a bound of memory.

A document of 13 MB with 650,000 subdocuments takes ten times its bytes as Python objects. Invariants: no more than
`PORTION_BYTES` of objects are made at once, by estimate, unless a single document takes more; of portions that take
more than `DENSE_BYTES`, there is one at a time in the process. What takes long is decoded off the event loop.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NamedTuple

import bson

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.source.undecodable import NOT_DECODED, decoded_one_by_one, documents_in

# Decoding more than this would hold up the event loop, where the leases live.
DECODE_INLINE_BYTES = 1_000_000
PORTION_BYTES = 64_000_000
DENSE_BYTES = 96_000_000
# What Python makes of BSON: of a byte of text little more, of short values up to six times their bytes; a dictionary
# takes 260 bytes, a binary 150. Such values begin with these bytes; other bytes that are equal only raise the estimate.
_BYTES_PER_BYTE = 6
_BYTES_BEYOND = ((b"\x03", 260), (b"\x05", 150))
# No value of these takes less than 7 bytes (its type, an empty name, an empty document). So a reply of ordinary size
# needs no estimate, which would take almost as long as decoding it.
MOST_BYTES_PER_BYTE = 45


class DenseDocuments(list[dict[str, Any]]):
    """A portion that takes much memory, and long for whatever is done with it: not on the event loop."""


class Portion(NamedTuple):
    """Documents that may be decoded at once. `dense`: only one such portion may be in memory."""

    raw: bytes
    dense: bool


def decoded_bytes(raw: bytes) -> int:
    """About how much memory these documents take at the most once they are decoded (pure)."""
    return _BYTES_PER_BYTE * len(raw) + sum(size * raw.count(kind) for kind, size in _BYTES_BEYOND)


def portions(raw: bytes) -> Iterator[Portion]:
    """A reply in parts that may be decoded at once: nearly always as a whole (pure). Raises one of `NOT_DECODED`."""
    most = len(raw) * MOST_BYTES_PER_BYTE
    if len(raw) <= DECODE_INLINE_BYTES or most <= PORTION_BYTES or decoded_bytes(raw) <= PORTION_BYTES:
        yield Portion(raw, dense=False)
        return
    start = end = taken = 0
    for document in documents_in(raw):
        size = decoded_bytes(document)
        if end > start and taken + size > PORTION_BYTES:
            yield _portion(raw[start:end], taken)
            start, taken = end, 0
        end, taken = end + len(document), taken + size
    yield _portion(raw[start:end], taken)


def _portion(raw: bytes, size: int) -> Portion:
    return Portion(raw, dense=len(raw) > DECODE_INLINE_BYTES and size > DENSE_BYTES)


def turn_for(portion: Portion, dense_turn: asyncio.Lock) -> AbstractAsyncContextManager[None]:
    """To be held while a portion is decoded and until it is gone."""
    return dense_turn if portion.dense else nullcontext()


async def decode(portion: Portion) -> list[dict[str, Any]]:
    """Decode the documents; those that cannot be decoded say so. Raises one of `NOT_DECODED` for what is no BSON."""
    if len(portion.raw) <= DECODE_INLINE_BYTES:
        return decoded(portion.raw)
    documents = await asyncio.to_thread(decoded, portion.raw)
    return DenseDocuments(documents) if portion.dense else documents


def decoded(raw: bytes) -> list[dict[str, Any]]:
    """The same, at once."""
    try:
        return bson.decode_all(raw, BSON_OPTIONS)
    except NOT_DECODED:
        return decoded_one_by_one(raw)
