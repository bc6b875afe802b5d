"""What `plan` sees of one route: a sample of its documents, both collections, its lookups. Changes nothing.

Invariant: every part ends by itself within some seconds, whatever the size of the collections; what is estimated says
so.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.errors import PyMongoError

from tsync_stream.check.fan_out import Width, widths
from tsync_stream.core import clock
from tsync_stream.core.errors import DocumentRejected, RouteUnusable
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import Key
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import SAMPLE_TIME_S, declared_schema
from tsync_stream.routes.projector import Projector
from tsync_stream.routes.proposal import Proposal, propose
from tsync_stream.routes.sampling import Judge, Sample, observe, untyped
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.mapping_plan import MappingOptions, Plan
from tsync_stream.sink.schema_effect import Effect, effect
from tsync_stream.source.collection import indexes_of_places
from tsync_stream.source.documents import DocumentReader, source_collection
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.errors import code_of, from_mongo
from tsync_stream.source.sample import Size, sample_keys, size_of

COUNT_TIME_MS = 3_000
# So many ids of the sample are looked up in Typesense.
LOOKED_UP = 1_000


@dataclass(frozen=True, slots=True)
class Count:
    """A number of documents; `exact`, or an estimate."""

    number: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.number:,}" if self.exact else f"about {self.number:,}"


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """One route. `live` and `declared` are schemas, or None. `matching` documents are in the route's view.

    `wanted` is the schema that the collection would be created with. `added` and `removed` documents are those that
    the first reconcile would bring into Typesense and delete there. `problem`: why no document can be read at all.
    """

    declaration: Declaration
    size: Size
    matching: Count
    sample: Sample
    proposal: Proposal
    live: Mapping[str, Any] | None
    declared: Mapping[str, Any] | None
    effect: Effect | None
    added: Count
    removed: Count
    widths: Sequence[Width]
    problem: str = ""

    @property
    def wanted(self) -> Mapping[str, Any]:
        """What is declared, or else the proposal."""
        return self.proposal.schema if self.declared is None else self.declared


@dataclass(frozen=True, slots=True)
class Servers:
    """What is asked. `open_reader` makes a reader of documents as the routes' views show them."""

    settings: Settings
    client: MongoClient
    target: TypesenseTarget
    open_reader: Callable[[], DocumentReader]

    @property
    def options(self) -> MappingOptions:
        """The mapping's options."""
        return MappingOptions(date_unit=self.settings.date_unit)


async def gather_route(servers: Servers, declaration: Declaration) -> RouteFacts:
    """Look at one route. Raises the errors of both servers, and `ConfigurationError` for a wrong schema file."""
    route, client = declaration.route, servers.client
    declared = declared_schema(declaration, servers.settings.typesense.schema_file)
    live, size, places = await asyncio.gather(
        servers.target.collection(route.target),
        size_of(client, route),
        indexes_of_places(client, route.database, route.collection),
    )
    schema = live or declared
    judge = None if schema is None else Judge(Projector(Plan(servers.options, schema)), schema)
    counting = asyncio.ensure_future(_count(client, declaration))
    looking = asyncio.ensure_future(widths(client, declaration))
    reader = servers.open_reader()
    try:
        keys = await sample_keys(client, route, declaration.filter, size)
        sample, problem = Sample(), ""
        until_s = clock.now_s() + SAMPLE_TIME_S
        try:
            sample = await observe(reader, route, keys, untyped(servers.options, route.target), until_s, judge)
        except RouteUnusable as error:
            problem = str(error)
        matching = _whole(size, sample) or await counting or _estimated(size, len(keys), sample)
        added, removed = await _differences(servers.target, declaration, live, keys, matching)
        proposal = propose(sample.observations, places)
        found = declared or proposal.schema
        return RouteFacts(
            declaration,
            size,
            matching,
            sample,
            proposal,
            live,
            declared,
            None if live is None else effect(found, live, types_alone=declared is None),
            added,
            removed,
            await looking,
            problem,
        )
    finally:
        counting.cancel()
        looking.cancel()
        await reader.close()


async def _count(client: MongoClient, declaration: Declaration) -> Count | None:
    """How many documents the filter matches; None if that takes too long."""
    source = source_collection(client, declaration.route)
    try:
        if not declaration.filter:
            return Count(int(await source.estimated_document_count(maxTimeMS=COUNT_TIME_MS)), exact=False)
        return Count(int(await source.count_documents(declaration.filter, maxTimeMS=COUNT_TIME_MS)), exact=True)
    except PyMongoError as error:
        if code_of(error) is None:
            raise from_mongo(error) from error
        return None


def _whole(size: Size, sample: Sample) -> Count | None:
    """The number of documents where the sample is all of them."""
    all_of_them = sample.complete and size.documents <= size.most_keys
    return Count(sample.documents, exact=True) if all_of_them else None


def _estimated(size: Size, keys: int, sample: Sample) -> Count:
    return Count(size.documents * sample.documents // max(1, keys), exact=False)


async def _differences(
    target: TypesenseTarget,
    declaration: Declaration,
    live: Mapping[str, Any] | None,
    keys: Sequence[Key],
    matching: Count,
) -> tuple[Count, Count]:
    """How many documents a reconcile would add, and how many it would delete."""
    if live is None:
        return matching, Count(0, exact=True)
    asked = [document_id for document_id in map(_id_of, keys[:LOOKED_UP]) if document_id is not None]
    found = 0
    async for _ in target.documents(declaration.route.target, asked):
        found += 1
    shown = matching.number * found // max(1, len(asked))
    exact = matching.number <= len(asked) == len(keys)
    if exact:
        shown = found
    indexed = int(live["num_documents"])
    return Count(matching.number - shown, exact), Count(max(0, indexed - shown), exact)


def _id_of(key: Key) -> str | None:
    try:
        return typesense_id(key)
    except DocumentRejected:
        return None
