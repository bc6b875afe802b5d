"""Documents that MongoDB, the driver or Typesense cannot handle do not stop the others."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.comparison import actual_documents
from tests.support.forked import ForkedWorker
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion, text
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack


def test_a_document_that_exceeds_every_deadline_becomes_a_dead_letter_and_its_lane_goes_on(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    state: State,
    equal: Equal,
    tmp_path: Path,
) -> None:
    """Five megabytes of Chinese text take Typesense over a second on an idle machine; its deadline is far shorter."""
    hasty = {"TYPESENSE_CONNECTION_TIMEOUT": "300ms", "LEASE_TTL": "1s", "PARTITIONS": "1", "SYNC_LANES": "1"}
    with ForkedWorker(stack, names, tmp_path, **hasty):
        source.insert_one({"_id": "first"})
        wait_for(lambda: "first" in actual_documents(stack, names), 30.0, "the document does not arrive")
        characters = "".join(chr(0x4E00 + number) for number in range(5_000))
        source.insert_one({"_id": "slow", "text": characters * 350})
        source.insert_many([{"_id": f"other {number}"} for number in range(100)])
        (letter,) = state.wait_for_letters(1, 120.0)
        assert (letter["key"], letter["reason"]) == ("slow", "Typesense takes too long")
        wait_for(lambda: len(actual_documents(stack, names).keys() - {"slow"}) == 101, 60.0, "the lane is stuck")
        source.update_one({"_id": "slow"}, {"$set": {"text": "short"}})
        state.wait_for_letters(0)
        equal(60.0)


def test_fields_and_keys_that_the_driver_cannot_decode_become_dead_letters(
    stack: EmbeddedStack, names: Names, source: Source, state: State, worker: Worker
) -> None:
    """Both what the first start finds and what arrives as a change."""

    def insert_strange(number: int) -> None:
        whole = element("_id", text(f"strange {number}"))
        strange_key = WRONG_BINARY[:-1] + str(number).encode()
        documents = document_of(whole, element("x", WRONG_BINARY)), document_of(element("_id", strange_key))
        source.database.command(insertion(names.collection, *documents))

    insert_strange(1)
    source.insert_many([{"_id": f"before {number}"} for number in range(50)])
    worker.start()
    state.wait_for_letters(2)
    source.insert_many([{"_id": f"during {number}"} for number in range(50)])
    insert_strange(2)
    source.insert_many([{"_id": f"after {number}"} for number in range(50)])
    state.wait_for_letters(4)
    wait_for(lambda: len(actual_documents(stack, names)) >= 150, 30.0, "the others are not synced")
    shown = actual_documents(stack, names)
    assert len(shown) == 150
    reasons = sorted(letter["reason"] for letter in state.open_letters())
    assert reasons == ["unreadable document"] * 2 + ["unusable id"] * 2
    verified = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert "4 documents are refused" in verified.stdout, verified.stdout + verified.stderr
    assert "none of the others differs" in verified.stdout
    source.database.command({"delete": names.collection, "deletes": [{"q": {}, "limit": 0}]})
    state.wait_for_letters(0)


def test_a_key_of_several_megabytes_costs_one_reconcile_and_becomes_a_dead_letter(
    stack: EmbeddedStack, names: Names, source: Source, state: State, worker: Worker
) -> None:
    """Its event contains it twice, the second time in the resume token, so MongoDB can never send that event."""
    source.insert_many([{"_id": f"before {number}"} for number in range(50)])
    worker.start()
    wait_for(lambda: len(actual_documents(stack, names)) == 50, 30.0, "the document does not arrive")
    opened = worker.total("tsync_epochs_opened_total")
    source.insert_one({"_id": "x" * 7_000_000})
    source.insert_many([{"_id": f"after {number}"} for number in range(50)])
    wait_for(lambda: len(actual_documents(stack, names)) == 100, 60.0, "capture is stuck")
    assert [letter["reason"] for letter in state.wait_for_letters(1)] == ["unusable id"]
    source.insert_one({"_id": "much later"})
    wait_for(lambda: "much later" in actual_documents(stack, names), 30.0, "capture is stuck")
    assert worker.total("tsync_epochs_opened_total") == opened + 1, "there was more than one reconcile"


@pytest.mark.parametrize("options", [{"viewOn": "another", "pipeline": []}, {"timeseries": {"timeField": "at"}}])
def test_a_source_without_a_change_stream_is_red_and_nothing_is_created(
    stack: EmbeddedStack, names: Names, tmp_path: Path, options: dict[str, Any]
) -> None:
    with mongo_client(stack) as client:
        client[names.database].create_collection(names.collection, **options)
    with ForkedWorker(stack, names, tmp_path) as worker:
        wait_for(lambda: "which has no change stream" in str(worker.health()), 30.0, lambda: str(worker.health()))
        assert worker.running
        said = worker.run_command("check")
        assert "which has no change stream" in said.stdout
    with typesense_client(stack) as typesense:
        assert typesense.get(f"/collections/{names.typesense_collection}").status_code == 404
