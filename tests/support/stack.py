"""Names for one test on the shared servers, and what puts the servers right again after it.

Invariants:
- Everything a test makes on a server carries its token in its name, so tests share servers without meeting.
- After a test the servers run, are thawed, answer, have no fail point, and hold nothing with its token.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import httpx
import redis
from pymongo import MongoClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack, RedisServer
from tsync_stream.settings.load import TypesenseSettings

ONE_COLLECTION = "one collection"
FAIL_POINTS = ("--setParameter", "enableTestCommands=1")  # of mongod; without them it refuses `configureFailPoint`
_REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Names:
    """The names that one test uses; all begin with its token. `reads` is a heading of docs/security.md: see `new`."""

    token: str
    database: str
    collection: str
    typesense_collection: str
    primary_queue_key: str
    backup_queue_key: str
    state_database: str
    reads: str = ONE_COLLECTION

    @classmethod
    def new(cls, reads: str = ONE_COLLECTION) -> "Names":
        """Unused names, of a deployment that reads this much of MongoDB, in the words of docs/security.md."""
        token = f"t{uuid4().hex[:12]}"
        return cls(
            token=token,
            database=f"{token}_source",
            collection=f"{token}_listings",
            typesense_collection=f"{token}_listings",
            primary_queue_key=f"{token}_queue",
            backup_queue_key=f"{token}_queue_backup",
            state_database=f"{token}_state",
            reads=reads,
        )

    def environment(self) -> dict[str, str]:
        """The settings that make a worker use these names; they override the stack's."""
        return {
            "MONGODB_DATABASE": self.database,
            "MONGODB_COLLECTION": self.collection,
            "TYPESENSE_COLLECTION_NAME": self.typesense_collection,
            "PRIMARY_REDIS_QUEUE_KEY": self.primary_queue_key,
            "BACKUP_REDIS_QUEUE_KEY": self.backup_queue_key,
            "STATE_DATABASE": self.state_database,
        }


@runtime_checkable
class Secured(Protocol):
    """Servers that let nobody in without an account, as of tests/support/secured.py."""

    def settings_of(self, names: Names) -> dict[str, str]:
        """How a deployment reaches the servers, with accounts of its own."""

    def forget(self, names: Names) -> None:
        """Remove the accounts of a test's deployments."""


def settings_of(stack: EmbeddedStack, names: Names) -> dict[str, str]:
    """The settings that lead a deployment with these names to the servers."""
    ways = stack.settings_of(names) if isinstance(stack, Secured) else stack.environment()
    return {**ways, **names.environment()}


@contextmanager
def mongo_client(stack: EmbeddedStack) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of the stack's MongoDB with short time limits."""
    timeout_ms = int(_REQUEST_TIMEOUT_S * 1000)
    client: MongoClient[dict[str, Any]] = MongoClient(
        stack.mongo.uri, serverSelectionTimeoutMS=timeout_ms, socketTimeoutMS=timeout_ms
    )
    with client:
        yield client


def redis_client(
    server: RedisServer, timeout_s: float = _REQUEST_TIMEOUT_S, decode_responses: bool = True
) -> "closing[redis.Redis]":
    """A client of one of the stack's Redis servers that never retries, to be used in a `with`."""
    return closing(
        redis.Redis(
            port=server.port,
            password=server.options.password or None,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=decode_responses,
        )
    )


def typesense_client(stack: EmbeddedStack) -> httpx.Client:
    """A plain HTTP client of the stack's Typesense, to be used in a `with`."""
    ca_file: Path | None = getattr(stack.typesense, "ca_file", None)  # of `secured.TlsTypesense`
    return httpx.Client(
        base_url=f"{'https' if ca_file else 'http'}://127.0.0.1:{stack.typesense.port}",
        headers={"X-TYPESENSE-API-KEY": stack.typesense.api_key},
        timeout=_REQUEST_TIMEOUT_S,
        verify=ssl.create_default_context(cafile=ca_file) if ca_file else False,
    )


def typesense_settings(
    port: int,
    api_key: str,
    *,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    collection: str = "c",
    timeout_s: float = 10.0,
) -> TypesenseSettings:
    """Settings for our own client of a Typesense, real or not."""
    return TypesenseSettings(api_key, hosts, port, "http", collection, timeout_s, 60.0, 3, 0.1, None)


def detecting_schema(name: str) -> dict[str, Any]:
    """A collection whose fields get the type of their first value."""
    return {"name": name, "fields": [{"name": ".*", "type": "auto"}]}


def repair(stack: EmbeddedStack) -> None:
    """Undo what a test has frozen, killed or made to fail."""
    for server in stack.servers.values():
        server.thaw()
        server.start()
    with mongo_client(stack) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="off")


def remove(stack: EmbeddedStack, names: Names) -> None:
    """Remove everything whose name begins with the test's token from all servers, and the test's accounts."""
    with mongo_client(stack) as client:
        for database in client.list_database_names():
            if database.startswith(names.token):
                client.drop_database(database)
    for server in (stack.primary_redis, stack.backup_redis):
        with redis_client(server) as queue:
            for key in queue.scan_iter(match=f"*{names.token}*", count=1000):
                queue.unlink(key)
    with typesense_client(stack) as typesense:
        # A server that was started a moment ago may still refuse to write.
        wait_for(lambda: _removed(typesense, names.token), 30.0, "Typesense is not ready")
    if isinstance(stack, Secured):
        stack.forget(names)


def _removed(typesense: httpx.Client, token: str) -> bool:
    """Remove what is there; False while Typesense answers 503."""
    try:
        for alias in typesense.get("/aliases").raise_for_status().json()["aliases"]:
            if alias["name"].startswith(token):
                typesense.delete(f"/aliases/{alias['name']}").raise_for_status()
        for collection in typesense.get("/collections").raise_for_status().json():
            if collection["name"].startswith(token):
                typesense.delete(f"/collections/{collection['name']}").raise_for_status()
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            raise
        return False
    return True


def is_reconciled(pipeline: Mapping[str, Any] | None) -> bool:
    """Whether an epoch document, as MongoDB holds it, is there and has no open reconcile."""
    return bool(pipeline and all(route["reconcile"] is None for route in pipeline["routes"]))
