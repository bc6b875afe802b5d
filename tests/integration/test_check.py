"""`check` against real servers in every state that it distinguishes. It must not change anything."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tests.support.worker import free_port
from tsync_stream.check.findings import DEADLINE_S, Row
from tsync_stream.check.report import check_dependencies
from tsync_stream.embedded import EmbeddedStack, MongoServer, RedisServer
from tsync_stream.embedded.supervised import accepts_connections
from tsync_stream.queue.redis_client import ask_each, connect
from tsync_stream.queue.redis_config import apply_server_settings
from tsync_stream.settings.load import Settings, load_settings

MONGO, PRIMARY, BACKUP, TYPESENSE = range(4)


@pytest.fixture
def settings(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Callable[..., Settings]:
    """Settings that point to the stack, apart from the given ones."""

    def make(**changed: str) -> Settings:
        return load_settings(tmp_path, {**stack.environment(), **names.environment(), **changed})

    return make


@pytest.fixture
def source(stack: EmbeddedStack, names: Names) -> None:
    """The source collection exists."""
    with mongo_client(stack) as client:
        client[names.database].create_collection(names.collection)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server that a test may reconfigure."""
    with EmbeddedStack(tmp_path / "own", servers=["primary_redis"]) as own:
        yield own.primary_redis


def wrong(row: Row) -> list[str]:
    return [finding.text for finding in row.findings if finding.level == "wrong"]


def everything(stack: EmbeddedStack) -> object:
    """Everything that a check could change."""
    with mongo_client(stack) as mongo:
        found: list[Any] = [sorted(mongo.list_database_names())]
    for server in (stack.primary_redis, stack.backup_redis):
        with redis_client(server) as redis:
            found += [redis.dbsize(), redis.config_get("*")]
    with typesense_client(stack) as typesense:
        found.append(typesense.get("/collections").json())
    return found


