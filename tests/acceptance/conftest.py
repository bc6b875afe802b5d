"""The worker, the source collection, the stored state and the comparison of each test.

All of it runs on secured servers, too: `make secured`. `NOT_SECURED` names what cannot.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pymongo.collection import Collection

from tests.acceptance.state import State
from tests.support.comparison import wait_until_equal
from tests.support.forked import ForkedWorker
from tests.support.load import Load
from tests.support.stack import Names, mongo_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

NOT_SECURED = {
    "test_demo.py": "the demo starts servers of its own",
    "test_examples.py": "each example starts servers of its own",
    "test_releases.py": "an imitated release stands before Typesense, and speaks plain HTTP",
}

Source: TypeAlias = Collection[dict[str, Any]]
Equal: TypeAlias = Callable[..., None]

# A test whose worker and commands are started as a user starts them, instead of forked.
started_by_a_user = pytest.mark.parametrize("worker_type", [Worker], ids=["started by a user"])


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Skip what cannot run on secured servers."""
    if config.getoption("--secured"):
        for item in items:
            if reason := NOT_SECURED.get(item.path.name):
                item.add_marker(pytest.mark.skip(f"--secured: {reason}"))


@pytest.fixture
def source(stack: EmbeddedStack, names: Names) -> Iterator[Source]:
    """The source collection; it exists and is empty."""
    with mongo_client(stack) as client:
        database = client[names.database]
        database.create_collection(names.collection)
        yield database[names.collection]


@pytest.fixture
def state(names: Names, source: Source) -> State:
    """What the deployment of this test has stored."""
    return State(source.database.client[names.state_database])


@pytest.fixture
def make_load(stack: EmbeddedStack, names: Names, source: Source) -> Callable[[int], Load]:
    """A load on the source, the same for the same seed."""

    def made(seed: int) -> Load:
        return Load(stack.mongo.uri, source.database.name, names.collection, seed)

    return made


@pytest.fixture
def worker_type() -> type[Worker]:
    """How workers and commands are started. What is about the command itself is marked `started_by_a_user`."""
    return ForkedWorker


@pytest.fixture
def worker(
    stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path, worker_type: type[Worker]
) -> Iterator[Worker]:
    """A worker, not started yet; it is killed after the test."""
    replica = worker_type(stack, names, tmp_path)
    try:
        yield replica
    finally:
        if replica.running:
            replica.kill()
        print(f"--- the end of the worker's log ---\n{replica.log()[-8000:]}")


@pytest.fixture
def equal(stack: EmbeddedStack, names: Names) -> Equal:
    """Wait until all of Typesense equals all of MongoDB."""

    def wait(timeout_s: float = 30.0, ignoring: frozenset[str] = frozenset()) -> None:
        wait_until_equal(stack, names, timeout_s=timeout_s, ignoring=ignoring)

    return wait
