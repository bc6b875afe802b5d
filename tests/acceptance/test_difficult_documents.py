"""One document that nobody can handle does not stop the others: with the real worker on real servers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection

from tests.acceptance.conftest import Source
from tests.support.comparison import actual_documents, wait_for
from tests.support.stack import Names, mongo_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Equal = Callable[..., None]


@pytest.fixture
def letters(stack: EmbeddedStack, names: Names) -> Iterator[Collection[dict[str, Any]]]:
    """The dead letters of the test's deployment."""
    with mongo_client(stack) as client:
        yield client[names.state_database]["dead_letters"]


def test_a_document_that_outlasts_every_deadline_is_a_dead_letter_and_its_lane_goes_on(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    letters: Collection[dict[str, Any]],
    equal: Equal,
    tmp_path: Path,
) -> None:
    """Fifteen megabytes of Chinese: 1.6 s as UTF-8 on an idle machine, 5 s as this Typesense has to be sent them."""
    hasty = {"TYPESENSE_CONNECTION_TIMEOUT": "300ms", "LEASE_TTL": "1s", "PARTITIONS": "1", "SYNC_LANES": "1"}
    with Worker(stack, names, tmp_path, **hasty):
        source.insert_one({"_id": "first"})
        wait_for(lambda: "first" in actual_documents(stack, names), 30.0, "nothing arrives")
        characters = "".join(chr(0x4E00 + number) for number in range(5_000))
        source.insert_one({"_id": "slow", "text": characters * 1_000})
        source.insert_many([{"_id": f"other {number}"} for number in range(100)])
        wait_for(lambda: letters.count_documents({"status": "open"}) > 0, 120.0, "no dead letter")
        (letter,) = letters.find({"status": "open"})
        assert (letter["key"], letter["reason"]) == ("slow", "Typesense takes too long")
        wait_for(lambda: len(actual_documents(stack, names).keys() - {"slow"}) == 101, 60.0, "the lane stands still")
        source.update_one({"_id": "slow"}, {"$set": {"text": "short"}})
        wait_for(lambda: letters.count_documents({"status": "open"}) == 0, 60.0, "it stays a dead letter")
        equal(60.0)
