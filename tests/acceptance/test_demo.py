"""The demo as a newcomer sees it: piped, on a terminal, and killed. It never leaves a process behind."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import left_behind
from tests.support.waiting import wait_for
from tests.support.worker import free_port
from tsync_stream.embedded.supervise import death_signal_setter

_BOUND_S = 60.0
_DEMO = [sys.executable, "-m", "tsync_stream.demo"]
_ON_A_TERMINAL = [
    sys.executable,
    "-c",
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
    *_DEMO,
]


class Demo:
    """One run of the demo; `output` grows while it runs."""

    def __init__(self, directory: Path, command: list[str]) -> None:
        self.directory = directory
        self.output = ""
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=death_signal_setter(),  # noqa: PLW1509 - it makes one system call
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def type(self, keys: str) -> None:
        """Press keys."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys.encode())
        self.process.stdin.flush()

    def wait_for_text(self, pattern: str) -> re.Match[str]:
        """Wait until the output has it."""
        wait_for(lambda: re.search(pattern, self.output) is not None, _BOUND_S, lambda: f"no {pattern}:\n{self.output}")
        found = re.search(pattern, self.output)
        assert found is not None
        return found

    def family(self) -> list[psutil.Process]:
        """This process and everything below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(_BOUND_S)
        self._reading.join()
        assert self.process.stdin is not None
        self.process.stdin.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self.output += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", chunk.decode(errors="replace"))


def _environment() -> dict[str, str]:
    """Settings that point elsewhere, which the demo must ignore, and a terminal of known size."""
    others = {name: value for name, value in os.environ.items() if name not in ("DEMO_SECONDS", "NO_COLOR")}
    elsewhere = {"MONGODB_URI": "mongodb://localhost:1", "TYPESENSE_API_KEY": "secret", "TYPESENSE_PORT": "1"}
    return {
        **others,
        **elsewhere,
        "WEB_PORT": str(free_port()),
        "TERM": "xterm",
        "COLUMNS": "100",
        "LINES": "40",
        "PYTHONUNBUFFERED": "1",
    }


def _counts(output: str) -> list[tuple[int, int]]:
    """The document counts of MongoDB and Typesense, line by line."""
    found = re.findall(r"^MongoDB ([\d,]+) \| Typesense ([\d,]+) documents", output, re.MULTILINE)
    return [(int(source.replace(",", "")), int(target.replace(",", ""))) for source, target in found]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a `.env` that the demo must ignore."""
    chosen = tmp_path_factory.mktemp("demo")
    (chosen / ".env").write_text("MONGODB_URI=mongodb://localhost:2\nBATCH_SIZE=none\n")
    return chosen


@pytest.fixture(scope="module")
def first_run(directory: Path) -> str:
    """The output of a first run that lasts a few seconds."""
    demo = Demo(directory, [*_DEMO, "--seconds", "5"])
    assert demo.end() == 0, demo.output
    return demo.output


def test_documents_arrive_and_can_be_searched(first_run: str, directory: Path) -> None:
    counts = _counts(first_run)
    assert len(counts) >= 3, first_run
    source, target = counts[-1]
    assert source == target >= 150
    assert re.search(r"last change searchable after \d+ ms", first_run)
    assert re.search(r"search “\w+”: [1-9]\d* hits in \d+ ms\n    \w+.* €\n", first_run)
    assert "  curl -H 'X-TYPESENSE-API-KEY: xyz' 'http://127.0.0.1:" in first_run
    assert "/health" in first_run
    assert re.search(r"  curl .*&sort_by=price:asc&facet_by=address.city", first_run)
    assert left_behind(directory) == []


def test_a_second_run_goes_on_and_its_terminal_takes_searches(first_run: str, directory: Path) -> None:
    demo = Demo(directory, _ON_A_TERMINAL)
    seen = demo.wait_for_text(r"MongoDB +(\d+) documents")
    assert abs(int(seen[1]) - _counts(first_run)[-1][0]) <= 1
    cheapest = re.findall(r"  curl -H 'X-TYPESENSE-API-KEY: (\w+)' '(http:.*sort_by=price:asc.*)'", demo.output)
    (key, address) = cheapest[0]
    answer = httpx.get(address.strip(), headers={"X-TYPESENSE-API-KEY": key}).raise_for_status().json()
    prices = [hit["document"]["price"] for hit in answer["hits"]]
    assert prices == sorted(prices) != []
    assert {hit["document"]["address"]["city"] for hit in answer["hits"]} == {"Lisbon"}
    assert [(each["value"], each["count"]) for each in answer["facet_counts"][0]["counts"]] == [
        ("Lisbon", answer["found"])
    ]
    family = demo.family()
    demo.type("gardem\x7fn")
    demo.wait_for_text(r"garden▏ +[1-9]\d* hits in \d+ ms +│\s+│ +.*garden.*€")
    demo.type("\x03")
    assert demo.end() == 0, demo.output
    source, target = _counts(demo.output)[-1]
    assert source == target
    assert len(family) > 8  # the terminal, the demo, and a supervisor with each of four servers and the worker
    assert not any(process.is_running() for process in family)
    assert left_behind(directory) == []


def test_a_killed_demo_takes_everything_with_it(directory: Path) -> None:
    demo = Demo(directory, _DEMO)
    demo.wait_for_text(r"last change searchable")
    os.kill(demo.process.pid, signal.SIGKILL)
    wait_for(lambda: not left_behind(directory), 30.0, lambda: f"still running: {left_behind(directory)}")
    assert demo.end() == -signal.SIGKILL


def test_a_demo_that_is_told_to_end_before_it_has_begun_stops_in_order(directory: Path) -> None:
    """Twice: an impatient person must not interrupt the stopping."""
    demo = Demo(directory, _DEMO)
    demo.wait_for_text(r"Starting the worker")
    for _ in range(2):
        os.kill(demo.process.pid, signal.SIGTERM)
    assert demo.end() == 0, demo.output
    assert demo.output.endswith("==> Stopped.\r\n") or demo.output.endswith("==> Stopped.\n")
    assert left_behind(directory) == []
