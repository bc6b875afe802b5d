"""Fixtures that all kinds of tests share: real servers, started once per run, and names of its own for each test."""

import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.dealing import dealt
from tests.support.secured import secured_stack
from tests.support.stack import FAIL_POINTS, ONE_COLLECTION, Names, remove, repair
from tsync_stream.embedded import EmbeddedStack

# A process that a shell script starts in the background ignores Ctrl-C, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suites. Pytest asks only the outermost conftest for options."""
    group = parser.getgroup("faults")
    group.addoption("--fault-seed", type=int, help="use this seed in every fault test")
    group.addoption("--fault-hold", type=float, default=5.0, help="how many seconds each outage of a server lasts")
    group.addoption("--fault-replicas", type=int, default=1, help="minimum number of replicas, where more make sense")
    group.addoption(
        "--fault-listings", type=int, default=3_000, help="how many listings the tests of several routes have"
    )
    group.addoption(
        "--fault-kept", type=float, default=0.0, help="for how many seconds a reindex is written to before its rollback"
    )
    group.addoption("--fault-report", type=Path, help="write the table of the fault tests as Markdown to this file")
    group.addoption(
        "--fault-altered", default="", help="run every replica with these changes of tests/faults/support/altered.py"
    )
    releases = parser.getgroup("releases")
    releases.addoption("--all-releases", action="store_true", help="run every imitated release of Typesense")
    parser.getgroup("security").addoption(
        "--secured",
        action="store_true",
        help="servers that speak TLS only, and workers with the rights of docs/security.md alone; for tests/acceptance",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Refuse what cannot run on secured servers, and bring the tests into the order for several processes."""
    if config.getoption("--secured") and any("acceptance" not in item.path.parts for item in items):
        raise pytest.UsageError("--secured is for tests/acceptance alone")  # others reach servers in their own ways
    # One of the processes of pytest-xdist knows how many there are.
    if shared := getattr(config, "workerinput", None):
        items[:] = dealt(items, _place_of, shared["workercount"])


def _place_of(item: pytest.Item) -> tuple[str, str]:
    """The folder and the module of a test."""
    path = item.path.relative_to(Path(__file__).parent)
    return path.parts[0], str(path)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[EmbeddedStack]:
    """All servers, in a fresh directory. Tests that use it also use `names`, which cleans up."""
    started = secured_stack if pytestconfig.getoption("--secured") else EmbeddedStack
    directory = tmp_path_factory.mktemp("servers") / "stack"
    with started(directory, mongod_arguments=FAIL_POINTS) as servers:
        yield servers


@pytest.fixture
def names(stack: EmbeddedStack, request: pytest.FixtureRequest) -> Iterator[Names]:
    """Names for this test alone; afterwards the servers work again, and everything with these names is removed."""
    marker = request.node.get_closest_marker("reads")
    chosen = Names.new(marker.args[0] if marker else ONE_COLLECTION)
    yield chosen
    repair(stack)
    remove(stack, chosen)
