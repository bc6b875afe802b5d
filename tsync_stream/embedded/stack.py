"""The servers of the embedded stack: one directory with its locks and ports, started and stopped in parallel.

Invariants:
- One stack per directory: a second one is refused at once. After a stack that was killed, the next one waits until the
  servers it left behind have ended.
- Ports are chosen at the first start and kept in `ports.json`, so addresses and the replica set stay the same. Only a
  port that another process has taken is replaced.
- A start leaves either every server ready, or none running.
"""

import concurrent.futures
import fcntl
import json
import os
import random
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded.executables import (
    EXECUTABLE_VARIABLES,
    MONGOD,
    REDIS,
    TYPESENSE,
    Progress,
    cache_directory,
    find_executable,
)
from tsync_stream.embedded.servers import MongoServer, RedisServer, RedisServerOptions, TypesenseServer
from tsync_stream.embedded.supervised import LOOPBACK, EmbeddedServerError, Server, accepts_connections, wait_until

ALL_SERVERS = ("mongo", "primary_redis", "backup_redis", "typesense")

PRIMARY_REDIS_OPTIONS = RedisServerOptions()
BACKUP_REDIS_OPTIONS = RedisServerOptions(append_filename="appendonly_backup.aof", rdb_filename="dump_backup.rdb")

# Below the ports that operating systems assign to clients, which must not take a stopped server's port.
_PORT_RANGE = range(20_000, 32_768)
_PORT_ATTEMPTS = 3
_LEFT_OVER_SERVERS_TIMEOUT_S = 30.0
_PROGRESS_INTERVAL_S = 10.0

_KINDS = {"mongo": MONGOD, "primary_redis": REDIS, "backup_redis": REDIS, "typesense": TYPESENSE}


def _no_progress(_message: str) -> None:
    """Discard progress messages."""


