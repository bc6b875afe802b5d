"""Refused documents are counted by every job, health and `check`, and no dead letter outlives its document."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from bson.objectid import ObjectId

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.waiting import wait_for
from tests.support.worker import Worker

MANY = 50
REASON = "not a number in JSON"


def refused(count: int) -> list[dict[str, Any]]:
    """Documents that cannot be mapped."""
    return [{"_id": ObjectId(), "ratio": float("nan")} for _ in range(count)]


def problem(worker: Worker) -> dict[str, Any] | None:
    """What health says about dead letters."""
    return next((found for found in worker.health()["problems"] if found["check"] == "dead letters"), None)


def test_when_all_documents_are_refused_every_view_says_so(source: Source, worker: Worker) -> None:
    documents = refused(MANY)
    source.insert_many(documents)
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    (done,) = [line for line in worker.log().splitlines() if "reconcile: done" in line]
    assert f"{MANY} documents queued, {MANY} refused ({REASON}: {MANY})" in done
    assert "shows what MongoDB holds" not in done

    wait_for(lambda: problem(worker) is not None, 30.0, lambda: f"health is green: {worker.health()}")
    found = problem(worker)
    assert found is not None
    assert (found["level"], found["needs_person"]) == ("red", True)
    for words in (f"{MANY} of about {MANY} documents are refused ({REASON}: {MANY})", "DEAD_LETTER_ALERT_SHARE"):
        assert words in found["text"]
        assert words in worker.log()
    assert worker.metrics()[f'tsync_dead_letters_open{{reason="{REASON}"}}'] == MANY

    reconciled = worker.run_command("reconcile", "--wait", timeout_s=60.0)
    assert reconciled.returncode == 1, reconciled.stdout
    assert f"Done: {MANY} documents queued, {MANY} refused ({REASON}: {MANY})" in reconciled.stdout
    assert "dead-letters" in reconciled.stdout

    verified = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert verified.returncode == 1, verified.stdout
    assert f"Done: {MANY} documents are refused" in verified.stdout

    checked = worker.run_command("check")
    assert checked.returncode == 1, checked.stdout
    assert f"{MANY} of about {MANY} documents are refused" in " ".join(checked.stdout.split())

    shown = worker.run_command("status")
    assert f"{MANY} open, 100 % of the documents ({REASON}: {MANY})" in " ".join(shown.stdout.split())
    seen = orjson.loads(worker.run_command("status", "--json").stdout)
    assert (seen["documents"], seen["dead_letters_by_reason"]) == (MANY, {REASON: MANY})
    assert not any(str(document["_id"]) in worker.log() for document in documents)


def test_a_few_refused_documents_degrade_health_until_they_are_fixed(
    source: Source, worker: Worker, equal: Equal
) -> None:
    (bad,) = refused(1)
    source.insert_many([*listings(150), bad])
    worker.start()
    wait_for(lambda: problem(worker) is not None, 30.0, lambda: f"health is green: {worker.health()}")
    found = problem(worker)
    assert found is not None
    assert (found["level"], worker.health()["status"]) == ("degraded", "degraded")
    checked = worker.run_command("check")
    assert checked.returncode == 0, checked.stdout
    assert "1 of about 151 documents is refused" in " ".join(checked.stdout.split())
    source.update_one({"_id": bad["_id"]}, {"$set": {"ratio": 0.5}})
    equal()
    wait_for(lambda: problem(worker) is None, 20.0, lambda: f"still degraded: {worker.health()}")
    reconciled = worker.run_command("reconcile", "--wait", timeout_s=60.0)
    assert reconciled.returncode == 0, reconciled.stdout
    assert "151 documents queued, none refused" in reconciled.stdout


def test_dead_letters_of_a_dropped_collection_are_closed(
    state: State, source: Source, worker: Worker, equal: Equal
) -> None:
    def open_keys() -> list[Any]:
        return sorted(str(letter["key"])[:9] for letter in state.open_letters())

    worker.environment |= {"MASS_DELETE_SHARE": "1"}
    stays = {"_id": "stays", "ratio": float("nan")}
    source.insert_many([*listings(5), stays, {"_id": "x" * 2_000}, {"_id": "goes", "ratio": float("nan")}])
    worker.start()
    wait_for(lambda: len(open_keys()) == 3, 30.0, lambda: f"open: {open_keys()}")
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    source.drop()
    source.insert_many([stays, {"_id": "y" * 2_000}])
    wait_for(lambda: open_keys() == ["stays", "yyyyyyyyy"], 60.0, lambda: f"open: {open_keys()}")


def test_a_waiting_command_reports_that_no_replica_is_live(source: Source, worker: Worker) -> None:
    source.insert_many(listings(3))
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    assert worker.stop() == 0
    # Both at once: each waits for 20 s before it gives up.
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda it: worker.run_command(it, "--wait", timeout_s=60.0), ("verify", "reconcile")))
    for result in results:
        assert result.returncode == 1, result.stdout
        assert result.stderr.startswith("No replica has been live for 20 s")
        assert "stays filed" in result.stderr
        assert len(result.stderr.splitlines()) == 2, f"a clean stop is no problem to report: {result.stderr}"

    worker.launch()
    result = worker.run_command("verify", "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stdout + result.stderr
