"""Verification finds exactly what was tampered with, and repairs it if asked to."""

from typing import Any

import orjson
import pytest

from tests.acceptance.changing import changing
from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.comparison import difference
from tests.support.listings import listings
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack


class Tampering:
    """Somebody changes Typesense by hand."""

    def __init__(self, stack: EmbeddedStack, names: Names) -> None:
        self._stack = stack
        self._path = f"/collections/{names.typesense_collection}/documents"

    def lose(self, document_id: str) -> None:
        with typesense_client(self._stack) as client:
            client.delete(f"{self._path}/{document_id}").raise_for_status()

    def put(self, *documents: dict[str, Any]) -> None:
        with typesense_client(self._stack) as client:
            body = b"\n".join(map(orjson.dumps, documents))
            answer = client.post(f"{self._path}/import?action=upsert", content=body)
            answer.raise_for_status()
            assert answer.text.count('"success":true') == len(documents)


@pytest.fixture
def tampering(stack: EmbeddedStack, names: Names) -> Tampering:
    return Tampering(stack, names)


def filled(source: Source, worker: Worker, equal: Equal, count: int) -> list[Any]:
    """Let the worker sync `count` documents; returns their keys."""
    keys = source.insert_many(listings(count)).inserted_ids
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    equal()
    return keys


def test_tampering_is_found_and_repaired_and_nothing_else_is_reported(
    source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    keys = filled(source, worker, equal, 300)
    clean = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert (clean.returncode, "300 documents were compared; none differs" in clean.stdout) == (0, True), clean.stdout

    tampering.lose(str(keys[7]))
    tampering.put({"id": str(keys[9]), "title": "changed by hand"}, {"id": "from nowhere", "title": "extra"})
    found = worker.run_command("verify", "--wait", timeout_s=90.0)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "lacks 1, shows 1 differently, and has 1 that MongoDB does not have" in found.stdout
    for example in (f'missing  ObjectId("{keys[7]}")', f'different  ObjectId("{keys[9]}")', 'extra  "from nowhere"'):
        assert example in found.stdout
    assert "Nothing was changed" in found.stdout
    with pytest.raises(AssertionError, match=r"1 missing.*1 extra.*1 different"):
        equal(timeout_s=0.5)

    repaired = worker.run_command("verify", "--repair", "--wait", timeout_s=90.0)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert "3 were queued; they are now synced" in repaired.stdout
    equal(timeout_s=0.0)  # synced by the time the command says so
    assert "changed by hand" not in worker.log()
    assert str(keys[9]) not in worker.log()


def test_documents_that_change_meanwhile_are_not_reported_as_different(
    stack: EmbeddedStack, state: State, source: Source, names: Names, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MAX_BUFFER_SIZE": "100", "BATCH_SIZE": "50"}
    keys = filled(source, worker, equal, 400)
    tampering.lose(str(keys[3]))
    with changing(source):
        wait_for(lambda: bool(difference(stack, names)), 20.0, "no change is ever in transit")
        found = worker.run_command("verify", "--wait", timeout_s=120.0)
    result = state.job()["result"]
    assert (result["missing"], result["different"], result["extra"]) == (1, 0, 0), result
    assert [example["key"] for example in result["examples"]] == [keys[3]]
    assert found.returncode == 1
    assert worker.run_command("verify", "--repair", "--wait", timeout_s=90.0).returncode == 0
    equal()


def test_a_verification_leaves_out_documents_with_open_dead_letters(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    filled(source, worker, equal, 20)
    source.insert_many([{"_id": "poison", "number": "no number"}, {"_id": "x" * 2_000, "number": 1}])
    state.wait_for_letters(2, 30.0)
    found = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert found.returncode == 1, found.stdout
    assert "Done: 2 documents are refused" in found.stdout
    assert "22 documents were compared; none of the others differs" in found.stdout
    log = worker.log()
    assert "; compared: 22, missing: 0" in log, log
    assert "done, 2 refused (" in log, log


def test_a_repair_that_would_delete_too_much_leaves_the_documents(
    state: State, source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MASS_DELETE_SHARE": "0.2"}
    filled(source, worker, equal, 30)
    tampering.put(*({"id": f"extra {number}", "title": "extra"} for number in range(20)))
    found = worker.run_command("verify", "--repair", "--wait", timeout_s=90.0)
    result = state.job()["result"]
    assert (result["extra"], result["queued"], result["left"]) == (20, 0, 20), (
        "no more than a fifth of 50 may be deleted"
    )
    assert found.returncode == 1
    assert "20 remain in Typesense" in found.stdout
    assert "reconcile --allow-mass-delete" in found.stdout
    assert worker.run_command("reconcile", "--allow-mass-delete", "--wait", timeout_s=60.0).returncode == 0
    equal(timeout_s=0.0)


@pytest.mark.timeout(600)
def test_a_verification_interrupted_by_kill_9_resumes_where_it_was(
    state: State, source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MAX_BUFFER_SIZE": "20", "BATCH_SIZE": "10", "LEASE_TTL": "15s"}
    keys = filled(source, worker, equal, 6_000)
    lost = [keys[10], keys[-10]]
    for key in lost:
        tampering.lose(str(key))
    assert worker.run_command("verify", "--repair").returncode == 0
    job = state.job()["_id"]

    def compared() -> int:
        return int(state.job()["progress"].get("compared", 0))

    def is_synced_far() -> bool:
        jobs = [[cursor["job"] for cursor in record["position"]["cursors"]] for record in state.barrier_records()]
        return bool(jobs) and all(job in found for found in jobs)

    wait_for(
        lambda: compared() > 0 and is_synced_far(),
        60.0,
        lambda: f"the verification does not start: {state.job()}",
    )
    worker.kill()
    assert compared() < 6_000, "it had finished before it was interrupted"
    assert state.job()["status"] == "open"
    worker.start()
    wait_for(lambda: state.job()["status"] == "done", 120.0, lambda: f"{state.job()}")
    result = state.job()["result"]
    assert (result["compared"], result["missing"], result["different"], result["extra"]) == (6_000, 2, 0, 0)
    assert sorted(example["key"] for example in result["examples"]) == sorted(lost)
    equal(timeout_s=0.0)


def test_a_cancelled_verification_does_not_start(state: State, source: Source, worker: Worker, equal: Equal) -> None:
    filled(source, worker, equal, 5)
    assert worker.stop() == 0
    filed = worker.run_command("verify", "--repair")
    assert (filed.returncode, "No replica is live" in filed.stdout) == (0, True)
    job = state.job()["_id"]
    assert f"verify {job}: waiting for a replica" in worker.run_command("status").stdout
    assert worker.run_command("replay", "--cancel", job).returncode == 1, "it is no replay"
    assert worker.run_command("verify", "--cancel", job).returncode == 0
    assert worker.run_command("verify", "--cancel", job).returncode == 1
    assert worker.run_command("verify", "--cancel", job, "--wait").returncode == 2
    assert state.job()["status"] == "cancelled"


def test_a_verification_waits_for_an_open_reconcile(state: State, source: Source, worker: Worker, equal: Equal) -> None:
    """Documents that the first start has not queued yet are missing, and that is not a difference."""
    worker.environment |= {"MAX_BUFFER_SIZE": "20", "BATCH_SIZE": "10"}
    source.insert_many(listings(3_000))
    assert worker.run_command("verify").returncode == 0
    worker.start()
    wait_for(lambda: state.job()["status"] == "done", 60.0, lambda: f"{state.job()}")
    result = state.job()["result"]
    assert (result["compared"], result["missing"], result["different"]) == (3_000, 0, 0)
    equal(timeout_s=0.0)