class EmbeddedStack:
    """Real servers for one process.

    `directory` holds everything, and is created if it is missing. `servers` names the wanted ones of ALL_SERVERS.
    `executables` has values for EXECUTABLE_VARIABLES; without it, the process environment has them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        servers: Collection[str] = ALL_SERVERS,
        mongod_arguments: Sequence[str] = (),
        primary_redis: RedisServerOptions = PRIMARY_REDIS_OPTIONS,
        backup_redis: RedisServerOptions = BACKUP_REDIS_OPTIONS,
        typesense_api_key: str = "xyz",
        executables: Mapping[str, str] | None = None,
    ) -> None:
        if unknown := set(servers) - set(ALL_SERVERS):
            raise ValueError(f"unknown servers: {', '.join(sorted(unknown))}")
        self.directory = directory.absolute()
        self.mongo = MongoServer("mongo", self.directory, mongod_arguments)
        self.primary_redis = RedisServer("primary_redis", self.directory, primary_redis)
        self.backup_redis = RedisServer("backup_redis", self.directory, backup_redis)
        self.typesense = TypesenseServer("typesense", self.directory, typesense_api_key)
        self.servers: dict[str, Server] = {
            server.name: server
            for server in (self.mongo, self.primary_redis, self.backup_redis, self.typesense)
            if server.name in servers
        }
        self._executables = executables
        self._locks: list[int] = []
        self._abandoned = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, progress: Progress = _no_progress) -> None:
        """Start all servers in parallel, and wait until each is ready; those that run are left alone.

        Raises ConfigurationError if the directory is in use or executables are missing (all of them in one
        message), EmbeddedServerError if a server ends or is not ready in time; then none is left running.
        """
        try:
            if not self._locks:
                self._take_directory(progress)
            self._find_executables(progress)
            self._start_servers(progress)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all servers in parallel, and release the directory. May be called at any time."""
        self._abandoned.set()
        with concurrent.futures.ThreadPoolExecutor(len(ALL_SERVERS)) as pool:
            for _ in pool.map(lambda server: server.stop(), self.servers.values()):
                pass
        for server in self.servers.values():
            server.lock = None
        while self._locks:
            os.close(self._locks.pop())

    def environment(self) -> dict[str, str]:
        """The settings that lead to these servers, to be laid over the process environment."""
        found: dict[str, str] = {}
        if "mongo" in self.servers:
            found["MONGODB_URI"] = self.mongo.uri
        for prefix, server in (("PRIMARY_REDIS", self.primary_redis), ("BACKUP_REDIS", self.backup_redis)):
            if server.name in self.servers:
                found[f"{prefix}_HOST"] = LOOPBACK
                found[f"{prefix}_PORT"] = str(server.port)
                found[f"{prefix}_PASSWORD"] = server.options.password
        if "typesense" in self.servers:
            found["TYPESENSE_HOST"] = LOOPBACK
            found["TYPESENSE_PORT"] = str(self.typesense.port)
            found["TYPESENSE_PROTOCOL"] = "http"
            found["TYPESENSE_API_KEY"] = self.typesense.api_key
        return found

    def remembered_environment(self) -> dict[str, str] | None:
        """`environment` for the servers that another process runs in this directory; None if it runs none.

        It does not check whether each server is ready; their clients will notice.
        """
        ports = _PortBook(self.directory / "ports.json")
        for server in self.servers.values():
            server.ports = ports.remembered(server)
        known = all(set(server.port_names) <= server.ports.keys() for server in self.servers.values())
        if not known or not any(accepts_connections(server.port) for server in self.servers.values()):
            return None
        return self.environment()

    def _take_directory(self, progress: Progress) -> None:
        """Take two locks: our own, and one that the servers inherit and hold until the last of them has ended."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            ours = self._open_lock("stack.lock")
            servers = self._open_lock("servers.lock")
        except OSError as error:
            raise ConfigurationError(
                f"The embedded stack cannot use {self.directory}: {error.strerror}. "
                "Set TSYNC_EMBEDDED_DIR to a writable directory."
            ) from error
        if not _lock(ours):
            holder = os.pread(ours, 32, 0).decode(errors="replace").strip()
            raise ConfigurationError(
                f"Another embedded stack uses {self.directory} (process {holder or 'unknown'}). "
                "End that process, or set TSYNC_EMBEDDED_DIR to another directory."
            )
        os.ftruncate(ours, 0)
        os.pwrite(ours, str(os.getpid()).encode(), 0)
        if not _lock(servers):
            progress(f"waiting for the servers of an earlier run in {self.directory} to end")
            if not wait_until(lambda: _lock(servers), _LEFT_OVER_SERVERS_TIMEOUT_S):
                raise ConfigurationError(
                    f"Servers of an earlier embedded stack are still running in {self.directory}. "
                    "End them, or set TSYNC_EMBEDDED_DIR to another directory."
                )
        for server in self.servers.values():
            server.lock = servers

    def _open_lock(self, name: str) -> int:
        descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT, 0o644)
        self._locks.append(descriptor)
        return descriptor

    def _find_executables(self, progress: Progress) -> None:
        chosen = self._executables
        if chosen is None:
            chosen = {name: os.environ[name] for name in EXECUTABLE_VARIABLES if name in os.environ}
        cache = cache_directory(fallback=self.directory)
        problems: list[str] = []
        kinds = {_KINDS[server.name].variable: _KINDS[server.name] for server in self.servers.values()}
        found: dict[str, Path] = {}
        for variable, kind in kinds.items():
            try:
                found[variable] = find_executable(kind, chosen, cache, progress)
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(problems)
        for server in self.servers.values():
            server.executable = found[_KINDS[server.name].variable]

    def _start_servers(self, progress: Progress) -> None:
        self._abandoned = threading.Event()
        ports = _PortBook(self.directory / "ports.json")
        with concurrent.futures.ThreadPoolExecutor(len(ALL_SERVERS)) as pool:
            waiting = {}
            for server in self.servers.values():
                server.abandoned = self._abandoned
                waiting[pool.submit(_bring_up, server, ports)] = server
            try:
                while waiting:
                    done, _ = concurrent.futures.wait(waiting, _PROGRESS_INTERVAL_S, concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        server = waiting.pop(future)
                        future.result()
                        progress(f"{server.title} {server.version} is ready on {LOOPBACK}:{server.port}")
                    if not done:
                        progress(f"still waiting for {', '.join(server.title for server in waiting.values())}")
            except BaseException:
                self._abandoned.set()
                raise


def _bring_up(server: Server, ports: "_PortBook") -> None:
    """Start `server` on its remembered ports, or on new ones if those are taken."""
    for attempts_left in reversed(range(_PORT_ATTEMPTS)):
        if not server.alive:
            server.ports = ports.choose(server)
        try:
            server.start()
        except EmbeddedServerError:
            server.kill()
            if attempts_left == 0 or all(_is_free(port) for port in server.ports.values()):
                raise
        else:
            return


class _PortBook:
    """The ports of one directory's servers, in a file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._ports: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._ports = {}

    def remembered(self, server: Server) -> dict[str, int]:
        """The ports of the last start; empty before the first."""
        return dict(self._ports.get(server.name, {}))

    def choose(self, server: Server) -> dict[str, int]:
        """The remembered ports, with new ones in place of those that are taken; both are remembered."""
        with self._lock:
            remembered = self._ports.get(server.name, {})
            taken = {port for name, ports in self._ports.items() if name != server.name for port in ports.values()}
            chosen: dict[str, int] = {}
            for port_name in server.port_names:
                port = remembered.get(port_name)
                if port is None or not _is_free(port):
                    port = _free_port(taken | set(chosen.values()))
                chosen[port_name] = port
            if chosen != remembered:
                self._ports[server.name] = chosen
                temporary = self._path.with_suffix(".tmp")
                temporary.write_text(json.dumps(self._ports, indent=2), encoding="utf-8")
                temporary.replace(self._path)
            return chosen


def _free_port(taken: set[int]) -> int:
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        if port not in taken and _is_free(port):
            return port
    raise ConfigurationError(f"No port from {_PORT_RANGE.start} to {_PORT_RANGE.stop - 1} is free on {LOOPBACK}.")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
