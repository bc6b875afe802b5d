"""Reading what Typesense answers (pure): a status, the lines of an import, the lines of an export.

Invariant: every line of an import's answer is looked at, since an import answers 200 even if all lines failed.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from tsync_stream.errors import ConfigurationError, DependencyUnavailable

KEY_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_SUCCESS = b'{"success":true}'


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line that Typesense refuses: its place in the request, and the server's code and words."""

    line: int
    code: int
    error: str


def check_status(status: int, request: str, *, doubtful: bool = False) -> None:
    """Raise what a status means, as `errors.from_typesense` says it of the same in the `typesense` package."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status in KEY_REFUSED:
        raise ConfigurationError(f"TYPESENSE_API_KEY: Typesense refuses it for {request} ({status})")
    if status == HTTPStatus.NOT_FOUND:
        raise ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
    if status == HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(f"TYPESENSE_SCHEMA_FILE: Typesense finds {request} malformed (400)")
    raise DependencyUnavailable(f"Typesense: {request} is answered with {status}", doubtful=doubtful)


def read_import_answer(answer: bytes, expected_lines: int) -> list[Rejection]:
    """The refused lines. Raises `DependencyUnavailable` if it is no answer, or a line failed with 5xx or 422."""
    if answer == b"\n".join([_SUCCESS] * expected_lines):
        return []
    lines = answer.split(b"\n")
    if len(lines) != expected_lines:
        raise DependencyUnavailable(
            f"Typesense: an import of {expected_lines} lines was answered by {len(lines)}", doubtful=True
        )
    rejections = []
    for number, line in enumerate(lines):
        if line == _SUCCESS:
            continue
        try:
            result = orjson.loads(line)
            if result.get("success"):
                continue
            code = int(result.get("code", 400))
        except (ValueError, TypeError, AttributeError) as error:
            raise DependencyUnavailable(
                "Typesense: an import line's answer is no JSON object", doubtful=True
            ) from error
        # 422 is "out of disk or memory" (core_api.cpp), which time mends; other 4xx are the document's own.
        if code >= 500 or code in {408, 422, 429}:
            raise DependencyUnavailable(f"Typesense: an import line answers {code}", doubtful=True)
        rejections.append(Rejection(number, code, str(result.get("error", ""))))
    return rejections


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines between line feeds alone: JSON texts may hold whatever else counts as the end of a line (U+2028)."""
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


def exported_id(line: bytes) -> str:
    """The id in one line of an export."""
    try:
        return str(orjson.loads(line)["id"])
    except (ValueError, LookupError, TypeError) as error:
        raise DependencyUnavailable("Typesense: an export holds a line without an id") from error
