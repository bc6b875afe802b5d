"""Can the routes read what they show: their sources, and the collections of their lookups? Changes nothing.

Invariant: a finding names the collection and, where there are several routes, the route and what declares it.
"""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from tsync_stream.check.fan_out import lookup_findings
from tsync_stream.check.findings import Finding, note, wrong
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.routes.declaration import Namespace
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.collection import described, indexes_of_places, kind_of, problem_of_source
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.errors import MONGO_UNSUPPORTED_CODES, code_of, describe_mongo_error
from tsync_stream.source.stream_scope import StreamScope, scope_of

UNAUTHORIZED = 13
INSTALL = "install MongoDB 4.4 or newer"
# What is tried with a collection; `CollectionFacts.failures` is keyed by these.
SOURCE, READ, INDEXES = "source", "read", "indexes"
REFUSED = {SOURCE: "may not list", READ: "may not read", INDEXES: "may not list the indexes of"}


@dataclass(frozen=True, slots=True)
class CollectionFacts:
    """What one look saw of a collection. `kind` is None if there is no such collection."""

    kind: str | None = None
    failures: Mapping[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What one look saw of all that the routes read. `changes` is why their change stream cannot be opened.

    `lookups` are the findings about what the lookups of each route need.
    """

    collections: Mapping[Namespace, CollectionFacts] = field(default_factory=dict)
    changes: Exception | None = None
    lookups: Sequence[Finding] = ()

    @property
    def not_mongodb(self) -> bool:
        """The server speaks MongoDB's protocol, but its change streams are missing or incomplete."""
        code = code_of(self.changes)
        return code in MONGO_UNSUPPORTED_CODES or (code is None and isinstance(self.changes, ConfigurationError))


# ---- looking ----


async def gather_sources(client: MongoClient, table: RouteTable) -> SourceFacts:
    """Examine everything that the routes read; raises nothing for what the server does or does not answer."""
    changes, collections, lookups = await asyncio.gather(
        _failure_of(_open_and_close(client, scope_of(table.namespaces))),
        asyncio.gather(*(_collection(client, namespace) for namespace in table.namespaces)),
        asyncio.gather(*(_lookups(client, table, name) for name in table)),
    )
    found = [finding for of_route in lookups for finding in of_route]
    return SourceFacts(dict(zip(table.namespaces, collections, strict=True)), changes, found)


async def _collection(client: MongoClient, namespace: Namespace) -> CollectionFacts:
    database, name = namespace
    failures: dict[str, Exception] = {}
    kind = None
    try:
        kind = kind_of(await described(client, database, name))
    except TsyncError as error:
        failures[SOURCE] = error
    majority = client.get_database(
        database, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
    )
    if failure := await _failure_of(majority[name].find_one({}, {"_id": 1})):
        failures[READ] = failure
    if failure := await _failure_of(indexes_of_places(client, database, name)):  # for the schema that is found
        failures[INDEXES] = failure
    return CollectionFacts(kind, failures)


async def _failure_of(work: Awaitable[Any]) -> Exception | None:
    try:
        await work
    except (PyMongoError, TsyncError) as error:
        return error
    return None


async def _open_and_close(client: MongoClient, scope: StreamScope) -> None:
    stream = await ChangeStream.open(client, scope, None, 1)
    await stream.close()


async def _lookups(client: MongoClient, table: RouteTable, route: str) -> list[Finding]:
    try:
        return await lookup_findings(client, table[route])
    except TsyncError as error:
        return [note(f"route {route}: what its lookups need cannot be seen ({describe_mongo_error(error)})")]


# ---- judging ----


def judge_sources(table: RouteTable, facts: SourceFacts, *, from_file: bool) -> Iterator[Finding]:
    """The findings about all that the routes read (pure). `from_file`: a routes file declares them."""
    if refused := list(_rights(table, facts)):
        yield from refused
        return
    missing = list(_kinds(table, facts, from_file=from_file))
    yield from missing
    if any(finding.level == "wrong" for finding in missing):
        return
    if facts.not_mongodb:
        yield wrong("this server is not supported: it lacks MongoDB's change streams", INSTALL)
        return
    for namespace, seen in facts.collections.items():
        if READ in seen.failures:
            yield _fails(".".join(namespace), seen.failures[READ])
    if facts.changes is not None and not any(READ in seen.failures for seen in facts.collections.values()):
        yield _fails(_shown(scope_of(table.namespaces)), facts.changes)
    yield from facts.lookups


def _rights(table: RouteTable, facts: SourceFacts) -> Iterator[Finding]:
    """What MongoDB's user lacks, with a line that grants it. One finding is enough for a database."""
    told = set()
    for (database, name), seen in facts.collections.items():
        for attempt, words in REFUSED.items():
            if code_of(seen.failures.get(attempt)) == UNAUTHORIZED and database not in told:
                told.add(database)
                yield wrong(f"the user {words} {database}.{name}", *_read_on(database))
    scope = scope_of(table.namespaces)
    if code_of(facts.changes) == UNAUTHORIZED and not told:
        text = f"the user may not open a change stream on {_shown(scope)}"
        if scope.is_cluster:
            needed = "the routes read several databases, which takes `changeStream` and `find` on all of them: "
            yield wrong(text, f"{needed}grant the user the role `readAnyDatabase`", _grant("readAnyDatabase", "admin"))
        else:
            yield wrong(text, *_read_on(scope.database))


def _read_on(database: str) -> tuple[str, str]:
    return f"grant the user the role `read` on {database}", _grant("read", database)


def _grant(role: str, database: str) -> str:
    return f'db.grantRolesToUser("USER", [{{role: "{role}", db: "{database}"}}])'


def _shown(scope: StreamScope) -> str:
    return ".".join(scope.namespaces[0]) if scope.is_single else str(scope)


def _kinds(table: RouteTable, facts: SourceFacts, *, from_file: bool) -> Iterator[Finding]:
    """Collections that are missing, or cannot be read as one."""
    for declaration in table.values():
        for namespace in declaration.namespaces:
            seen, name = facts.collections.get(namespace, CollectionFacts()), ".".join(namespace)
            problem = None if SOURCE in seen.failures else problem_of_source(name, seen.kind)
            if problem is None:
                continue
            text, fix = problem
            if not from_file:
                yield wrong(text, fix)
            elif namespace == declaration.source:
                yield wrong(
                    f"route {declaration.route.name}: {text}",
                    f"{'create it, or ' if seen.kind is None else ''}correct its `source` (ROUTES_FILE)",
                )
            elif seen.kind is None:
                yield note(
                    f"route {declaration.route.name}: {text}, so its lookup finds nothing",
                    "nothing to do if documents will be stored there; otherwise correct `lookups` (ROUTES_FILE)",
                )
            else:
                yield wrong(f"route {declaration.route.name}: {text}", "correct its `lookups` (ROUTES_FILE)")


def _fails(what: str, error: Exception) -> Finding:
    return wrong(f"reading {what} fails ({describe_mongo_error(error)})", "look for the cause in the server's log")
