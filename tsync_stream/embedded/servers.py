"""The three kinds of server: their command lines and configuration, and what "ready" means for each.

Invariants:
- Everything listens on 127.0.0.1 only.
- Ready means that a client's first write succeeds and reads are current: mongod is primary, Redis has loaded its files,
  Typesense has replayed its log (its /health says ok before that).
"""

import http.client
import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import redis
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure
from redis.backoff import NoBackoff
from redis.retry import Retry

from tsync_stream.embedded.supervised import LOOPBACK, PROBE_TIMEOUT_S, Server, accepts_connections

REPLICA_SET = "rs0"


class MongoServer(Server):
    """mongod as a replica set of one, so that change streams and transactions work."""

    title = "MongoDB"
    # On a new port mongod first looks for itself at the old one: 30 s if something else there does not answer.
    ready_timeout_s: ClassVar[float] = 120.0

    def __init__(self, name: str, directory: Path, arguments: Sequence[str]) -> None:
        super().__init__(name, directory)
        self.extra_arguments = list(arguments)

    @property
    def uri(self) -> str:
        """The connection string, with the replica set's name."""
        return f"mongodb://{LOOPBACK}:{self.port}/?replicaSet={REPLICA_SET}"

    def _arguments(self) -> list[str]:
        defaults = {
            "--dbpath": str(self.directory),
            "--port": str(self.port),
            "--bind_ip": LOOPBACK,
            "--replSet": REPLICA_SET,
            # The defaults are half of the machine's memory and a twentieth of its disk.
            "--wiredTigerCacheSizeGB": "0.5",
            "--oplogSize": "2048",
        }
        # mongod refuses an option that is given twice, so the caller's replace ours.
        given = {argument.split("=", 1)[0] for argument in self.extra_arguments}
        arguments = [part for option, value in defaults.items() if option not in given for part in (option, value)]
        return [
            *arguments,
            "--quiet",
            "--nounixsocket",  # a killed mongod would leave its socket in /tmp
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",  # a sample every second, useful only to MongoDB's support
        ]

    def _probe(self) -> str | None:
        if not accepts_connections(self.port):
            return None  # cheaper than a client, which retries only every half second
        timeout_ms = int(PROBE_TIMEOUT_S * 1000)
        client: MongoClient[dict[str, Any]]
        with MongoClient(
            LOOPBACK,
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            socketTimeoutMS=timeout_ms,
        ) as client:
            try:
                self._form_replica_set(client)
                if not client.admin.command("hello").get("isWritablePrimary"):
                    return None
                return str(client.admin.command("buildInfo")["version"])
            except (ConnectionFailure, OperationFailure):
                return None  # it is starting, electing or ending: probe again

    def _form_replica_set(self, client: MongoClient[dict[str, Any]]) -> None:
        """Initiate the set, or move a set that was formed on another port."""
        host = f"{LOOPBACK}:{self.port}"
        # From the collection, because replSetGetConfig says "not initialized" while the set is still being loaded.
        if client["local"]["system.replset"].find_one() is None:
            members = [{"_id": 0, "host": host}]
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
            return
        configuration = client.admin.command("replSetGetConfig")["config"]
        member = configuration["members"][0]
        if member["host"] != host:
            member["host"] = host
            configuration["version"] += 1
            # By force: a member that does not find itself in the set cannot become primary.
            client.admin.command("replSetReconfig", configuration, force=True)

    def _symptoms(self, lines: list[str]) -> list[str]:
        """mongod logs JSON, and its last lines are about shutting down: the errors come before them."""
        errors = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
        return errors[-3:] or super()._symptoms([line for line in lines if not line.startswith("{")])


@dataclass(frozen=True)
class RedisServerOptions:
    """A Redis server's files, how often it saves (0: never), and its password (empty: none)."""

    append_only: bool = True
    append_filename: str = "appendonly.aof"
    rdb_filename: str = "dump.rdb"
    save_interval_s: float = 300.0
    password: str = ""


class RedisServer(Server):
    """Redis or Valkey with its own AOF and RDB configuration; it refuses writes rather than evict entries."""

    def __init__(self, name: str, directory: Path, options: RedisServerOptions) -> None:
        super().__init__(name, directory)
        self.title = f"Redis ({name.removesuffix('_redis')})"
        self.options = options
        self._configuration_path = directory / f"{name}.conf"

    def _arguments(self) -> list[str]:
        save = f"{max(1, math.ceil(self.options.save_interval_s))} 1" if self.options.save_interval_s > 0 else '""'
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"dir {_quoted(str(self.directory))}",
            f"appendonly {'yes' if self.options.append_only else 'no'}",
            f"appendfilename {_quoted(self.options.append_filename)}",
            f"dbfilename {_quoted(self.options.rdb_filename)}",
            f"save {save}",
            "maxmemory-policy noeviction",
        ]
        if self.options.password:
            lines.append(f"requirepass {_quoted(self.options.password)}")
        self._configuration_path.touch(mode=0o600)
        self._configuration_path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [str(self._configuration_path)]

    def _probe(self) -> str | None:
        with closing(
            redis.Redis(
                host=LOOPBACK,
                port=self.port,
                password=self.options.password or None,
                socket_timeout=PROBE_TIMEOUT_S,
                socket_connect_timeout=PROBE_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
        ) as client:
            try:
                client.ping()  # unlike INFO, not answered while LOADING
                facts = client.info("server")
            except redis.RedisError:  # not listening yet, or not ready
                return None
        return str(facts.get("valkey_version") or facts["redis_version"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class TypesenseServer(Server):
    """Typesense as a cluster of one."""

    title = "Typesense"
    port_names: ClassVar[tuple[str, ...]] = ("port", "peering_port")
    # After a restart it replays everything since its last snapshot, nearly as slowly as it was written.
    ready_timeout_s: ClassVar[float] = 300.0

    def __init__(self, name: str, directory: Path, api_key: str) -> None:
        super().__init__(name, directory)
        self.api_key = api_key

    def _arguments(self) -> list[str]:
        return [
            f"--data-dir={self.directory}",
            f"--api-address={LOOPBACK}",
            f"--api-port={self.port}",
            f"--peering-address={LOOPBACK}",
            f"--peering-port={self.ports['peering_port']}",
            # The default leaves up to an hour of log to replay. Snapshots are cheap: they consist of hard links.
            "--snapshot-interval-seconds=60",
        ]

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "TYPESENSE_API_KEY": self.api_key}

    def _probe(self) -> str | None:
        try:
            if self._get("/health").get("ok") is not True:
                return None
            # Healthy means nearly caught up; until these are written, reads show an older state.
            if self._get("/stats.json").get("pending_write_batches", 0):
                return None
            return str(self._get("/debug")["version"])
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return None

    def _get(self, path: str) -> dict[str, Any]:
        with closing(http.client.HTTPConnection(LOOPBACK, self.port, timeout=PROBE_TIMEOUT_S)) as connection:
            connection.request("GET", path, headers={"X-TYPESENSE-API-KEY": self.api_key})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
