"""One test's worker, source collection, and comparison."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pymongo.collection import Collection

from tests.support.comparison import wait_until_equal
from tests.support.stack import Names, mongo_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Source: TypeAlias = Collection[dict[str, Any]]


@pytest.fixture
def source(stack: EmbeddedStack, names: Names) -> Iterator[Source]:
    """The source collection; it exists and is empty."""
    with mongo_client(stack) as client:
        database = client[names.database]
        database.create_collection(names.collection)
        yield database[names.collection]


@pytest.fixture
def worker(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[Worker]:
    """A worker that is not started yet; it is gone after the test."""
    replica = Worker(stack, names, tmp_path)
    try:
        yield replica
    finally:
        if replica.running:
            replica.kill()
        print(f"--- the worker's log, its last lines ---\n{replica.log()[-8000:]}")


@pytest.fixture
def equal(stack: EmbeddedStack, names: Names) -> Callable[..., None]:
    """Wait for Z: all of Typesense equals all of MongoDB."""

    def wait(timeout_s: float = 30.0, ignoring: frozenset[str] = frozenset()) -> None:
        wait_until_equal(stack, names, timeout_s=timeout_s, ignoring=ignoring)

    return wait