@pytest.mark.usefixtures("source")
async def test_healthy_servers_pass_and_are_left_unchanged(
    stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    before = everything(stack)
    rows = await check_dependencies(settings())
    assert [wrong(row) for row in rows] == [[], [], [], []]
    assert all(row.reachable and row.version for row in rows)
    assert everything(stack) == before


# ---- MongoDB ----


async def test_a_missing_source_collection_is_found(settings: Callable[..., Settings], names: Names) -> None:
    rows = await check_dependencies(settings())
    assert wrong(rows[MONGO]) == [f"there is no collection {names.database}.{names.collection}"]


class LoneMongo(MongoServer):
    """mongod without a replica set, or with one that was never initiated."""

    def __init__(self, directory: Path, executable: Path | None, *, replica_set: bool) -> None:
        super().__init__("lone", directory, [])
        self.executable = executable
        self.ports = {"port": free_port()}
        self._replica_set = replica_set

    def _arguments(self) -> list[str]:
        arguments = super()._arguments()
        if not self._replica_set:
            place = arguments.index("--replSet")
            del arguments[place : place + 2]
        return arguments

    def _probe(self) -> str | None:
        return "?" if accepts_connections(self.port) else None


@contextmanager
def lone_mongo(stack: EmbeddedStack, directory: Path, *, replica_set: bool) -> Iterator[LoneMongo]:
    server = LoneMongo(directory, stack.mongo.executable, replica_set=replica_set)
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def test_a_standalone_mongod_is_reported_with_or_without_a_replica_set_in_the_uri(
    stack: EmbeddedStack, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with lone_mongo(stack, tmp_path, replica_set=False) as server:
        for options in ("", "/?replicaSet=rs0"):
            rows = await check_dependencies(settings(MONGODB_URI=f"mongodb://127.0.0.1:{server.port}{options}"))
            (text,) = wrong(rows[MONGO])
            assert text.startswith("it is not a replica set")
            assert rows[MONGO].findings[0].lines == ("mongosh --eval 'rs.initiate()'",)


async def test_a_replica_set_that_was_never_initiated_is_reported(
    stack: EmbeddedStack, settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with lone_mongo(stack, tmp_path, replica_set=True) as server:
        rows = await check_dependencies(settings(MONGODB_URI=f"mongodb://127.0.0.1:{server.port}"))
    assert wrong(rows[MONGO]) == ["its replica set is not initiated, so it has no change streams"]


async def test_a_replica_set_other_than_the_uris_is_reported(
    stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    rows = await check_dependencies(settings(MONGODB_URI=f"mongodb://127.0.0.1:{stack.mongo.port}/?replicaSet=other"))
    assert wrong(rows[MONGO]) == ["it is in replica set rs0, not the one MONGODB_URI names"]


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("find", "the user may not read"),
        ("aggregate", "the user may not open a change stream on"),
        ("update", "the user may not write to the database"),
    ],
)
async def test_a_missing_permission_is_found(
    stack: EmbeddedStack, settings: Callable[..., Settings], command: str, says: str
) -> None:
    failure = {"failCommands": [command], "errorCode": 13, "appName": "tsync-stream check"}
    with mongo_client(stack) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=failure)
        rows = await check_dependencies(settings())
    assert says in " ".join(wrong(rows[MONGO]))


@pytest.mark.usefixtures("source")
async def test_frozen_servers_are_reported_in_bounded_time(
    stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    for server in stack.servers.values():
        server.freeze()
    started_s = time.monotonic()
    rows = await check_dependencies(settings())
    # They are asked concurrently. Whether the client or our deadline gives up first affects only the wording.
    assert time.monotonic() - started_s < 3 * DEADLINE_S
    assert [row.reachable for row in rows] == [False] * 4
    assert all(wrong(row) for row in rows)


# ---- Redis ----


async def test_a_misconfigured_redis_is_reported_and_its_worker_fixes_what_it_may(
    own_redis: RedisServer, settings: Callable[..., Settings]
) -> None:
    wrong_settings = settings(PRIMARY_REDIS_PORT=str(own_redis.port), PRIMARY_REDIS_RDB_FILENAME="other.rdb")
    with redis_client(own_redis) as client:
        client.config_set("appendonly", "no")
        client.config_set("save", "")
        client.config_set("maxmemory-policy", "allkeys-lru")
    row = (await check_dependencies(wrong_settings))[PRIMARY]
    assert len(wrong(row)) == 2
    assert "maxmemory-policy is allkeys-lru" in wrong(row)[0]
    assert "append-only file (AOF) is off" in wrong(row)[1]

    client_of_worker = connect(wrong_settings.primary_redis)
    try:
        warnings = await apply_server_settings(partial(ask_each, client_of_worker), wrong_settings.primary_redis)
    finally:
        await client_of_worker.connection_pool.disconnect()
    assert len(warnings) == 2
    assert "`maxmemory-policy noeviction`" in warnings[0]
    assert '`dbfilename "other.rdb"`' in warnings[1]
    row = (await check_dependencies(wrong_settings))[PRIMARY]
    assert len(wrong(row)) == 1  # the policy is for its owner to fix
    assert [finding.lines for finding in row.findings if finding.level == "note"] == [('dbfilename "other.rdb"',)]


async def test_a_redis_that_hides_its_configuration_gets_a_note_only(
    own_redis: RedisServer, settings: Callable[..., Settings]
) -> None:
    hiding = settings(PRIMARY_REDIS_PORT=str(own_redis.port))
    with redis_client(own_redis) as client:
        client.acl_setuser("default", enabled=True, commands=["+@all", "-config"])
    row = (await check_dependencies(hiding))[PRIMARY]
    assert row.healthy
    assert "appendonly yes" in row.findings[0].lines


async def test_a_refused_password_and_a_missing_database_are_reported(
    own_redis: RedisServer, stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    port = str(own_redis.port)
    with redis_client(own_redis) as client:
        client.config_set("requirepass", "right")
    rows = await check_dependencies(settings(PRIMARY_REDIS_PORT=port, BACKUP_REDIS_DB="99"))
    assert wrong(rows[PRIMARY]) == ["it requires a password"]
    assert wrong(rows[BACKUP]) == ["it has no database 99"]
    rows = await check_dependencies(settings(PRIMARY_REDIS_PORT=port, PRIMARY_REDIS_PASSWORD="hunter2"))
    assert wrong(rows[PRIMARY]) == ["the password is refused"]
    rows = await check_dependencies(settings(PRIMARY_REDIS_PORT=port, PRIMARY_REDIS_PASSWORD="right"))
    assert wrong(rows[PRIMARY]) == []


async def test_a_redis_replica_cannot_be_the_queue(
    own_redis: RedisServer, stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    with redis_client(own_redis) as client:
        client.replicaof("127.0.0.1", stack.backup_redis.port)
    rows = await check_dependencies(settings(PRIMARY_REDIS_PORT=str(own_redis.port)))
    assert "it is a replica and takes no writes" in wrong(rows[PRIMARY])


# ---- Typesense ----


@contextmanager
def key(stack: EmbeddedStack, collection: str, *actions: str) -> Iterator[str]:
    """An API key for these actions on this collection."""
    with typesense_client(stack) as client:
        body = {"description": "test", "actions": actions, "collections": [collection]}
        made = client.post("/keys", json=body).raise_for_status().json()
        try:
            yield str(made["value"])
        finally:
            client.delete(f"/keys/{made['id']}").raise_for_status()


async def test_missing_rights_of_an_api_key_are_reported(
    stack: EmbeddedStack, names: Names, settings: Callable[..., Settings]
) -> None:
    name = names.typesense_collection
    rows = await check_dependencies(settings(TYPESENSE_API_KEY="wrong"))
    assert wrong(rows[TYPESENSE]) == ["the API key is refused"]
    with key(stack, "*", "collections:get", "documents:*") as may_not_create:
        rows = await check_dependencies(settings(TYPESENSE_API_KEY=may_not_create))
        assert wrong(rows[TYPESENSE]) == [f"there is no collection {name}, and the API key may not create it"]
        with typesense_client(stack) as client:
            body = {"name": name, "fields": [{"name": ".*", "type": "auto"}]}
            client.post("/collections", json=body).raise_for_status()
        rows = await check_dependencies(settings(TYPESENSE_API_KEY=may_not_create))
        assert wrong(rows[TYPESENSE]) == []
    with key(stack, name, "collections:get", "documents:import", "documents:export") as may_not_delete:
        rows = await check_dependencies(settings(TYPESENSE_API_KEY=may_not_delete))
        assert any("tsync_stream_markers" in finding.text for finding in rows[TYPESENSE].findings)
        assert wrong(rows[TYPESENSE]) == [f"the API key lacks permissions for {name}"]
        assert "documents:delete" in rows[TYPESENSE].findings[0].fix


async def test_each_node_of_a_cluster_has_its_own_row(settings: Callable[..., Settings]) -> None:
    rows = await check_dependencies(settings(TYPESENSE_HOST="127.0.0.1,localhost"))
    assert [row.address.split(":")[1] for row in rows[TYPESENSE:]] == ["//127.0.0.1", "//localhost"]


async def test_a_server_of_another_kind_at_the_address_is_reported(
    stack: EmbeddedStack, settings: Callable[..., Settings]
) -> None:
    rows = await check_dependencies(
        settings(PRIMARY_REDIS_PORT=str(stack.typesense.port), TYPESENSE_PORT=str(stack.primary_redis.port))
    )
    assert not rows[PRIMARY].healthy
    assert not rows[TYPESENSE].healthy


# ---- many routes ----

ROUTES = """
routes:
  listings:
    source: {database}.{collection}
    target: {target}
    lookups:
      - {{from: sellers, local: seller_id, as: seller, fields: [name]}}
      - {{children: reviews, foreign: listing_id, as: reviews, fields: [stars]}}
  orders:
    source: {database}.orders
    target: {target}_orders
    schema:
      fields: [{{name: listing, type: string, reference: {target}.id}}]
"""


async def test_each_route_is_examined_with_its_lookups_and_its_schema(
    stack: EmbeddedStack, settings: Callable[..., Settings], names: Names, source: None, tmp_path: Path
) -> None:
    place = {"database": names.database, "collection": names.collection, "target": names.typesense_collection}
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES.format(**place), encoding="utf-8")
    with mongo_client(stack) as client:
        database = client[names.database]
        database["sellers"].insert_one({"name": "Ada"})
        database["reviews"].insert_one({"listing_id": 1, "stars": 5})
        rows = await check_dependencies(settings(ROUTES_FILE=str(file)))
        assert wrong(rows[MONGO]) == [f"route orders: there is no collection {names.database}.orders"]

        database.create_collection("orders")
        rows = await check_dependencies(settings(ROUTES_FILE=str(file)))
        lines = [line for finding in rows[MONGO].findings for line in finding.lines]
        (without,) = wrong(rows[MONGO])
        assert f"route listings: {names.database}.reviews keeps no pre-images" in without
        unindexed = [finding.text for finding in rows[MONGO].findings if finding.level == "note"]
        assert len(unindexed) == 2, unindexed
        assert f"`seller_id` of {names.database}.{names.collection} has no index" in unindexed[0]
        assert "`listing_id` of" in unindexed[1]
        refers = "the schema of route orders (ROUTES_FILE) refers to another collection with listing"
        assert any(refers in text for text in wrong(rows[TYPESENSE]))

        # Every line does what it is for.
        for line in lines:
            assert "createIndex" in line or "collMod" in line
        database[names.collection].create_index([("seller_id", 1)])
        database["reviews"].create_index([("listing_id", 1)])
        database.command({"collMod": "reviews", "changeStreamPreAndPostImages": {"enabled": True}})
    rows = await check_dependencies(settings(ROUTES_FILE=str(file)))
    assert list(rows[MONGO].findings) == []
