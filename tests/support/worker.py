"""The worker as a subprocess: `faust -A tsync_stream worker`, as a user starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from tests.support.stack import Names, settings_of
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.embedded.supervise import death_signal_setter

FAUST = Path(sys.executable).with_name("faust")
_START_S = 30.0
_STOP_S = 30.0
# Shared, since making a client that could speak TLS takes tens of milliseconds of a processor, and tests that wait look
# many times. Connections are not kept: a killed worker's would be found broken.
_http = httpx.Client(timeout=5.0, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


class Process(Protocol):
    """What a worker needs of its process; `subprocess.Popen` provides it."""

    pid: int

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def wait(self, timeout: float) -> int:
        """Wait for the end; returns the exit code."""

    def send_signal(self, number: int) -> None:
        """Send a signal if it still runs."""

    def kill(self) -> None:
        """SIGKILL."""


def get(url: str) -> httpx.Response:
    """What a worker answers. Raises `httpx.HTTPError`."""
    return _http.get(url)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Several different free ports; consecutive calls of `free_port` may return the same one."""
    with ExitStack() as probes:
        held = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in held:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in held]


class Worker:
    """One replica. A `with` starts it and kills it in the end."""

    def __init__(self, stack: EmbeddedStack, names: Names, directory: Path, **settings: str) -> None:
        self.port = free_port()
        self.environment = {
            **os.environ,
            **settings_of(stack, names),
            "WEB_PORT": str(self.port),
            "LEASE_TTL": "15s",
            # Tests break things on purpose, and wait to see what repairs them.
            "VERIFY_RATE": "0",
            **settings,
        }
        self.directory = directory
        self.log_path = directory / f"worker-{self.port}.log"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.kill()
        if kind is not None:
            print(f"--- the end of the worker's log ---\n{self.log()[-6000:]}")

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has started and not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until its web server answers."""
        self.launch()
        self.wait_until_started()

    def launch(self) -> None:
        """Start the process without waiting."""
        self._process = self._begin("-A", "tsync_stream", "worker", "-l", "info")

    def _begin(self, *arguments: str) -> "Process":
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [FAUST, *arguments],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=death_signal_setter(),  # noqa: PLW1509 - it makes one system call
            )

    def wait_until_started(self) -> None:
        """Wait until its web server answers."""
        wait_for(self._answers, _START_S, lambda: f"the worker does not start:\n{self.log()[-3000:]}")

    def stop(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash or the out-of-memory killer would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(_STOP_S)

    def health(self) -> dict[str, Any]:
        """The response of /health."""
        answer: dict[str, Any] = get(f"http://127.0.0.1:{self.port}/health").json()
        return answer

    def answers(self, page: str) -> int:
        """The status that a page answers with."""
        return get(f"http://127.0.0.1:{self.port}{page}").status_code

    def metrics(self) -> dict[str, float]:
        """The values of /metrics, by name and labels. The worker has one route, so that label is left out."""
        text = get(f"http://127.0.0.1:{self.port}/metrics").text
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {_without_route(name): float(value) for name, value in pairs}

    def total(self, name: str) -> float:
        """The value of one metric, over all its labels; 0 as long as it has none: a route counts once it is known."""
        return sum(value for key, value in self.metrics().items() if key.partition("{")[0] == name)

    def wait_until_capturing(self) -> None:
        """Wait until this replica reads the change stream."""
        wait_for(lambda: self.metrics()["tsync_capturing"] == 1, 30.0, "the worker does not capture")

    def log(self) -> str:
        """The output of the process so far."""
        return self.log_path.read_text(errors="replace")

    def run_command(self, *arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run a command of `tsync` with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "tsync_stream", *arguments],
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _answers(self) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise AssertionError(f"the worker ended with {code}:\n{self.log()[-3000:]}")
        try:
            self.health()
        except httpx.HTTPError:
            return False
        return True


def _without_route(name: str) -> str:
    """`tsync_x{route="a",reason="b"}` as `tsync_x{reason="b"}`, and without empty braces (pure)."""
    labels = re.compile(r'(?<=[{,])route="[^"]*",?')
    return labels.sub("", name).replace(",}", "}").removesuffix("{}")
