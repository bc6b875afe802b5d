"""Workers that are forked from a process which has imported everything, instead of being started anew.

To import Faust and the clients takes more than a second of a processor, which is half of what the fault suite would
cost. What is forked then does what `faust -A tsync_stream worker` does; the tests in `tests/acceptance/` start that as
a user does.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import tsync_stream
from tests.support.stack import Names
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

_CONTEXT = multiprocessing.get_context("forkserver")
# Faust imports its drivers only when a worker starts.
_CONTEXT.set_forkserver_preload(
    [
        "tsync_stream.app",
        "tsync_stream.memory_transport",
        "faust.cli.faust",
        "faust.tables",
        "faust.web.drivers.aiohttp",
    ]
)


@atexit.register
def _kill_what_is_left() -> None:
    """Otherwise multiprocessing would wait for every child, and for a frozen one for ever."""
    for child in multiprocessing.active_children():
        child.kill()


def be_faust() -> None:
    """What the command `faust` does."""
    from faust.cli.faust import cli  # as late as the real command does

    cli()


class ForkedWorker(Worker):
    """A worker whose process is forked. `program` takes the place of `be_faust`."""

    def __init__(
        self,
        stack: EmbeddedStack,
        names: Names,
        directory: Path,
        program: Callable[[], None] = be_faust,
        **settings: str,
    ) -> None:
        super().__init__(stack, names, directory, **settings)
        self._program = program

    def _begin(self, *arguments: str) -> "ForkedProcess":
        return ForkedProcess(self._program, arguments, self)


class ForkedProcess:
    """The part of `subprocess.Popen` that a worker uses."""

    def __init__(self, program: Callable[[], None], arguments: Sequence[str], worker: Worker) -> None:
        place = (worker.environment, str(worker.directory), str(worker.log_path))
        worker.log_path.touch()
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
            raise subprocess.TimeoutExpired("faust", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and that is on its way to us
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _become(
    program: Callable[[], None], arguments: list[str], environment: dict[str, str], directory: str, log: str
) -> None:
    """In the forked process: be what `exec` would have made of it."""
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for standard in (sys.stdout, sys.stderr):
        os.dup2(descriptor, standard.fileno())
    os.close(descriptor)
    sys.argv = ["faust", *arguments]
    # Its module's import has hidden that the package builds `app` from the environment on first use.
    vars(tsync_stream).pop("app", None)
    program()
