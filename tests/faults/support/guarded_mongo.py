"""A mongod with access control, for faults that a server without users cannot show: changing credentials and roles."""

import base64
import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from tests.support.stack import Names
from tests.support.waiting import wait_for
from tests.support.worker import free_port
from tsync_stream.embedded import EmbeddedStack, MongoServer
from tsync_stream.embedded.supervised import LOOPBACK, accepts_connections

USER, PASSWORD = "tsync", "first-secret"
_ROOT, _ROOT_PASSWORD = "root", "root-secret"


class GuardedMongo(MongoServer):
    """One mongod with users. `uri` is for its owner, `worker_uri` for the user of the replicas."""

    @property
    def uri(self) -> str:
        return f"mongodb://{_ROOT}:{_ROOT_PASSWORD}@{LOOPBACK}:{self.port}/?directConnection=true"

    @property
    def worker_uri(self) -> str:
        """For the replicas' user, who has the rights that the documentation asks for and no more."""
        return f"mongodb://{USER}:{PASSWORD}@{LOOPBACK}:{self.port}/?replicaSet=rs0"

    def roles(self, names: Names) -> list[dict[str, str]]:
        """The roles that the replicas' user needs."""
        return [
            {"role": "read", "db": names.database},
            {"role": "readWrite", "db": names.state_database},
            {"role": "read", "db": "local"},
        ]

    def create_user(self, names: Names, roles: list[dict[str, str]] | None = None) -> None:
        """Create the replicas' user."""
        with self.owner() as client:
            client.admin.command("createUser", USER, pwd=PASSWORD, roles=self.roles(names) if roles is None else roles)

    def drop_user(self) -> None:
        """Drop the replicas' user: its connections stay open and may do nothing."""
        with self.owner() as client:
            client.admin.command("dropUser", USER)

    def set_roles(self, roles: list[dict[str, str]]) -> None:
        """Change the roles of the replicas' user."""
        with self.owner() as client:
            client.admin.command("updateUser", USER, roles=roles)

    def fail_commands(self, commands: list[str], **how: Any) -> None:
        """Let these commands of replicas fail or block as `how` says (`failCommand`), until `fail_nothing`."""
        data = {"failCommands": commands, "appName": "tsync-stream", **how}
        with self.owner() as client:
            client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)

    def fail_nothing(self) -> None:
        """Every command works again."""
        with self.owner() as client:
            client.admin.command("configureFailPoint", "failCommand", mode="off")

    def owner(self) -> MongoClient[dict[str, Any]]:
        """The owner's client, to be used in a `with`."""
        return MongoClient(self.uri, serverSelectionTimeoutMS=10_000)

    def initiate(self) -> None:
        """Initiate the replica set and create its owner; without users, mongod allows that once, over loopback."""
        client: MongoClient[dict[str, Any]]
        with MongoClient(LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=10_000) as client:
            members = [{"_id": 0, "host": f"{LOOPBACK}:{self.port}"}]
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            wait_for(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), 30.0, "it is not primary")
            client.admin.command("createUser", _ROOT, pwd=_ROOT_PASSWORD, roles=["root"])

    def _probe(self) -> str | None:
        if not accepts_connections(self.port):
            return None
        client: MongoClient[dict[str, Any]]
        with MongoClient(LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=2_000) as client:
            try:
                hello = client.admin.command("hello")
            except (ConnectionFailure, OperationFailure):
                return None
        # Until the set is initiated there is no primary to wait for.
        return "guarded" if hello.get("isWritablePrimary") or not hello.get("setName") else None


@contextmanager
def guarded_mongo(stack: EmbeddedStack, directory: Path) -> Iterator[EmbeddedStack]:
    """The same stack, with a mongod with access control in place of its own."""
    key_path = directory / "keyfile"
    key_path.write_bytes(base64.b64encode(os.urandom(96)))
    key_path.chmod(0o600)
    arguments = ["--keyFile", str(key_path), "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"]
    server = GuardedMongo("guarded", directory, [*arguments, "--setParameter", "enableTestCommands=1"])
    server.executable = stack.mongo.executable
    server.ports = {"port": free_port()}
    try:
        server.launch()
        server.wait_ready()
        server.initiate()
        with_guard = copy.copy(stack)
        with_guard.mongo = server
        yield with_guard
    finally:
        server.thaw()
        server.kill()
