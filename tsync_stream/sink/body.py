"""The body of an import: documents line by line, in UTF-8 where it is short, in ASCII where it is long.

Typesense takes a body that is longer than its window in pieces, wherever they end, and silently drops a character that
is cut in two there (seen with 0.24.1, whose window is 196,605 bytes: ACTIVE_STREAM_WINDOW_SIZE in http_server.h; a
shorter body is whole, in however many packets it comes). Invariant: in a longer one no character has more than one
byte, so that none can be cut. What takes long is done off the event loop.
"""

import asyncio
import json
from collections.abc import Sequence
from functools import lru_cache

import orjson

_ASCII = bytes(range(128))
_LAST_OF_LATIN_1 = "\xff"
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
# So many different ones, as texts of one language mostly have, are replaced one after the other in the whole body at
# once. That takes a fifth of the time of encoding each line anew.
MAX_REPLACED = 16
# In Latin-1 they are one byte each, and to find those takes a twentieth of the time of finding two in a row.
MAX_REPLACED_OF_LATIN_1 = 64
# A body up to this is never taken in pieces. An escape makes it up to three times as long, and Typesense slower.
MAX_WHOLE_BYTES = 190_000
# Escaping more than this would hold up the event loop, where the leases live.
ENCODE_INLINE_BYTES = 1 << 18
# Two bytes of UTF-8 become the six of an escape, four become twelve.
ESCAPED_GROWTH = 3


async def encoded(lines: Sequence[bytes]) -> bytes:
    """`import_body`, off the event loop where it takes long."""
    if sum(map(len, lines)) <= ENCODE_INLINE_BYTES or all(map(bytes.isascii, lines)):
        return import_body(lines)
    return await asyncio.to_thread(import_body, lines)


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
