"""Creates a missing target behind an alias: the collection `listings_1`, and `listings` as an alias of it.

A collection of the target's own name could never be replaced without a moment of wrong answers: Typesense refuses an
alias of a collection's name, and while it deletes a collection, searches find documents without getting them.

Invariants: a collection that exists is never put behind an alias here, since it may be somebody's own. The alias comes
first: a replica that is killed after that leaves an alias of nothing, and the next one creates what it names. With a
key that may not do all of this, the collection is created under the target's own name.
"""

import logging
from collections.abc import Mapping
from typing import Any

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.events import event
from tsync_stream.sink.aliases import MOST_TAKEN, NOTHING, free_number, show, shown_by
from tsync_stream.sink.client import TypesenseTarget

log = logging.getLogger(__name__)


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
    try:
        shown = await shown_by(target, alias)
        if shown != NOTHING:
            return shown.collection
        number = await free_number(target, alias, 1)
        if number is not None:
            await show(target, alias, f"{alias}_{number}")
            return f"{alias}_{number}"
    except ConfigurationError:  # the key, which may be enough for the collection itself
        return None
    raise ConfigurationError(f"Typesense: all of {alias}_1 to {alias}_{MOST_TAKEN} exist; delete those of no use")
