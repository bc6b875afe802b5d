"""Fixtures that every tier of tests shares: real servers once for the whole run, and names for each test."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Names, remove, repair
from tsync_stream.embedded import EmbeddedStack


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
