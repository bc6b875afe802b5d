"""Verification: the real worker and command line find what was tampered with, nothing else, and mend it if asked to."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson
import pytest

from tests.acceptance.conftest import Source
from tests.support.background import repeated
from tests.support.comparison import difference, wait_for
from tests.support.listings import listings
from tests.support.stack import Names, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Equal = Callable[..., None]


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


def only_job(names: Names, source: Source) -> Any:
    (job,) = source.database.client[names.state_database].jobs.find({"kind": {"$ne": "reconcile"}})
    return job


def filled(source: Source, worker: Worker, equal: Equal, count: int) -> list[Any]:
    """A worker that has synced so many documents; returns their keys."""
    keys = source.insert_many(listings(count)).inserted_ids
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    equal()
    return keys


def changing(source: Source) -> AbstractContextManager[None]:
    """Insert, change and delete documents all the time, some of them many times."""

    def step(number: int) -> None:
        # 61 has no divisor in common with the others: whatever is done is done to every one of them. And what a
        # document was before, it is again soon.
        key = f"live {number % 61}"
        if number % 5 == 0:
            source.delete_one({"_id": key})
        else:
            source.update_one({"_id": key}, {"$set": {"amount": number % 2}}, upsert=True)

    return repeated(step)


def test_what_was_tampered_with_is_found_and_nothing_else_and_then_repaired(
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

    mended = worker.run_command("verify", "--repair", "--wait", timeout_s=90.0)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "3 were queued; they are now synced" in mended.stdout
    equal(timeout_s=0.0)  # synced when the command says so, not some time later
    assert "changed by hand" not in worker.log()
    assert str(keys[9]) not in worker.log()


def test_what_changes_meanwhile_is_no_difference(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MAX_BUFFER_SIZE": "100", "BATCH_SIZE": "50"}
    keys = filled(source, worker, equal, 400)
    tampering.lose(str(keys[3]))
    with changing(source):
        wait_for(lambda: bool(difference(stack, names)), 20.0, "nothing is ever on its way")
        found = worker.run_command("verify", "--wait", timeout_s=120.0)
    result = only_job(names, source)["result"]
    assert (result["missing"], result["different"], result["extra"]) == (1, 0, 0), result
    assert [example["key"] for example in result["examples"]] == [keys[3]]
    assert found.returncode == 1
    assert worker.run_command("verify", "--repair", "--wait", timeout_s=90.0).returncode == 0
    equal()


def test_documents_with_an_open_dead_letter_are_excepted(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    filled(source, worker, equal, 20)
    source.insert_many([{"_id": "poison", "number": "no number"}, {"_id": "x" * 2_000, "number": 1}])
    letters = source.database.client[names.state_database].dead_letters
    wait_for(lambda: letters.count_documents({"status": "open"}) == 2, 30.0, "not two dead letters")
    found = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert found.returncode == 1, found.stdout
    assert "Done: 2 documents are refused" in found.stdout
    assert "22 documents were compared; none of the others differs" in found.stdout
    log = worker.log()
    assert "; compared: 22, missing: 0" in log, log
    assert "done, 2 refused (" in log, log


def test_more_than_may_be_deleted_is_left(
    names: Names, source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MASS_DELETE_SHARE": "0.2"}
    filled(source, worker, equal, 30)
    tampering.put(*({"id": f"extra {number}", "title": "extra"} for number in range(20)))
    found = worker.run_command("verify", "--repair", "--wait", timeout_s=90.0)
    result = only_job(names, source)["result"]
    assert (result["extra"], result["queued"], result["left"]) == (20, 0, 20), (
        "a fifth of 50 may be deleted, and no more"
    )
    assert found.returncode == 1
    assert "20 remain in Typesense" in found.stdout
    assert "reconcile --allow-mass-delete" in found.stdout
    assert worker.run_command("reconcile", "--allow-mass-delete", "--wait", timeout_s=60.0).returncode == 0
    equal(timeout_s=0.0)


@pytest.mark.timeout(600)
def test_a_verification_that_kill_9_interrupts_goes_on_where_it_was(
    names: Names, source: Source, worker: Worker, equal: Equal, tampering: Tampering
) -> None:
    worker.environment |= {"MAX_BUFFER_SIZE": "20", "BATCH_SIZE": "10", "LEASE_TTL": "15s"}
    keys = filled(source, worker, equal, 6_000)
    lost = [keys[10], keys[-10]]
    for key in lost:
        tampering.lose(str(key))
    assert worker.run_command("verify", "--repair").returncode == 0
    job = only_job(names, source)["_id"]

    def compared() -> int:
        return int(only_job(names, source)["progress"].get("compared", 0))

    def is_synced_far() -> bool:
        records = source.database.client[names.state_database].pipeline.find({"position": {"$exists": True}})
        jobs = [[cursor["job"] for cursor in record["position"]["cursors"]] for record in records]
        return bool(jobs) and all(job in found for found in jobs)

    wait_for(
        lambda: compared() > 0 and is_synced_far(),
        60.0,
        lambda: f"the verification does not begin: {only_job(names, source)}",
    )
    worker.kill()
    assert compared() < 6_000, "it was too late to interrupt anything"
    assert only_job(names, source)["status"] == "open"
    worker.start()
    wait_for(lambda: only_job(names, source)["status"] == "done", 120.0, lambda: f"{only_job(names, source)}")
    result = only_job(names, source)["result"]
    assert (result["compared"], result["missing"], result["different"], result["extra"]) == (6_000, 2, 0, 0)
    assert sorted(example["key"] for example in result["examples"]) == sorted(lost)
    equal(timeout_s=0.0)


def test_a_cancelled_verification_is_not_begun(names: Names, source: Source, worker: Worker, equal: Equal) -> None:
    filled(source, worker, equal, 5)
    assert worker.stop() == 0
    filed = worker.run_command("verify", "--repair")
    assert (filed.returncode, "No replica is live" in filed.stdout) == (0, True)
    job = only_job(names, source)["_id"]
    assert f"verify {job}: waiting for a replica" in worker.run_command("status").stdout
    assert worker.run_command("replay", "--cancel", job).returncode == 1, "it is no replay"
    assert worker.run_command("verify", "--cancel", job).returncode == 0
    assert worker.run_command("verify", "--cancel", job).returncode == 1
    assert worker.run_command("verify", "--cancel", job, "--wait").returncode == 2
    assert only_job(names, source)["status"] == "cancelled"


def test_a_verification_waits_for_an_open_reconcile(names: Names, source: Source, worker: Worker, equal: Equal) -> None:
    """What the first start has not queued yet is missing, and that is no difference."""
    worker.environment |= {"MAX_BUFFER_SIZE": "20", "BATCH_SIZE": "10"}
    source.insert_many(listings(3_000))
    assert worker.run_command("verify").returncode == 0
    worker.start()
    wait_for(lambda: only_job(names, source)["status"] == "done", 60.0, lambda: f"{only_job(names, source)}")
    result = only_job(names, source)["result"]
    assert (result["compared"], result["missing"], result["different"]) == (3_000, 0, 0)
    equal(timeout_s=0.0)
