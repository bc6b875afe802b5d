"""Reading an export (pure): its lines and the ids in them, on every release of Typesense.

Releases differ if documents are deleted during an export of ids. Up to Typesense 26 the export still shows them; from
27 to 29 it ends there with a line "Not found.", or answers 404 at its start; from 30 on it has a line of plain text in
their place. An export of whole documents looks nothing up, and is complete on every release.

Invariants: an export that ended early is never taken for a complete one. Memory depends neither on the number of
documents nor on the content of one.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator

import orjson

from tsync_stream.core.errors import DependencyUnavailable

_BROKEN_OFF = {"message": "Not found."}
_ERROR_BEGINS = b"Error while getting seq_id of `"
_ERROR_ENDS = b"`: Not found."
_MAJOR_VERSION = re.compile(r"v?(\d+)\.")
_FIRST_THAT_BREAKS_OFF, _FIRST_THAT_DOES_NOT = 27, 30
# Of a longer line only the id is read: as Python objects, a dense document takes thirty times its bytes.
MAX_PARSED_BYTES = 1 << 18
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
# A quote inside a string has a backslash before it, so this never matches inside one.
_ID = re.compile(rb'[{,]"id":("(?:[^"\\]|\\.)*")')


class ExportBrokenOff(DependencyUnavailable):
    """An export of ids ended at a document that was deleted meanwhile."""

    def __init__(self) -> None:
        super().__init__("Typesense: an export of ids ended at a document that was deleted meanwhile")


def breaks_off(debug_answer: bytes) -> bool:
    """Whether the release named in the answer of `/debug` ends exports of ids at deletions; False if none is named."""
    try:
        version = orjson.loads(debug_answer)["version"]
    except (ValueError, LookupError, TypeError):
        return False
    major = _MAJOR_VERSION.match(version) if isinstance(version, str) else None
    return major is not None and _FIRST_THAT_BREAKS_OFF <= int(major[1]) < _FIRST_THAT_DOES_NOT


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Split at line feeds only: JSON texts may hold other characters that end a line, such as U+2028."""
    rest = bytearray()
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest += first
        for other in others:
            if rest:
                yield bytes(rest)
            rest = bytearray(other)
    if rest:
        yield bytes(rest)


async def exported_ids(lines: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """The ids in an export. Raises `ExportBrokenOff`, or `DependencyUnavailable` for anything but an export."""
    in_error = False
    async for line in lines:
        if in_error or line.startswith(_ERROR_BEGINS):
            in_error = not line.endswith(_ERROR_ENDS)  # an id may hold line feeds
        else:
            yield exported_id(line)
    if in_error:
        raise DependencyUnavailable("Typesense: an export says that ids cannot be looked up")


def exported_id(line: bytes) -> str:
    """The id in one line of an export."""
    if len(line) > MAX_PARSED_BYTES:
        return _id_at_the_top(line)
    try:
        document = orjson.loads(line)
        if document == _BROKEN_OFF:
            raise ExportBrokenOff
        return str(document["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise _no_id() from error


def _id_at_the_top(line: bytes) -> str:
    depth = seen = 0
    for found in _ID.finditer(line):
        between = _STRINGS.sub(b"", line[seen : found.start() + 1])
        depth += between.count(b"{") + between.count(b"[") - between.count(b"}") - between.count(b"]")
        if depth == 1:
            return str(orjson.loads(found[1]))
        seen = found.start() + 1
    raise _no_id()


def _no_id() -> DependencyUnavailable:
    return DependencyUnavailable("Typesense: an export holds a line without an id")
