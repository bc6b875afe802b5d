"""What the demo runs: the settings of the embedded stack, and the real worker as another supervised process.

Invariants:
- No `.env` is read, and variables that name a server are ignored, so the demo only ever touches its own servers.
  Variables for tuning (BATCH_SIZE, PARTITIONS, WEB_PORT, executables and so on) are used.
- The worker ends with this process, however that ends, as the servers do.
"""

import http.client
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tsync_stream.embedded import EmbeddedServerError, Server
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.settings.redis_table import BACKUP_REDIS, PRIMARY_REDIS
from tsync_stream.settings.table import EMBEDDED, MONGODB, SETTINGS
from tsync_stream.settings.typesense_table import TYPESENSE

_LOOPBACK = "127.0.0.1"
_PROBE_TIMEOUT_S = 2.0

_NOT_OURS = {setting.name for setting in (*MONGODB, *TYPESENSE, *PRIMARY_REDIS, *BACKUP_REDIS)}
_DECIDED_HERE = {"ROUTES_FILE", "STATE_DATABASE", "TSYNC_EMBEDDED", "TSYNC_EMBEDDED_DIR"}
_PATHS = {setting.name for setting in EMBEDDED} - _DECIDED_HERE


def tuning(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that the demo uses. Paths become absolute, because the worker has another working directory."""
    names = {setting.name for setting in SETTINGS} - _NOT_OURS - _DECIDED_HERE
    chosen = {name: environ[name] for name in names if name in environ}
    return {name: str(Path(text).absolute()) if text and name in _PATHS else text for name, text in chosen.items()}


def demo_settings(environ: Mapping[str, str]) -> Settings:
    """The demo's settings. Raises ConfigurationError, as `load_settings` does."""
    directory = Path(environ.get("TSYNC_EMBEDDED_DIR") or ".tsync").absolute()
    chosen = {**tuning(environ), "TSYNC_EMBEDDED_DIR": str(directory)}
    settings = load_settings(directory / "worker", chosen)
    if _is_free(settings.web_port):
        return settings
    return load_settings(directory / "worker", {**chosen, "WEB_PORT": str(_free_port())})


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind((_LOOPBACK, 0))
        return int(candidate.getsockname()[1])


class Worker(Server):
    """`faust -A tsync_stream worker` with the stack's settings; ready when its /health answers."""

    title = "The worker"

    def __init__(self, settings: Settings, stack_environment: Mapping[str, str]) -> None:
        super().__init__("worker", settings.embedded_dir)
        self.executable = Path(sys.executable)
        self.ports = {"port": settings.web_port}
        self._stack_environment = stack_environment

    def report(self) -> dict[str, Any]:
        """The answer of /health, or a substitute without one. Raises EmbeddedServerError if the process has ended."""
        if not self.alive:
            raise EmbeddedServerError(f"the worker has ended by itself; the end of {self.log_path} says why")
        nothing = {"check": "worker", "text": "/health does not answer"}
        return self._health() or {"status": "red", "problems": [nothing]}

    def _health(self) -> dict[str, Any] | None:
        with (
            suppress(OSError, http.client.HTTPException, ValueError),
            closing(http.client.HTTPConnection(_LOOPBACK, self.port, timeout=_PROBE_TIMEOUT_S)) as connection,
        ):
            connection.request("GET", "/health")
            report: dict[str, Any] = json.loads(connection.getresponse().read())
            return report
        return None

    def _arguments(self) -> list[str]:
        return ["-m", "faust", "-A", "tsync_stream", "worker"]

    def _environment(self) -> dict[str, str]:
        ours = {setting.name for setting in SETTINGS}
        others = {name: value for name, value in os.environ.items() if name not in ours}
        chosen = tuning(os.environ) | {"WEB_PORT": str(self.port), "PYTHONUNBUFFERED": "1"}
        return {**others, **chosen, **self._stack_environment}

    def _probe(self) -> str | None:
        return None if self._health() is None else "ready"
