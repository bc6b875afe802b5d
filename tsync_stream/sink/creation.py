"""Creates a missing target behind an alias: the collection `listings_1`, and `listings` as an alias of it.

A collection of the target's own name could never be replaced without a moment of wrong answers: Typesense refuses an
alias of a collection's name, and while it deletes a collection, searches find documents without getting them.

Invariants: a collection that exists is never put behind an alias here, since it may be somebody's own. The alias comes
first: a replica that is killed after that leaves an alias of nothing, and the next one creates what it names. With a
key that may not do all of this, the collection is created under the target's own name.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.events import event
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, check_status

log = logging.getLogger(__name__)

# Collections `listings_1`, `listings_2` … that are looked at for a name that is free.
MOST_NAMES = 100


async def create_behind_alias(
    target: TypesenseTarget, schema: Mapping[str, Any], declared_by: str = "TYPESENSE_SCHEMA_FILE"
) -> Mapping[str, Any]:
    """Create the collection of a schema whose name no collection has; returns it as Typesense describes it.

    Raises the errors of `TypesenseTarget.create_collection`.
    """
    alias = str(schema["name"])
    name = await _named_by(target, alias)
    if name is None:
        log.info(
            "Typesense: the collection %s has no alias before it, since the API key may use no aliases or no "
            "collections of names like %s_1. A reindex could not replace it without a moment of wrong answers",
            alias,
            alias,
            extra=event("typesense.no_alias"),
        )
    return await target.create_collection({**schema, "name": name or alias}, declared_by)


async def _named_by(target: TypesenseTarget, alias: str) -> str | None:
    """The collection that the alias names, made if there is none; None if the key may not."""
    path = f"/aliases/{quote(alias, safe='')}"
    answer = await target.ask("GET", path)
    if answer.status == HTTPStatus.OK:
        return str(orjson.loads(answer.body)["collection_name"])
    if answer.status in KEY_REFUSED or (name := await _free_name(target, alias)) is None:
        return None
    answer = await target.ask("PUT", path, {"collection_name": name})
    if answer.status in KEY_REFUSED:
        return None
    check_status(answer.status, "an alias", body=answer.body)
    return name


async def _free_name(target: TypesenseTarget, alias: str) -> str | None:
    for number in range(1, MOST_NAMES + 1):
        name = f"{alias}_{number}"
        answer = await target.ask("GET", f"/collections/{quote(name, safe='')}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return name
        if answer.status in KEY_REFUSED:
            return None
        check_status(answer.status, "a look at a collection", body=answer.body)
    raise ConfigurationError(f"Typesense: all of {alias}_1 to {alias}_{MOST_NAMES} exist; delete those of no use")
