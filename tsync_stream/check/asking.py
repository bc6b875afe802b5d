"""What is asked of Typesense for notes that nothing depends on, and how their lists are bounded."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson

from tsync_stream.core.errors import TsyncError
from tsync_stream.sink.client import TypesenseTarget

MOST_NAMED = 10


async def asked(target: TypesenseTarget, path: str) -> Any:
    """The JSON behind a path; None if Typesense does not answer, has no such path, or our key may not read it."""
    try:
        answer = await target.ask("GET", path)
        return orjson.loads(answer.body) if answer.status == HTTPStatus.OK else None
    except (TsyncError, ValueError):
        return None


def some_of(found: Sequence[str]) -> str:
    """The first of these, and how many more there are (pure)."""
    more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more
