"""One server as a child process under a supervisor: start, wait until ready, stop, kill, freeze, restart.

Invariants:
- A start that is interrupted once leaves no process that `stop` does not know.
- The server dies with this process, which holds the only other end of the supervisor's pipe (supervise.py).
- Every wait is bounded; `stop` and `kill` return only when the process has gone.
- A restart uses the same ports and the same data directory. Only `wipe` removes data, and only of a stopped server.
- Passwords and keys reach the server in a file or the environment, never on the command line, which `ps` shows.
"""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded import supervise

LOOPBACK = "127.0.0.1"
PROBE_TIMEOUT_S = 2.0

_POLL_INTERVAL_S = 0.02
_STOP_TIMEOUT_S = 15.0
_KILL_TIMEOUT_S = 10.0
_SUPERVISOR_START_TIMEOUT_S = 20.0
_LOG_LIMIT_BYTES = 16 << 20


class EmbeddedServerError(ConfigurationError):
    """A server of the embedded stack ended, or was not ready in time; the message names its log."""


class _Child:
    """A supervisor and, under it, the server's process group."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        lock: int | None,
    ) -> None:
        # -I -S: without site-packages and user settings it starts in milliseconds, and the same way everywhere.
        with log.open("ab") as log_file:
            self._supervisor = subprocess.Popen(  # noqa: S603  # our own script
                [sys.executable, "-I", "-S", supervise.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                bufsize=0,
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        try:
            self.pid = self._read_pid(log)
        except BaseException:
            self._supervisor.kill()
            self.wait(_KILL_TIMEOUT_S)
            raise

    def _read_pid(self, log: Path) -> int:
        output = self._supervisor.stdout
        assert output is not None  # a pipe was asked for
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            answered = selector.select(_SUPERVISOR_START_TIMEOUT_S)
        line = output.readline() if answered else b""
        if not line.endswith(b"\n"):
            raise EmbeddedServerError(f"the supervisor process of a server did not start; see its log, {log}")
        return int(line)

    @property
    def exit_code(self) -> int | None:
        """None while the server runs; 128 + number if a signal ended it."""
        return self._supervisor.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the server and everything it started."""
        if self.exit_code is None:
            with suppress(ProcessLookupError, PermissionError):  # it has just ended (PermissionError on macOS)
                os.killpg(self.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has gone within `timeout_s`; if so, its pipes are closed."""
        try:
            self._supervisor.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                pipe.close()
        return True


class Server(ABC):
    """A server that can be started, stopped, killed, frozen and wiped. Not thread-safe."""

    title: str
    port_names: ClassVar[tuple[str, ...]] = ("port",)
    ready_timeout_s: ClassVar[float] = 60.0

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        self.log_path = directory / "logs" / f"{name}.log"
        self.executable: Path | None = None
        self.ports: dict[str, int] = {}
        self.lock: int | None = None
        self.abandoned = threading.Event()
        self.extra_arguments: list[str] = []
        self.version = ""
        self._child: _Child | None = None

    def __repr__(self) -> str:
        return f"<{self.title} port={self.ports.get('port')} pid={self.pid} directory={str(self.directory)!r}>"

    @property
    def port(self) -> int:
        """The port that clients use, on 127.0.0.1; the same at every start."""
        return self.ports["port"]

    @property
    def pid(self) -> int | None:
        """The server's process id, which leads its process group; None when it does not run."""
        return self._child.pid if self._child is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self._child is not None and self._child.exit_code is None

    def start(self) -> None:
        """Launch it unless it runs, and wait until it is ready. Raises EmbeddedServerError."""
        if not self.alive:
            self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process and return at once. Raises EmbeddedServerError if it is already running."""
        if self.alive:
            raise EmbeddedServerError(f"{self.title} is already running, as process {self.pid}")
        if self.executable is None:
            raise EmbeddedServerError(f"{self.title} is not among the servers of this stack")
        if self._child is not None:
            self._child.wait(_KILL_TIMEOUT_S)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.old"))
        # In a thread, because a KeyboardInterrupt is raised in the main one: a process that was started just then would
        # be nobody's, and `stop` would not end it.
        with ThreadPoolExecutor(1) as starting:
            starting.submit(
                self._start_child, [str(self.executable), *self._arguments(), *self.extra_arguments]
            ).result()

    def _start_child(self, command: Sequence[str]) -> None:
        self._child = _Child(command, self._environment(), self.directory, self.log_path, self.lock)

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until clients can use it, for at most `timeout_s`, by default `ready_timeout_s`.

        Raises EmbeddedServerError if it ends, or is not ready in time.
        """
        bound_s = self.ready_timeout_s if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + bound_s
        while True:
            version = self._probe()
            if not self.alive:
                raise EmbeddedServerError(self._why_it_ended())
            if version is not None:
                self.version = version
                return
            if time.monotonic() > deadline_s:
                raise EmbeddedServerError(f"{self.title} was not ready within {bound_s:.0f} s; see {self.log_path}")
            if self.abandoned.wait(_POLL_INTERVAL_S):
                raise EmbeddedServerError(f"{self.title} was not started: the stack is being stopped")

    def stop(self) -> None:
        """End it in order (SIGTERM), or by force if that takes too long; a frozen one is thawed first."""
        if self._child is None:
            return
        self._child.signal(signal.SIGTERM)
        self._child.signal(signal.SIGCONT)
        if not self._child.wait(_STOP_TIMEOUT_S):
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL), like a crash. Raises EmbeddedServerError if it does not end."""
        if self._child is None:
            return
        self._child.signal(signal.SIGKILL)
        if not self._child.wait(_KILL_TIMEOUT_S):
            raise EmbeddedServerError(f"{self.title}, process {self._child.pid}, does not end")

    def freeze(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and nothing is answered."""
        if self._child is not None:
            self._child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server continue (SIGCONT)."""
        if self._child is not None:
            self._child.signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Remove all of its data, like a lost disk. Raises EmbeddedServerError while it runs."""
        if self.alive:
            raise EmbeddedServerError(f"{self.title} is running: stop or kill it before its data is wiped")
        if self.directory.exists():
            shutil.rmtree(self.directory)

    @abstractmethod
    def _arguments(self) -> list[str]:
        """The command line, without the executable; may write configuration files first."""

    @abstractmethod
    def _probe(self) -> str | None:
        """The server's version if it is ready, else None; bounded by a few PROBE_TIMEOUT_S."""

    def _environment(self) -> dict[str, str]:
        # Typesense also reads its options from TYPESENSE_... variables, which mean other things in our settings.
        return {name: value for name, value in os.environ.items() if not name.startswith("TYPESENSE_")}

    def _symptoms(self, lines: list[str]) -> list[str]:
        """The lines at the log's end that say why it ended."""
        return lines[-3:]

    def _why_it_ended(self) -> str:
        exit_code = None if self._child is None else self._child.exit_code
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - (64 << 10)))
            lines = log.read().decode(errors="replace").splitlines()
        said = " / ".join(line.strip()[:300] for line in self._symptoms(lines))
        return f"{self.title} ended (exit code {exit_code}) before it was ready: {said} (log: {self.log_path})"


def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition`; False if it did not come true within `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True
