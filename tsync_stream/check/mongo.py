"""Can MongoDB be the source, and keep our state? Changes nothing: its one write matches no document."""

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pymongo import ReadPreference
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import PyMongoError, ServerSelectionTimeoutError

from tsync_stream.check.findings import DEADLINE_S, Finding, Row, note, version_numbers, wrong
from tsync_stream.check.sources import INSTALL, UNAUTHORIZED, SourceFacts, gather_sources, judge_sources
from tsync_stream.check.tls import OF_MONGODB, tls_fix
from tsync_stream.cluster.membership_view import read_membership
from tsync_stream.cluster.tables import differing_routes
from tsync_stream.core.errors import TsyncError
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.addresses import redacted_uri
from tsync_stream.settings.common import common_settings, differences
from tsync_stream.settings.load import Settings
from tsync_stream.source.documents import count_documents
from tsync_stream.source.driver import MongoClient, command_client
from tsync_stream.source.errors import code_of, describe_mongo_error, words_of
from tsync_stream.source.hello import Hello, hello_of, version_of
from tsync_stream.source.oplog import read_oplog
from tsync_stream.state.database import PIPELINE, state_database
from tsync_stream.state.dead_letter_counts import Refused, describe, refused_among, what_to_do
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection

OLDEST_VERSION = (4, 4)
# Their new change stream reader was switched off again in 9.0.2.
DOUBTFUL_VERSIONS = frozenset({(9, 0, 0), (9, 0, 1)})
# How long the driver may look for a primary, and then for the server itself; together less than DEADLINE_S.
SELECTION_TIMEOUT_MS = 2_500
DIRECT_TIMEOUT_MS = 1_000

AUTHENTICATION_FAILED = 18
INITIATE = "mongosh --eval 'rs.initiate()'"

# What a check attempts; `MongoFacts.failures` is keyed by these.
STATE, LETTERS, OPLOG = "state", "letters", "oplog"


@dataclass(frozen=True, slots=True)
class MongoFacts:
    """What one look saw. `hello` is None if no server answered, not even without the replica set's name.

    `error` is why the driver found no primary. `direct`: `hello` comes from a direct connection to the one server of
    the URI. `failures` has the errors of single attempts. `differing` says which settings differ from those of the
    pipeline's last replicas, and `other_table` which routes do. `refused` and `documents`, an estimate of the source's
    size, are by route.
    """

    error: Exception | None = None
    hello: Hello | None = None
    direct: bool = False
    version: str = ""
    sources: SourceFacts = field(default_factory=SourceFacts)
    differing: Sequence[str] = ()
    other_table: str = ""
    replicas_run: bool = False
    refused: Mapping[str, Refused] = field(default_factory=dict)
    documents: Mapping[str, int] = field(default_factory=dict)
    oplog_seen: bool = True
    failures: Mapping[str, Exception] = field(default_factory=dict)


# ---- looking ----


async def gather_mongo(settings: Settings, table: RouteTable) -> MongoFacts:
    """Examine the server; never raises for what it does or does not answer."""
    error: Exception
    try:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await _look(settings, table)
            except ServerSelectionTimeoutError as failure:
                error = failure
            hello = await _hello_from_one_server(settings.mongo.uri)
            return MongoFacts(error=error, hello=hello, direct=True)
    except (PyMongoError, TsyncError, OSError) as failure:  # the deadline's TimeoutError is an OSError
        return MongoFacts(error=failure)


