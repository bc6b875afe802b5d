"""A route's Typesense collection: created if it is missing, by the declared schema or by one found in a sample.

Invariants: a declared schema is used as it is, and a live collection is left alone. A schema is found only for a
collection that is missing; if another replica creates it meanwhile, that one is used. An empty source, or a proposal
that Typesense refuses, leaves all types to Typesense. What is logged names fields, never values.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.events import event
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declared import of_route
from tsync_stream.routes.proposal import Proposal, propose
from tsync_stream.routes.sampling import observe, untyped
from tsync_stream.sink.carry_over import inherited
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.creation import create_behind_alias
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.sink.schema import default_schema, load_schema
from tsync_stream.source.collection import indexes_of_places
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.sample import sample_keys, size_of

log = logging.getLogger(__name__)

# Reading a sample ends after this, with what was read until then.
SAMPLE_TIME_S = 6.0
_MOST_LOGGED = 50

FindSchema: TypeAlias = Callable[[Declaration], Awaitable[Proposal | None]]


class ComesLater(DependencyUnavailable):
    """A collection is not created yet, because it refers to one that is missing."""


async def prepare_collection(
    target: TypesenseTarget,
    declaration: Declaration,
    schema_file: Path | None,
    find: FindSchema,
    like: str | None = None,
    after: Sequence[str] = (),
) -> Mapping[str, Any]:
    """The live schema of the route's Typesense collection, which is created if it is missing.

    `like` is a collection in whose place it is to be shown: where no schema is declared, settings that only a creation
    can give are taken from it. Raises `ComesLater` unless the targets in `after` exist (`joins.py`),
    `ConfigurationError` if the schema file cannot be read or is not valid, or Typesense refuses what is declared; and
    the errors of both servers.
    """
    route, name = declaration.route.name, declaration.route.target
    live = await target.collection(name)
    if live is not None:
        return live
    for other in after:
        if await target.collection(other) is None:
            raise ComesLater(f"{name} is created as soon as {other} exists, to which its schema refers")
    create = target.create_collection if declaration.route.pinned else partial(create_behind_alias, target)
    declared = declared_schema(declaration, schema_file)
    if declared is not None:
        of = "TYPESENSE_SCHEMA_FILE" if declaration.schema is None else of_route("schema", declaration.route)
        return await create(declared, of)
    before = {} if like is None else await target.collection(like) or {}
    proposal = await find(declaration)
    if proposal is None or not proposal.fields:
        log.info(
            "route %s: no documents to find a schema in; Typesense detects all types",
            route,
            extra=event("route.schema", route=route),
        )
        return await create(inherited(default_schema(name), before))
    try:
        made = await create(inherited({**proposal.schema, "name": name}, before), "the proposal")
    except ConfigurationError as refused:
        log.warning(
            "route %s: Typesense detects all types; %s", route, refused, extra=event("route.schema", route=route)
        )
        return await create(inherited(default_schema(name), before))
    _log_proposal(declaration, proposal)
    return made


def declared_schema(declaration: Declaration, schema_file: Path | None) -> dict[str, Any] | None:
    """The schema that a route or the settings declare, with the name of the collection; None if there is none.

    Raises `ConfigurationError` for a file that cannot be read or is not valid.
    """
    name = declaration.route.target
    if declaration.schema is not None:
        return {"enable_nested_fields": True, **declaration.schema, "name": name}
    if schema_file is None:
        return None
    try:
        text = schema_file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"TYPESENSE_SCHEMA_FILE: it cannot be read ({type(error).__name__})") from error
    return load_schema(text, name)


async def found_schema(
    client: MongoClient, open_reader: Callable[[], DocumentReader], options: MappingOptions, declaration: Declaration
) -> Proposal | None:
    """The proposal for a sample of the route's documents; None if there are none. Raises the errors of `from_mongo`."""
    route = declaration.route
    places = await indexes_of_places(client, route.database, route.collection)
    keys = await sample_keys(client, route, declaration.filter, await size_of(client, route))
    reader = open_reader()
    until_s = clock.now_s() + SAMPLE_TIME_S
    try:
        sample = await observe(reader, route, keys, untyped(options, route.target), until_s)
    finally:
        await reader.close()
    return propose(sample.observations, places) if sample.observations.documents else None


def _log_proposal(declaration: Declaration, proposal: Proposal) -> None:
    name = declaration.route.name
    log.info(
        "route %s: the Typesense collection has %d fields, found in a sample; `plan` shows them, and a schema replaces "
        "them",
        name,
        len(proposal.fields),
        extra=event("route.schema", route=name),
    )
    for conflict in proposal.conflicts[:_MOST_LOGGED]:
        log.log(
            logging.WARNING if conflict.level == "conflict" else logging.INFO,
            "route %s: %s",
            name,
            conflict,
            extra=event("route.schema", route=name),
        )
    if len(proposal.conflicts) > _MOST_LOGGED:
        log.warning(
            "route %s: `plan` shows %d more",
            name,
            len(proposal.conflicts) - _MOST_LOGGED,
            extra=event("route.schema", route=name),
        )
