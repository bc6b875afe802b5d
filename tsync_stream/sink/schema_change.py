"""Adds fields to a live collection, in one request that does all of it or nothing.

Invariants: a request whose outcome is unknown is not repeated before the collection was looked at. Waiting is bounded,
and the first reason for it is told. Typesense's words reach nobody unless they are about fields alone, because some
quote a document.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import CollectionMissing, check_status, words_in
from tsync_stream.sink.field_options import Field
from tsync_stream.sink.wire import collection_path

# A request may take this long; that is enough for tens of millions of documents.
REQUEST_S = 1_200.0
WAIT_S = 600.0
LOOK_INTERVAL_S = 1.0
# Typesense's reasons that name fields and nothing else. Another one quotes the document that is the reason.
_ABOUT_FIELDS = ("Field `", "Schema change is incompatible")
_DETAIL = " error: "


class FieldsRefused(TsyncError):
    """Typesense refuses to add the fields; the collection is as it was. The message says why, for people."""


async def add_fields(
    target: TypesenseTarget,
    collection: str,
    fields: Sequence[Field],
    tell: Callable[[str], None],
    wait_s: float = WAIT_S,
) -> None:
    """Add fields to a collection that lacks them, and return once it has them.

    `target` needs a deadline of `REQUEST_S`. Raises `FieldsRefused`; `DependencyUnavailable` if another change of the
    schema, or an outage, lasts longer than `wait_s`; and the other errors of Typesense calls.
    """
    until_s = clock.now_s() + wait_s
    told = False
    while True:
        try:
            if await _has(target, collection, fields):
                return
            answer = await target.ask("PATCH", collection_path(collection), {"fields": list(fields)})
            if answer.status == HTTPStatus.BAD_REQUEST and (words := words_in(answer.body)):
                raise FieldsRefused(_why(words))
            # 422: another change of this schema is running, or Typesense is out of disk or memory.
            check_status(answer.status, "a change of the schema", in_doubt=True, body=answer.body)
        except DependencyUnavailable as error:
            if clock.now_s() >= until_s:
                raise
            if not told:
                tell(f"{error}; trying again for {until_s - clock.now_s():.0f} s at most")
                told = True
            await asyncio.sleep(LOOK_INTERVAL_S)
        else:
            return


async def _has(target: TypesenseTarget, collection: str, fields: Sequence[Field]) -> bool:
    live: Mapping[str, Any] | None = await target.collection(collection)
    if live is None:
        raise CollectionMissing
    names = {field["name"] for field in live["fields"]}
    has = [field["name"] in names for field in fields]
    if any(has) and not all(has):
        raise ConfigurationError(f"the collection {collection} has some of the fields meanwhile; nothing was added")
    return all(has)


def _why(words: str) -> str:
    """Typesense's reason, if it is about fields alone."""
    if words.startswith(_ABOUT_FIELDS):
        return f"Typesense refuses it: {words.partition(_DETAIL)[0]}"
    return "Typesense refuses it, because of a stored document."
