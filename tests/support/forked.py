"""Workers and commands that are forked from a process which has imported everything, instead of started afresh.

Importing Faust and the clients takes more than a second of processor time, which would be half of what the tests with
real workers cost. A forked worker then does what `faust -A tsync_stream worker` does, and a forked command what `tsync`
does. Tests of the start itself, of signals and of a user's first steps use `Worker`, which starts these programs.
"""

import atexit
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import tsync_stream
from tests.support.stack import Names
from tests.support.worker import Worker
from tsync_stream import cli
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.embedded.supervise import death_signal_setter

_CONTEXT = multiprocessing.get_context("forkserver")
# What a command needs is imported when it runs. The worker's module registers with Faust, so it has its own time.
_COMMANDS = [f"{cli.__name__}.{found.name}" for found in pkgutil.iter_modules(cli.__path__) if found.name != "worker"]
# Faust imports its drivers only when a worker starts.
_CONTEXT.set_forkserver_preload(
    [
        "tsync_stream.app",
        "tsync_stream.memory_transport",
        "faust.cli.faust",
        "faust.tables",
        "faust.web.drivers.aiohttp",
        *_COMMANDS,
        "tests.support.forked",
    ]
)


@atexit.register
def _kill_what_is_left() -> None:
    """Otherwise multiprocessing would wait for all children, even for frozen ones."""
    for child in multiprocessing.active_children():
        child.kill()


def be_faust() -> None:
    """What the command `faust` does."""
    from faust.cli.faust import cli as faust  # as late as the real command does

    sys.argv[0] = "faust"
    _tell_faust(sys.argv)
    faust()


def be_tsync() -> None:
    """What the command `tsync` does."""
    from tsync_stream.__main__ import main

    main()


class ForkedWorker(Worker):
    """A worker whose process is forked, as are its commands. `program` takes the place of `be_faust` in the worker."""

    def __init__(
        self,
        stack: EmbeddedStack,
        names: Names,
        directory: Path,
        program: Callable[[], None] = be_faust,
        /,
        **settings: str,
    ) -> None:
        super().__init__(stack, names, directory, **settings)
        self._program = program

    def _begin(self, *arguments: str) -> "ForkedProcess":
        return ForkedProcess(self._program, arguments, self, self.log_path, self.log_path)

    def run_command(self, *arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run a command of `tsync` with the same settings."""
        written = [self.directory / f"command-{time.monotonic_ns()}.{stream}" for stream in ("out", "err")]
        process = ForkedProcess(be_tsync, arguments, self, *written)
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        out, err = (path.read_text() for path in written)
        return subprocess.CompletedProcess(arguments, code, out, err)


class ForkedProcess:
    """The part of `subprocess.Popen` that a worker uses. Its output is appended to the files `out` and `err`."""

    def __init__(
        self, program: Callable[[], None], arguments: Sequence[str], worker: Worker, out: Path, err: Path
    ) -> None:
        place = (worker.environment, str(worker.directory), str(out), str(err))
        for path in (out, err):
            path.touch()
        self._process = _CONTEXT.Process(target=_become, args=(program, list(arguments), *place))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait for the end; returns the exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and we have not heard of it yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _become(
    program: Callable[[], None], arguments: list[str], environment: dict[str, str], directory: str, out: str, err: str
) -> None:
    """In the forked process: be what `exec` would have made of it."""
    # The fork server ends when nobody holds this pipe any more, and passes it on to us: we would keep each other alive.
    # Without it, the server ends with whoever started it, and we with the server.
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    death_signal_setter()()
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for path, standard in ((out, sys.stdout), (err, sys.stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, standard.fileno())
        os.close(descriptor)
    sys.argv = ["tsync", *arguments]
    # Importing its module has hidden that the package builds `app` from the environment on first use.
    vars(tsync_stream).pop("app", None)
    program()


def _tell_faust(arguments: list[str]) -> None:
    """Its command group looks for the app, and so for our commands, in the list that `sys.argv` was at its import."""
    from faust.cli.base import _Group

    bound: Any = _Group._maybe_import_app.__defaults__
    bound[0][:] = arguments