async def _look(settings: Settings, table: RouteTable) -> MongoFacts:
    client = command_client(
        settings.mongo.uri, SELECTION_TIMEOUT_MS, SELECTION_TIMEOUT_MS, appname="tsync-stream check"
    )
    try:
        hello = hello_of(await client.admin.command("hello", read_preference=ReadPreference.PRIMARY))
        version = version_of(await client.admin.command("buildInfo"))
        failures: dict[str, Exception] = {}

        async def attempt(name: str, work: Awaitable[Any]) -> Any:
            try:
                return await work
            except (PyMongoError, TsyncError) as error:
                failures[name] = error

        sources, state, letters, oplog = await asyncio.gather(
            gather_sources(client, table),
            attempt(STATE, _use_state(client, settings, table)),
            attempt(LETTERS, _count_letters(client, settings, table)),
            attempt(OPLOG, read_oplog(client)),
        )
        differing, other_table, replicas_run = state or ((), "", False)
        refused, documents = letters or ({}, {})
        return MongoFacts(
            hello=hello,
            version=version,
            sources=sources,
            differing=differing,
            other_table=other_table,
            replicas_run=replicas_run,
            refused=refused,
            documents=documents,
            oplog_seen=oplog is not None or OPLOG in failures,
            failures=failures,
        )
    finally:
        client.close()


async def _hello_from_one_server(uri: str) -> Hello | None:
    """What a URI's only server answers, whichever replica set it is in; None for several servers, or no answer."""
    try:
        client = command_client(uri, DIRECT_TIMEOUT_MS, DIRECT_TIMEOUT_MS, replicaSet=None, directConnection=True)
    except (MongoConfigurationError, OSError):
        return None
    try:
        return hello_of(await client.admin.command("hello"))
    except PyMongoError:
        return None
    finally:
        client.close()


async def _use_state(client: MongoClient, settings: Settings, table: RouteTable) -> tuple[Sequence[str], str, bool]:
    """Try a majority-confirmed write. Returns how other replicas' settings and routes differ, and whether any runs."""
    database = state_database(client, settings.state_database)
    await database[PIPELINE].update_one({"_id": f"check:{uuid4()}"}, {"$set": {"never": "written"}})
    membership = await read_membership(database)
    replicas_run = any(not (replica.expired or replica.dead) for replica in membership.replicas.values())
    other_table = differing_routes(membership.table, table) if membership.table else ""
    return differences(membership.settings, common_settings(settings)), other_table, replicas_run


async def _count_letters(
    client: MongoClient, settings: Settings, table: RouteTable
) -> tuple[dict[str, Refused], dict[str, int]]:
    records = DeadLetterRecords(state_database(client, settings.state_database))
    counts = await records.count_by_reason(Selection(), "open")
    refused = {name: refused_among(count for count in counts if count.route == name) for name in table}
    some = [route for route in table.routes if refused[route.name].total]
    sizes = await asyncio.gather(*(count_documents(client, route.database, route.collection) for route in some))
    return refused, {route.name: size for route, size in zip(some, sizes, strict=True)}


# ---- judging ----


def judge_mongo(settings: Settings, table: RouteTable, facts: MongoFacts) -> Row:
    """The row of MongoDB (pure)."""
    hello = facts.hello
    if hello is None:
        findings = [_unreachable(facts.error)]
    elif not hello.set_name and not hello.sharded:
        findings = [_no_replica_set(hello)]
    elif facts.direct:
        findings = [_no_primary(settings, hello)]
    else:
        from_file = settings.routes_file is not None
        sources = judge_sources(table, facts.sources, from_file=from_file)
        findings = [*_server(facts, hello), *sources, *_state(settings, facts)]
        findings += _letters(settings, table, facts)
    answered = hello is not None or code_of(facts.error) is not None
    return Row("MongoDB", redacted_uri(settings.mongo.uri), answered, facts.version, findings)


def _unreachable(error: Exception | None) -> Finding:
    code = code_of(error)
    if code in {UNAUTHORIZED, AUTHENTICATION_FAILED}:
        return wrong("the user or password is refused", "correct the user, the password or authSource in MONGODB_URI")
    if code is not None:
        return wrong(f"it answers with error {code}", "look for the cause in the server's log")
    if isinstance(error, MongoConfigurationError):
        if "wire version" in str(error):
            return wrong("its version is too old for our driver", INSTALL)
        return wrong(
            "MONGODB_URI leads to no server: the driver refuses it",
            "for mongodb+srv://, check that its DNS records exist; otherwise, its options contradict each other",
        )
    cause = words_of(error)
    return wrong(f"no answer ({cause})", tls_fix(cause, OF_MONGODB) or "start the server, or correct MONGODB_URI")


