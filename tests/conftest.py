"""Fixtures that every tier of tests shares: real servers once for the whole run, and names for each test."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.stack import Names, remove, repair
from tsync_stream.embedded import EmbeddedStack

# Whoever is started in the background of a shell script ignores Ctrl-C, and every process that it starts does, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's to say, which may be busy with much else.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the fault suite. They are here because pytest asks only for those of the outermost conftest."""
    group = parser.getgroup("faults")
    group.addoption("--fault-seed", type=int, help="use this seed in every fault test")
    group.addoption("--fault-hold", type=float, default=5.0, help="seconds for which each outage of a server is held")
    group.addoption("--fault-replicas", type=int, default=1, help="at least so many replicas, where more make sense")
    group.addoption("--fault-report", type=Path, help="write the table of the fault tests as Markdown to this file")
    group.addoption(
        "--fault-altered", default="", help="run every replica with these changes of tests/faults/support/altered.py"
    )
    releases = parser.getgroup("releases")
    releases.addoption("--all-releases", action="store_true", help="run every release of Typesense that is imitated")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """All servers, in a fresh directory. Tests that ask for it also ask for `names`, which cleans up."""
    with EmbeddedStack(
        tmp_path_factory.mktemp("stack"), mongod_arguments=["--setParameter", "enableTestCommands=1"]
    ) as servers:
        yield servers


@pytest.fixture
def names(stack: EmbeddedStack) -> Iterator[Names]:
    """Names for this test alone; afterwards the servers are repaired and the names are gone."""
    chosen = Names.new()
    yield chosen
    repair(stack)
    remove(stack, chosen)
