"""One document that nobody can handle does not stop the others: with the real worker on real servers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection

from tests.acceptance.conftest import Source
from tests.support.comparison import actual_documents, wait_for
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion, text
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


def test_what_the_driver_cannot_decode_is_a_dead_letter_in_a_field_and_in_a_key(
    stack: EmbeddedStack, names: Names, source: Source, letters: Collection[dict[str, Any]], worker: Worker
) -> None:
    """Both when it was there before the first start, and when it comes as a change."""

    def insert_strange(number: int) -> None:
        whole = element("_id", text(f"strange {number}"))
        strange_key = WRONG_BINARY[:-1] + str(number).encode()
        documents = document_of(whole, element("x", WRONG_BINARY)), document_of(element("_id", strange_key))
        source.database.command(insertion(names.collection, *documents))

    insert_strange(1)
    source.insert_many([{"_id": f"before {number}"} for number in range(50)])
    worker.start()
    wait_for(lambda: letters.count_documents({"status": "open"}) == 2, 60.0, "no dead letters")
    source.insert_many([{"_id": f"during {number}"} for number in range(50)])
    insert_strange(2)
    source.insert_many([{"_id": f"after {number}"} for number in range(50)])
    wait_for(lambda: letters.count_documents({"status": "open"}) == 4, 60.0, "no dead letters")
    shown = actual_documents(stack, names)
    assert len(shown) == 150
    reasons = sorted(letter["reason"] for letter in letters.find({"status": "open"}))
    assert reasons == ["unreadable document"] * 2 + ["unusable id"] * 2
    verified = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert "4 documents are refused" in verified.stdout, verified.stdout + verified.stderr
    assert "none of the others differs" in verified.stdout
    source.database.command({"delete": names.collection, "deletes": [{"q": {}, "limit": 0}]})
    wait_for(lambda: letters.count_documents({"status": "open"}) == 0, 60.0, "dead letters of what is gone")


def test_a_key_of_megabytes_ends_in_one_reconcile_and_a_dead_letter(
    stack: EmbeddedStack, names: Names, source: Source, letters: Collection[dict[str, Any]], worker: Worker
) -> None:
    """It stands in its event a second time, in the resume token: MongoDB can never send that."""
    source.insert_many([{"_id": f"before {number}"} for number in range(50)])
    worker.start()
    wait_for(lambda: len(actual_documents(stack, names)) == 50, 30.0, "nothing arrives")
    opened = worker.metrics()["tsync_epochs_opened_total"]
    source.insert_one({"_id": "x" * 7_000_000})
    source.insert_many([{"_id": f"after {number}"} for number in range(50)])
    wait_for(lambda: len(actual_documents(stack, names)) == 100, 60.0, "capture stands still")
    wait_for(lambda: letters.count_documents({"status": "open"}) == 1, 60.0, "no dead letter")
    assert [letter["reason"] for letter in letters.find({"status": "open"})] == ["unusable id"]
    source.insert_one({"_id": "much later"})
    wait_for(lambda: "much later" in actual_documents(stack, names), 30.0, "capture stands still")
    assert worker.metrics()["tsync_epochs_opened_total"] == opened + 1, "it was reconciled again and again"


@pytest.mark.parametrize("options", [{"viewOn": "another", "pipeline": []}, {"timeseries": {"timeField": "at"}}])
def test_a_source_without_a_change_stream_is_red_before_anything_is_made(
    stack: EmbeddedStack, names: Names, tmp_path: Path, options: dict[str, Any]
) -> None:
    with mongo_client(stack) as client:
        client[names.database].create_collection(names.collection, **options)
    with Worker(stack, names, tmp_path) as worker:
        wait_for(lambda: "which has no change stream" in str(worker.health()), 30.0, lambda: str(worker.health()))
        assert worker.running
        said = worker.run_command("check")
        assert "which has no change stream" in said.stdout
    with typesense_client(stack) as typesense:
        assert typesense.get(f"/collections/{names.typesense_collection}").status_code == 404