def _no_replica_set(hello: Hello) -> Finding:
    if hello.uninitiated:
        return wrong("its replica set is not initiated, so it has no change streams", "initiate it once:", INITIATE)
    return wrong(
        "it is not a replica set, so it has no change streams (error 40573)",
        "start mongod with `--replSet rs0` (or `replication.replSetName: rs0` in mongod.conf; one member is enough), "
        "then initiate the set once:",
        INITIATE,
    )


def _no_primary(settings: Settings, hello: Hello) -> Finding:
    """The server answers a direct connection, but the driver finds no primary through the URI."""
    name, members = hello.set_name, ", ".join(hello.members)
    named = re.search(r"[?&]replicaset=([^&]*)", settings.mongo.uri, re.IGNORECASE)
    if named and named[1] != name:
        return wrong(
            f"it is in replica set {name}, not the one MONGODB_URI names", f"set replicaSet={name} in MONGODB_URI"
        )
    if not hello.primary:
        return wrong(
            f"replica set {name} has no primary now",
            "wait for the election; if it does not end, start the other members",
        )
    return wrong(
        f"replica set {name} tells clients to use {members}, but its primary cannot be reached from here "
        "under that name",
        "make these names reachable, or change them with rs.reconfig(); for a set of one member, "
        "directConnection=true in MONGODB_URI is enough",
    )


def _server(facts: MongoFacts, hello: Hello) -> Iterator[Finding]:
    if version_numbers(facts.version) < OLDEST_VERSION:
        yield wrong(f"version {facts.version} is too old", INSTALL)
    if version_numbers(facts.version) in DOUBTFUL_VERSIONS:
        yield note(
            f"the change streams of {facts.version} have a new reader that MongoDB withdrew in 9.0.2",
            "install 9.0.2 or newer",
        )
    if not hello.sharded and not facts.oplog_seen:
        text = "the user may not read the database local, so the oplog's remaining time cannot be seen"
        yield note(text, "grant the user the role `read` on local")
    if hello.sharded:
        yield note("it is a sharded cluster: that should work, but is untested")
    elif not hello.writable:
        yield wrong("it is not the primary", "name all members in MONGODB_URI, without directConnection")


def _state(settings: Settings, facts: MongoFacts) -> Iterator[Finding]:
    name = settings.state_database
    error = facts.failures.get(STATE)
    if code_of(error) == UNAUTHORIZED:
        yield wrong(f"the user may not write to the database {name}", f"grant the user the role `readWrite` on {name}")
    elif error is not None:
        text = f"a majority-confirmed write to the database {name} fails ({describe_mongo_error(error)})"
        yield wrong(text, "check that most members of the replica set run and are not far behind")
    elif facts.differing and facts.replicas_run:
        text = f"replicas with other settings share the database {name}: {'; '.join(facts.differing)}"
        yield wrong(text, "give all replicas the same settings, or this deployment a STATE_DATABASE of its own")
    elif facts.differing:
        text = f"the last replicas that shared the database {name} had other settings: {'; '.join(facts.differing)}"
        yield note(
            text,
            "nothing to do if you changed them: the next start uses the new ones. Another deployment needs "
            "a STATE_DATABASE of its own",
        )
    if facts.other_table and not facts.differing:
        running = "the replicas that run have" if facts.replicas_run else "the last replicas had"
        yield note(
            f"{running} another table of routes: {facts.other_table}",
            "nothing to do if you changed the routes file (ROUTES_FILE): replicas that start with this one take over, "
            "unless it is an older one",
        )


def _letters(settings: Settings, table: RouteTable, facts: MongoFacts) -> Iterator[Finding]:
    share = settings.dead_letter_alert_share
    for name, refused in facts.refused.items():
        documents = facts.documents.get(name, 0)
        level = refused.level(documents, share)
        if level != "green":
            find = wrong if level == "red" else note
            of_route = f"route {name}: " if len(table) > 1 else ""
            yield find(f"{of_route}{describe(refused, documents, share)}", what_to_do(table.option(name)))
