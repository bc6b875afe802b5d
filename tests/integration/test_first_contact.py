"""A user's first contact: the command line and the start of the worker, with odd environments or wrong settings.

Nothing here needs a server: unreachable servers make health red, and the worker runs nevertheless.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import faust
import httpx
import pytest

from tests.support.waiting import wait_for
from tests.support.worker import FAUST, free_port, get
from tsync_stream.core import __version__
from tsync_stream.settings.table import SETTINGS

OURS = [sys.executable, "-m", "tsync_stream"]
BY_FAUST = [str(FAUST), "-A", "tsync_stream"]
# The variables that Python needs to run; none of ours.
BARE = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
NOWHERE = {
    "MONGODB_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500",
    "TYPESENSE_PORT": "1",
    "PRIMARY_REDIS_PORT": "1",
    "BACKUP_REDIS_PORT": "2",
}


def run(command: list[str], directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**BARE, **environment}, cwd=directory, capture_output=True, text=True, timeout=200, check=False
    )


@contextmanager
def worker(directory: Path, environment: Mapping[str, str], *options: str, command: list[str] = OURS) -> Iterator[Path]:
    """A worker that reaches no server; yields its log."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "worker", *options],
            env={**BARE, **NOWHERE, **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait(10)


def wait_until_answering(url: str, log: Path) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []

    def answering() -> bool:
        try:
            answers.append(get(f"{url}/health").json())
        except httpx.HTTPError:
            return False
        return True

    wait_for(answering, 30.0, lambda: f"the worker does not answer at {url}:\n{log.read_text()[-3000:]}")
    return answers[0]


# ---- an environment full of variables that Faust would read ----

PREFIX_NAME = "APP_ENV_PREFIX"


def names_that_faust_reads() -> list[str]:
    """All except the one that changes the prefix of the others."""
    ours = {setting.name for setting in SETTINGS} | {PREFIX_NAME}
    names = {param.env_name for param in faust.Settings.SETTINGS.values() if param.env_name}
    return sorted((names | {"NODE_HOSTNAME", "LOGGING", "DJANGO_SETTINGS_MODULE", "DEVLOG", "NO_CYTHON"}) - ours)


def test_faust_reads_many_names() -> None:
    assert len(names_that_faust_reads()) > 75, "otherwise the test below would show little"


@pytest.mark.parametrize("prefix", ["", "OTHER_"])
@pytest.mark.parametrize("command", [OURS, BY_FAUST])
def test_no_variable_that_faust_reads_has_an_effect(tmp_path: Path, command: list[str], prefix: str) -> None:
    port = free_port()
    garbage = {prefix + name: "garbage!" for name in names_that_faust_reads()}
    garbage |= {PREFIX_NAME: prefix} if prefix else {}
    with worker(tmp_path, {"WEB_PORT": str(port), **garbage}, command=command) as log:
        wait_until_answering(f"http://127.0.0.1:{port}", log)
        assert "garbage" not in log.read_text()


@pytest.mark.parametrize("value", ["kafka://elsewhere", "1", "true", "5"])
def test_no_variable_that_faust_accepts_has_an_effect_either(tmp_path: Path, value: str) -> None:
    """Garbage would fail; a valid value would be used."""
    port = free_port()
    fitting = dict.fromkeys(names_that_faust_reads(), value)
    with worker(tmp_path, {"WEB_PORT": str(port), **fitting}) as log:
        wait_until_answering(f"http://127.0.0.1:{port}", log)
    assert {path.name for path in tmp_path.iterdir()} == {"log"}, "no data directory is created"


def test_our_own_command_ignores_fausts_prefixed_variables(tmp_path: Path) -> None:
    """The command `faust` reads them on import, before any code of ours."""
    names = ["DEBUG", "WORKDIR", "DATADIR", "BLOCKING_TIMEOUT", "CONSOLE_PORT", "WEB_PORT", "WEB_TRANSPORT", "STRICT"]
    garbage = {prefix + name: "garbage!" for prefix in ("F_", "FAUST_") for name in names}
    done = run([*OURS, "--version"], tmp_path, **garbage)
    assert (done.returncode, done.stdout) == (0, f"tsync-stream, version {__version__}\n")


# ---- where the pages are ----


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="::1 cannot be bound here, so no server can listen on it")
@pytest.mark.parametrize("bind", ["::1", "[::1]"])
def test_the_pages_are_served_on_an_ipv6_address(tmp_path: Path, bind: str) -> None:
    port = free_port()
    with worker(tmp_path, {"WEB_BIND": bind, "WEB_PORT": str(port)}) as log:
        wait_until_answering(f"http://[::1]:{port}", log)
        assert f"http://[::1]:{port}/health" in log.read_text()


