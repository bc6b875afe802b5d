"""One of the benchmark's own modules as a subprocess: started, told to go, listened to, ended."""

import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

_REPOSITORY = Path(__file__).parents[1]
_READY_S = 90.0
_END_S = 10.0
_LOG_TAIL = 1_500


class EndedError(Exception):
    """A process has ended by itself."""


class Process:
    """A subprocess that ends with this process, however that ends: it watches the pipe of its standard input."""

    def __init__(self, module: str, arguments: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self._module = module
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = environment
        self._log_path = directory / f"{module}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def running_pid(self) -> int:
        """The process id. Raises `EndedError` if it has ended."""
        pid = self.pid
        if pid is None:
            raise EndedError(f"{self._module} has ended: {self.log_tail()}")
        return pid

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, unbuffered."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout

    def launch(self) -> None:
        """Start it and return at once."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                cwd=_REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for us, and we end it in order
            )

    def wait_until_ready(self) -> None:
        """Wait until it prints `ready`."""
        readable, _, _ = select.select([self.output], [], [], _READY_S)
        if not readable or self.output.readline() != b"ready\n":
            raise EndedError(f"{self._module} is not ready after {_READY_S:.0f} s: {self.log_tail()}")

    def go(self) -> None:
        """Tell it to begin."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    def log_tail(self) -> str:
        """The end of its standard error."""
        text = self._log_path.read_text(errors="replace") if self._log_path.exists() else ""
        return text[-_LOG_TAIL:].strip() or "it says nothing"

    def end(self) -> None:
        """End it, if it runs, and close its pipes."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
