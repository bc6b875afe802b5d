"""`check`, judged from facts alone: what is wrong, what is only worth knowing, and how each is fixed."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.exceptions
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from rich.console import Console

from tsync_stream.check.findings import Row, version_numbers
from tsync_stream.check.mongo import STATE, MongoFacts, judge_mongo
from tsync_stream.check.redis import RedisFacts, judge_redis
from tsync_stream.check.report import all_healthy, as_json
from tsync_stream.check.sources import READ, SOURCE, CollectionFacts, SourceFacts
from tsync_stream.check.typesense import (
    CREATE,
    DELETE,
    EXPORT,
    GET,
    IMPORT,
    TargetFacts,
    TypesenseFacts,
    judge_typesense,
)
from tsync_stream.cli.check import render
from tsync_stream.core.causes import cause_of
from tsync_stream.core.errors import ConfigurationError, TierLost, TsyncError
from tsync_stream.queue.redis_config import apply_server_settings, differences, directives
from tsync_stream.queue.redis_errors import from_redis
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.source.errors import from_mongo
from tsync_stream.source.hello import hello_of
from tsync_stream.state.dead_letter_counts import Refused

SECRET = "hunter2"
URL = "http://localhost:8108"


def settings_with(**environment: str) -> Settings:
    """Settings that no `.env` has a say in."""
    return load_settings(Path("/nowhere"), environment)


SETTINGS = settings_with()
TABLE = declared_routes(SETTINGS)


def wrong(row: Row) -> list[str]:
    return [finding.text for finding in row.findings if finding.level == "wrong"]


def notes(row: Row) -> list[str]:
    return [finding.text for finding in row.findings if finding.level == "note"]


def fixes(row: Row) -> str:
    return " ".join(" ".join((finding.fix, *finding.lines)) for finding in row.findings)


# ---- versions and failed connections ----


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("6.0.5", (6, 0, 5)), ("8.0.0-rc1", (8, 0, 0)), ("7", (7,)), ("27.0.rc3", (27, 0)), ("", ()), ("nightly", ())],
)
def test_versions_are_compared_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


def test_the_innermost_cause_of_a_failed_connection_is_reported() -> None:
    outer = httpx.ConnectError("All connection attempts failed")
    outer.__cause__ = OSError("several")
    outer.__cause__.__context__ = ConnectionRefusedError(111, "Connect call failed")
    assert cause_of(outer) == "connection refused"
    assert cause_of(httpx.ReadTimeout("")) == "it took too long"
    assert cause_of(RuntimeError(SECRET)) == "the connection failed"


# ---- MongoDB ----

PRIMARY = {"setName": "rs0", "isWritablePrimary": True, "primary": "db1:27017", "hosts": ["db1:27017"]}


CHANGES = "changes"


def mongo(
    settings: Settings = SETTINGS,
    source_type: str | None = "collection",
    failures: Mapping[str, Exception] | None = None,
    refused: Refused | None = None,
    documents: int = 0,
    **facts: Any,
) -> Row:
    """The row of a MongoDB that is healthy except for these facts, with the one route of the environment."""
    failures = failures or {}
    collection = CollectionFacts(source_type, failures)
    namespace = (settings.mongo.database, settings.mongo.collection)
    healthy: dict[str, Any] = {
        "hello": PRIMARY,
        "version": "6.0.5",
        "sources": SourceFacts({namespace: collection}, failures.get(CHANGES)),
        "failures": failures,
        "refused": {settings.route_name: refused or Refused()},
        "documents": {settings.route_name: documents},
    }
    found = {**healthy, **facts}
    return judge_mongo(settings, declared_routes(settings), MongoFacts(**{**found, "hello": hello_of(found["hello"])}))


def refusal(code: int) -> OperationFailure:
    return OperationFailure(f"not authorized on {SECRET}", code)


def translated(code: int) -> TsyncError:
    """As our own calls raise it."""
    error = from_mongo(refusal(code))
    error.__cause__ = refusal(code)
    return error


@pytest.mark.parametrize(
    ("facts", "says", "fix"),
    [
        ({"version": "9.0.0"}, "new reader", "9.0.2"),
        ({"version": "9.0.1"}, "new reader", "9.0.2"),
        ({"oplog_seen": False}, "the database local", "`read` on local"),
    ],
)
def test_notes_about_a_mongodb(facts: Mapping[str, Any], says: str, fix: str) -> None:
    row = mongo(**facts)
    (finding,) = row.findings
    assert row.healthy
    assert says in finding.text
    assert fix in finding.fix


@pytest.mark.parametrize("facts", [{"version": "9.0.2"}, {"hello": {"msg": "isdbgrid"}, "oplog_seen": False}])
def test_a_mongodb_without_these_troubles_has_no_note_about_them(facts: Mapping[str, Any]) -> None:
    assert not [finding for finding in mongo(**facts).findings if "reader" in finding.text or "local" in finding.text]


def test_a_healthy_mongodb_has_no_findings() -> None:
    row = mongo()
    assert (row.reachable, row.version, list(row.findings)) == (True, "6.0.5", [])


@pytest.mark.parametrize(
    ("facts", "says", "fix"),
    [
        ({"hello": {"isWritablePrimary": True}}, "not a replica set", "rs.initiate()"),
        ({"hello": {"isreplicaset": True}}, "not initiated", "rs.initiate()"),
        ({"hello": {"isreplicaset": True}, "direct": True}, "not initiated", "rs.initiate()"),
        ({"version": "4.2.25"}, "too old", "4.4"),
        ({"failures": {CHANGES: translated(59)}}, "not supported", "4.4"),
        ({"failures": {CHANGES: translated(303)}}, "not supported", "4.4"),
        ({"failures": {CHANGES: translated(40324)}}, "not supported", "4.4"),
        ({"failures": {CHANGES: ConfigurationError("no operationTime")}}, "not supported", "4.4"),
        ({"hello": {**PRIMARY, "isWritablePrimary": False}}, "not the primary", "directConnection"),
        ({"source_type": None}, "no collection neatlisting.listings", "MONGODB_COLLECTION"),
        ({"source_type": "view"}, "is a view", "MONGODB_COLLECTION"),
        ({"source_type": "timeseries"}, "is a time series", "MONGODB_COLLECTION"),
        ({"failures": {SOURCE: refusal(13)}}, "may not list neatlisting.listings", "`read` on neatlisting"),
        ({"failures": {READ: refusal(13)}}, "may not read neatlisting.listings", "`read` on neatlisting"),
        ({"failures": {CHANGES: translated(13)}}, "may not open a change stream on", "`read` on neatlisting"),
        ({"failures": {CHANGES: translated(11)}}, "reading neatlisting.listings fails (error 11)", "log"),
        ({"failures": {STATE: refusal(13)}}, "may not write to the database tsync", "`readWrite` on tsync"),
        ({"failures": {STATE: refusal(64)}}, "write to the database tsync fails (error 64)", "members"),
        (
            {"differing": ["PARTITIONS is 8 here, and 4 there"], "replicas_run": True},
            "replicas with other settings share the database tsync: PARTITIONS is 8 here, and 4 there",
            "a STATE_DATABASE of its own",
        ),
    ],
)
def test_what_is_wrong_with_a_mongodb(facts: Mapping[str, Any], says: str, fix: str) -> None:
    row = mongo(**facts)
    (text,) = wrong(row)
    assert says in text
    assert fix in fixes(row)
    assert row.reachable


def test_other_settings_than_the_last_replicas_are_worth_a_note() -> None:
    row = mongo(differing=["DATE_UNIT is ms here, and s there"])
    assert wrong(row) == []
    (finding,) = row.findings
    assert "DATE_UNIT is ms here, and s there" in finding.text
    assert "the next start uses the new ones" in finding.fix


@pytest.mark.parametrize(
    ("uri", "hello", "says"),
    [
        ("mongodb://h/?replicaSet=rsX", PRIMARY, "it is in replica set rs0, not the one MONGODB_URI names"),
        ("mongodb://h/?replicaset=rs0", {"setName": "rs0", "secondary": True}, "has no primary now"),
        ("mongodb://h", PRIMARY, "replica set rs0 tells clients to use db1:27017"),
    ],
)
def test_a_server_that_answers_while_the_driver_finds_no_primary(uri: str, hello: Any, says: str) -> None:
    facts = MongoFacts(error=ServerSelectionTimeoutError("No primary"), hello=hello_of(hello), direct=True)
    (text,) = wrong(judge_mongo(settings_with(MONGODB_URI=uri), TABLE, facts))
    assert says in text


@pytest.mark.parametrize(
    ("error", "reachable", "says"),
    [
        (ServerSelectionTimeoutError("h:1: [Errno 111] Connection refused"), False, "no answer (connection refused)"),
        (ServerSelectionTimeoutError("h:1: timed out"), False, "no answer (it took too long)"),
        (TimeoutError(), False, "no answer (it took too long)"),
        (refusal(18), True, "the user or password is refused"),
        (refusal(8000), True, "it answers with error 8000"),
        (MongoConfigurationError("The DNS query name does not exist"), False, "leads to no server"),
        (MongoConfigurationError("reports wire version 5"), False, "too old for our driver"),
    ],
)
def test_a_mongodb_that_cannot_be_used(error: Exception, reachable: bool, says: str) -> None:
    row = judge_mongo(SETTINGS, TABLE, MongoFacts(error=error))
    (text,) = wrong(row)
    assert says in text
    assert row.reachable is reachable


def test_a_sharded_cluster_is_only_noted() -> None:
    row = mongo(hello={"msg": "isdbgrid", "isWritablePrimary": True})
    assert row.healthy
    assert "sharded" in notes(row)[0]


def test_refused_documents_are_noted_and_too_large_a_share_of_them_is_wrong() -> None:
    few = mongo(refused=Refused({"id collision": 1, "nested too deeply": 2}), documents=300)
    assert few.healthy
    (text,) = notes(few)
    assert text.startswith("3 of about 300 documents are refused (nested too deeply: 2, id collision: 1);")
    (text,) = wrong(mongo(refused=Refused({"id collision": 4}), documents=300))
    assert "more than the share of 0.01 that DEAD_LETTER_ALERT_SHARE allows" in text


# ---- Redis ----

INFO = {
    "redis_version": "7.2.4",
    "role": "master",
    "loading": "0",
    "aof_enabled": "1",
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "maxmemory_policy": "noeviction",
    "run_id": "a",
}
CONFIGURATION = {directive.name: directive.value for directive in directives(SETTINGS.primary_redis)}


def redis_row(
    settings: Settings = SETTINGS,
    configuration: Mapping[str, str] = CONFIGURATION,
    refusal: TsyncError | None = None,
    **info: Any,
) -> Row:
    """The row of a primary Redis that is healthy except for these facts."""
    return judge_redis(settings.primary_redis, RedisFacts(None, {**INFO, **info}, configuration, refusal))


def test_a_healthy_redis_has_no_findings() -> None:
    assert list(redis_row().findings) == []
    assert redis_row().version == "7.2.4"
    assert redis_row(valkey_version="9.1.2").version == "Valkey 9.1.2"


@pytest.mark.parametrize(
    ("info", "says", "fix"),
    [
        ({"redis_version": "6.0.16"}, "too old", "6.2"),
        ({"loading": "1"}, "loading", "wait"),
        ({"role": "slave"}, "replica", "master"),
        ({"maxmemory_policy": "allkeys-lru"}, "maxmemory-policy is allkeys-lru", "maxmemory-policy noeviction"),
        ({"aof_enabled": "0"}, "AOF) is off, but PRIMARY_REDIS_APPEND_ONLY is true", "appendonly yes"),
        ({"aof_last_write_status": "err"}, "append-only file failed", "disk"),
        ({"rdb_last_bgsave_status": "err"}, "snapshot failed", "disk"),
        ({"cluster_enabled": "1"}, "Redis Cluster", "PRIMARY_REDIS_HOST"),
        ({"redis_mode": "cluster"}, "Redis Cluster", "PRIMARY_REDIS_HOST"),
    ],
)
def test_what_is_wrong_with_a_redis(info: Mapping[str, Any], says: str, fix: str) -> None:
    row = redis_row(**info)
    (text,) = wrong(row)
    assert says in text
    assert fix in fixes(row)


def test_the_files_of_a_redis_are_compared_and_noted_with_the_line_that_fixes_them() -> None:
    found = {**CONFIGURATION, "save": "3600 1 300 100", "appendfilename": "a.aof", "dbfilename": "d.rdb"}
    row = redis_row(configuration=found)
    assert row.healthy
    lines = [line for finding in row.findings for line in finding.lines]
    assert lines == ["save 300 1", 'dbfilename "dump.rdb"', 'appendfilename "appendonly.aof"']


def test_the_append_only_file_is_reported_once_though_info_and_config_both_know() -> None:
    row = redis_row(configuration={**CONFIGURATION, "appendonly": "no"}, aof_enabled="0")
    assert len(row.findings) == 1


def test_an_append_only_file_that_nobody_asked_for_is_only_noted() -> None:
    settings = settings_with(PRIMARY_REDIS_APPEND_ONLY="false")
    row = redis_row(settings)
    assert row.healthy
    assert "PRIMARY_REDIS_APPEND_ONLY" in notes(row)[0]


def test_a_configuration_that_cannot_be_seen_is_noted_with_every_line() -> None:
    row = redis_row(configuration={})
    assert row.healthy
    assert "cannot be seen" in notes(row)[0]
    assert "maxmemory-policy noeviction" in row.findings[0].lines


@pytest.mark.parametrize(
    ("error", "reachable", "says"),
    [
        (redis.exceptions.ConnectionError("Error 111 connecting"), False, "no answer at localhost:6379"),
        (redis.exceptions.TimeoutError(), False, "it took too long"),
        (TimeoutError(), False, "it took too long"),
        (redis.exceptions.AuthenticationError("Authentication required."), True, "requires a password"),
        (redis.exceptions.NoPermissionError("no permission"), True, "does not let its user do"),
        (redis.exceptions.BusyLoadingError("loading"), True, "loading"),
        (redis.exceptions.ResponseError("DB index is out of range"), True, "no database 0"),
        (redis.exceptions.InvalidResponse("HTTP"), True, "does not answer like Redis"),
    ],
)
def test_a_redis_that_cannot_be_used(error: Exception, reachable: bool, says: str) -> None:
    row = judge_redis(SETTINGS.primary_redis, RedisFacts(error))
    (text,) = wrong(row)
    assert says in text
    assert row.reachable is reachable


def test_a_password_that_is_refused_is_told_from_one_that_is_missing() -> None:
    settings = settings_with(PRIMARY_REDIS_PASSWORD=SECRET).primary_redis
    row = judge_redis(settings, RedisFacts(redis.exceptions.AuthenticationError("invalid password")))
    assert wrong(row) == ["the password is refused"]


def test_work_that_is_refused_is_wrong_with_the_line_that_allows_it() -> None:
    refusal = from_redis(
        redis.exceptions.NoPermissionError("User x has no permissions to run the 'xadd' command"), "primary"
    )
    row = redis_row(refusal=refusal)
    (text,) = wrong(row)
    assert "`xadd`" in text
    assert row.findings[0].lines == ("ACL SETUSER default ~typesense_sync_queue:* +@all",)


def test_a_refusal_with_a_known_reason_is_reported_once() -> None:
    assert len(wrong(redis_row(role="slave", refusal=TierLost("primary Redis answers READONLY")))) == 1
    assert "OOM" in wrong(redis_row(refusal=TierLost("primary Redis answers OOM")))[0]


def test_two_tiers_on_one_server_are_noted() -> None:
    facts = RedisFacts(None, INFO, {})
    row = judge_redis(SETTINGS.backup_redis, facts, other=facts)
    assert any("both tiers" in text for text in notes(row))


# ---- bringing a Redis server and the settings together ----


class FakeServer:
    """CONFIG of a server; names in `closed` may not be set, `deaf` ones stay as they are, `hidden` shows nothing."""

    def __init__(
        self, found: Mapping[str, str], closed: Sequence[str] = (), deaf: Sequence[str] = (), *, hidden: bool = False
    ) -> None:
        self.found = dict(found)
        self.closed = closed
        self.deaf = deaf
        self.hidden = hidden

    async def __call__(self, *commands: Sequence[str]) -> list[Any]:
        return [self._answer(*command[1:]) for command in commands]

    def _answer(self, verb: str, name: str, value: str = "") -> object:
        if self.hidden:
            return redis.exceptions.ResponseError("unknown command 'CONFIG'")
        if verb == "GET":
            return [name.encode(), self.found[name].encode()] if name in self.found else []
        if name in self.closed:
            return redis.exceptions.NoPermissionError("no permission")
        if name not in self.deaf:
            self.found[name] = value
        return b"OK"


OTHERWISE = {
    "maxmemory-policy": "volatile-lru",
    "appendonly": "no",
    "save": "",
    "dbfilename": "other.rdb",
    "appendfilename": "appendonly.aof",
}


async def test_a_worker_sets_what_it_may_and_warns_of_the_rest() -> None:
    server = FakeServer(OTHERWISE)
    warnings = await apply_server_settings(server, SETTINGS.primary_redis)
    assert server.found == {**OTHERWISE, "appendonly": "yes", "save": "300 1"}
    assert len(warnings) == 2
    assert "`maxmemory-policy noeviction`" in warnings[0]
    assert '`dbfilename "dump.rdb"`' in warnings[1]


async def test_a_worker_warns_of_what_the_server_does_not_let_it_set() -> None:
    server = FakeServer({**CONFIGURATION, "save": ""}, closed=["save"])
    (warning,) = await apply_server_settings(server, SETTINGS.primary_redis)
    assert "`save 300 1`" in warning


async def test_a_server_that_answers_ok_and_changes_nothing_is_not_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = FakeServer({**CONFIGURATION, "save": ""}, deaf=["save"])
    (warning,) = await apply_server_settings(server, SETTINGS.primary_redis)
    assert "does not let us change it" in warning
    assert "`save 300 1`" in warning
    assert caplog.messages == []


async def test_what_is_changed_on_a_server_is_told_with_its_address_and_both_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await apply_server_settings(FakeServer({**CONFIGURATION, "save": "3600 1"}), SETTINGS.primary_redis)
    (line,) = caplog.messages
    assert line.startswith('primary Redis at localhost:6379: `save` was "3600 1" and is "300 1" now')
    assert "REDIS_MANAGE_PERSISTENCE=false" in line


async def test_a_server_that_is_not_ours_to_manage_is_compared_and_left_as_it_is() -> None:
    server = FakeServer(OTHERWISE)
    warnings = await apply_server_settings(server, SETTINGS.primary_redis, manage=False)
    assert server.found == OTHERWISE
    assert len(warnings) == 4


async def test_a_server_that_shows_nothing_gets_one_warning_with_every_line() -> None:
    (warning,) = await apply_server_settings(FakeServer({}, hidden=True), SETTINGS.backup_redis)
    assert all(f"`{directive.line}`" in warning for directive in directives(SETTINGS.backup_redis))


async def test_a_server_that_is_as_it_should_be_is_left_alone() -> None:
    server = FakeServer(CONFIGURATION, closed=list(CONFIGURATION))
    assert await apply_server_settings(server, SETTINGS.primary_redis) == []


@pytest.mark.parametrize(("interval", "save"), [("300s", "300 1"), ("1.5s", "2 1"), ("1h", "3600 1")])
def test_snapshots_are_asked_for_in_whole_seconds(interval: str, save: str) -> None:
    settings = settings_with(PRIMARY_REDIS_SAVE_INTERVAL=interval).primary_redis
    assert {directive.name: directive.value for directive in directives(settings)}["save"] == save


def test_the_name_of_an_append_only_file_that_is_not_written_does_not_matter() -> None:
    settings = settings_with(PRIMARY_REDIS_APPEND_ONLY="false").primary_redis
    assert differences(settings, {**CONFIGURATION, "appendonly": "no", "appendfilename": "x"}) == []


# ---- Typesense ----

HEALTHY = {"ok": True}
ALLOWED = {GET: 200, CREATE: 400, IMPORT: 200, DELETE: 404, EXPORT: 200}


def targets(answers: Mapping[str, int], collection: Any = None) -> dict[str, TargetFacts]:
    """The one collection of the environment."""
    return {SETTINGS.typesense.collection_name: TargetFacts(answers, collection)}


def typesense(answers: Mapping[str, int] = ALLOWED, settings: Settings = SETTINGS, schema: str | None = None) -> Row:
    facts = TypesenseFacts(None, 200, HEALTHY, "0.24.1", targets(answers))
    return judge_typesense(settings.typesense, TABLE, URL, facts, schema)


def test_a_healthy_typesense_has_no_findings() -> None:
    assert list(typesense().findings) == []


def test_a_collection_that_will_be_created_is_only_noted() -> None:
    row = typesense({GET: 404, CREATE: 400, IMPORT: 404, DELETE: 404, EXPORT: 404})
    assert row.healthy
    assert "the first start creates it" in notes(row)[0]


@pytest.mark.parametrize(
    ("answers", "says", "fix"),
    [
        (dict.fromkeys(ALLOWED, 401), "the API key is refused", "TYPESENSE_API_KEY"),
        ({**ALLOWED, GET: 404, CREATE: 401}, "may not create it", "collections:create"),
        ({**ALLOWED, DELETE: 401}, "lacks permissions for listings", "documents:delete"),
        ({**ALLOWED, GET: 403}, "lacks permissions for listings", "collections:get"),
        ({**ALLOWED, IMPORT: 503}, "answers requests with 503", "wait"),
    ],
)
def test_what_is_wrong_with_a_key(answers: Mapping[str, int], says: str, fix: str) -> None:
    row = typesense(answers)
    (text,) = wrong(row)
    assert says in text
    assert fix in fixes(row)


def test_a_key_need_not_create_a_collection_that_exists() -> None:
    assert typesense({**ALLOWED, CREATE: 401}).healthy


@pytest.mark.parametrize(
    ("facts", "reachable", "says"),
    [
        (TypesenseFacts(httpx.ConnectError("refused")), False, f"no answer at {URL}"),
        (TypesenseFacts(httpx.RemoteProtocolError("illegal")), False, "does not answer like Typesense"),
        (TypesenseFacts(None, 404, None), True, "this is not Typesense"),
        (TypesenseFacts(None, 503, {"ok": False}), True, "not healthy (503)"),
        (TypesenseFacts(None, 503, {"ok": False, "resource_error": "OUT_OF_DISK"}), True, "OUT_OF_DISK"),
    ],
)
def test_a_typesense_that_cannot_be_used(facts: TypesenseFacts, reachable: bool, says: str) -> None:
    row = judge_typesense(SETTINGS.typesense, TABLE, URL, facts)
    (text,) = wrong(row)
    assert says in text
    assert row.reachable is reachable


def test_a_schema_file_is_looked_at_before_it_is_needed() -> None:
    assert wrong(typesense(schema='{"fields": [{"name": "title"}]}')) == [
        "the Typesense schema file: field 1 needs a `type`, which must be a text"
    ]


# ---- what is printed ----


def test_a_report_tells_healthy_from_wrong_for_people_and_for_machines() -> None:
    rows = [mongo(source_type=None), redis_row()]
    report = as_json(rows, ["FOO is not a setting"])
    assert report["ok"] is all_healthy(rows) is False
    assert report["warnings"] == ["FOO is not a setting"]
    assert [row["ok"] for row in report["dependencies"]] == [False, True]
    assert report["dependencies"][0]["findings"][0]["level"] == "wrong"

    printed = io.StringIO()
    Console(file=printed, width=120).print(render(rows, ["FOO is not a setting"]))
    assert "1 problem found" in printed.getvalue()
    assert "create it, or set MONGODB_DATABASE" in printed.getvalue()
    assert "warning: FOO" in printed.getvalue()


def test_no_secret_is_printed_whatever_a_server_says() -> None:
    settings = settings_with(
        MONGODB_URI=f"mongodb://user:{SECRET}@db1/?replicaSet=rs0",
        PRIMARY_REDIS_PASSWORD=SECRET,
        TYPESENSE_API_KEY=SECRET,
    )
    rows = [
        judge_mongo(settings, TABLE, MongoFacts(error=refusal(18))),
        judge_mongo(settings, TABLE, MongoFacts(error=ServerSelectionTimeoutError(SECRET))),
        mongo(settings, failures=dict.fromkeys((SOURCE, READ, CHANGES, STATE), refusal(1))),
        judge_redis(settings.primary_redis, RedisFacts(redis.exceptions.ResponseError(SECRET))),
        judge_redis(settings.primary_redis, RedisFacts(redis.exceptions.ConnectionError(SECRET))),
        typesense(dict.fromkeys(ALLOWED, 401), settings),
        judge_typesense(settings.typesense, TABLE, URL, TypesenseFacts(httpx.ConnectError(SECRET))),
    ]
    assert SECRET not in str(as_json(rows, []))


def fields_found(*names: str) -> list[tuple[str, str]]:
    """What is found in a collection with these fields."""
    collection = {"fields": [{"name": name, "type": "int64"} for name in names]}
    answers = {"collections:get": 200}
    row = judge_typesense(
        SETTINGS.typesense, TABLE, URL, TypesenseFacts(None, 200, HEALTHY, "0.24.1", targets(answers, collection))
    )
    return [(finding.level, finding.text) for finding in row.findings if "field" in finding.text]


def test_a_field_for_which_typesense_refuses_other_documents_is_wrong() -> None:
    ((level, text),) = fields_found("title", "title ", "o.x ")
    assert level == "wrong"
    assert "`title `" in text


def test_many_fields_are_noted_with_the_object_that_brings_them() -> None:
    assert fields_found(*(f"prices.{number}" for number in range(999))) == []
    ((level, text),) = fields_found(*(f"prices.{number}" for number in range(1000)))
    assert level == "note"
    assert "inside `prices`" in text


@pytest.mark.parametrize("collection", [None, 5, [], {}, {"fields": None}, {"fields": [1, None, {}, {"name": 5}]}])
def test_an_unforeseen_description_of_the_collection_is_no_crash(collection: object) -> None:
    facts = TypesenseFacts(None, 200, HEALTHY, "0.24.1", targets({"collections:get": 200}, collection))
    assert judge_typesense(SETTINGS.typesense, TABLE, URL, facts).healthy