@pytest.mark.parametrize("command", [OURS, BY_FAUST])
def test_a_taken_port_is_reported_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = run([*command, "worker"], tmp_path, **NOWHERE, WEB_PORT=str(port))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    [sentence] = [line for line in done.stderr.splitlines() if "WEB_PORT" in line]
    assert sentence.startswith(f"  - WEB_PORT={port}: another program listens on http://127.0.0.1:{port} already")


@pytest.mark.parametrize(
    ("bind", "sentence"),
    [
        ("192.0.2.1", "WEB_BIND=192.0.2.1: this machine has no such address"),
        ("no-such-host.invalid", "WEB_BIND=no-such-host.invalid: there is no host of that name"),
    ],
)
def test_an_address_of_another_machine_is_reported_in_one_sentence(tmp_path: Path, bind: str, sentence: str) -> None:
    done = run([*OURS, "worker"], tmp_path, **NOWHERE, WEB_BIND=bind)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_without_pages_no_port_is_needed(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        with worker(tmp_path, {"WEB_PORT": port}, "--without-web") as log:
            wait_for(lambda: "start: MongoDB" in log.read_text(), 30.0, lambda: f"no start:\n{log.read_text()}")


# ---- help, version, terminals ----


@pytest.mark.parametrize("command", [OURS, BY_FAUST])
@pytest.mark.parametrize("arguments", [["--help"], ["worker", "--help"], ["check", "--help"]])
def test_help_works_whatever_the_settings(tmp_path: Path, command: list[str], arguments: list[str]) -> None:
    done = run([*command, *arguments], tmp_path, BATCH_SIZE="many", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: ")
    assert "BATCH_SIZE" not in done.stderr


@pytest.mark.parametrize("command", ["worker", "check", "status", "dead-letters"])
def test_with_bad_settings_only_help_works(tmp_path: Path, command: str) -> None:
    done = run([*BY_FAUST, command], tmp_path, BATCH_SIZE="many")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "BATCH_SIZE='many' is not valid" in done.stderr


def test_the_version_is_ours(tmp_path: Path) -> None:
    done = run([*OURS, "--version"], tmp_path, BATCH_SIZE="many")
    assert done.stdout == f"tsync-stream, version {__version__}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_works_on_a_terminal_that_is_not_utf8(tmp_path: Path, encoding: str) -> None:
    done = run([*OURS, "check"], tmp_path, **NOWHERE, PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "-> start the server, or correct MONGODB_URI" in done.stdout


# ---- the worker's first lines ----


def test_the_banner_says_what_this_replica_does(tmp_path: Path) -> None:
    port = free_port()
    places = {"MONGODB_URI": "mongodb://user:s3cret@127.0.0.1:1/", "MONGODB_DATABASE": "shop", "TYPESENSE_HOST": "find"}
    with worker(tmp_path, {"WEB_PORT": str(port), "PYTHONIOENCODING": "ascii", **places}) as log:
        wait_until_answering(f"http://127.0.0.1:{port}", log)
        text = log.read_text()
    banner = text[: text.index("\n[")]
    assert banner.startswith(f"tsync-stream {__version__}\n")
    for part in (
        "MongoDB shop.listings (mongodb://***@127.0.0.1:1/)",
        "Typesense listings (http://find:1)",
        "primary Redis localhost:1, backup Redis localhost:2, then MongoDB (database tsync)",
        f"http://127.0.0.1:{port}/health",
    ):
        assert part in banner
    assert not re.search("kafka|memory:|cython|faust", banner, re.IGNORECASE)
    assert "s3cret" not in text


def test_the_worker_reports_unknown_settings(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / ".env").write_text("export PARTITIONS=4\nMONGODB_DB=shop\nPRIMARY_REDIS_PASWORD=s3cret\n", "utf-8")
    with worker(tmp_path, {"WEB_PORT": str(port)}) as log:
        wait_until_answering(f"http://127.0.0.1:{port}", log)
        text = log.read_text()
    assert "MONGODB_DB is not a setting and is ignored" in text
    assert "PRIMARY_REDIS_PASWORD is not a setting and is ignored; did you mean PRIMARY_REDIS_PASSWORD?" in text
    assert "PARTITIONS is not" not in text
    assert "s3cret" not in text
