"""Promise 6: memory is bounded, whatever the backlog."""

from collections.abc import Callable

import pytest

from tests.faults.support.trial import Trial
from tests.support.listings import listings
from tests.support.memory import PeakMemory, resident_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

MB = 1 << 20


def pids(trial: Trial) -> list[int]:
    """The running replicas' processes."""
    return [replica.pid for replica in trial.cluster.running]


def test_a_backlog_takes_no_memory(trial: Trial, seed: Seed) -> None:
    """Fifty times as many changes as memory may hold wait while Typesense is frozen, and are then synced."""
    with trial.under_load("memory: a backlog of 50,000", seed(601), rate=100):
        before = resident_bytes(pids(trial))
        with PeakMemory(lambda: pids(trial)).watched() as memory:
            trial.stack.typesense.freeze()
            for first in range(0, 50_000, 5_000):
                burst = [{"_id": f"b{first + number}", "n": number} for number in range(5_000)]
                trial.source.insert_many(burst)
            wait_for(lambda: trial.cluster.total("tsync_entries_appended_total") >= 50_000, 60.0, "not captured")
            trial.stack.typesense.thaw()
            wait_for(lambda: trial.cluster.total("tsync_entries_acked_total") >= 50_000, 90.0, "not synced")
        assert memory.peak_bytes - before < 100 * MB, f"{(memory.peak_bytes - before) // MB} MB more"


def test_large_documents_are_not_held_all_at_once(trial: Trial, seed: Seed) -> None:
    """Forty documents of 2 MB fit into one batch; one copy of them all takes 80 MB."""
    patient = {"TYPESENSE_CONNECTION_TIMEOUT": "10s", "LEASE_TTL": "30s"}
    with trial.under_load("memory: 40 documents of 2 MB", seed(602), rate=50, settings=patient):
        before = resident_bytes(pids(trial))
        document = listings(1)[0]
        with PeakMemory(lambda: pids(trial)).watched() as memory:
            trial.stack.typesense.freeze()  # otherwise they would arrive one by one
            written = trial.cluster.total("tsync_documents_written_total")
            appended = trial.cluster.total("tsync_entries_appended_total")
            for number in range(40):
                trial.source.insert_one({"_id": f"large {number}", **document, "text": f"{number:04d}" * 500_000})
            wait_for(lambda: trial.cluster.total("tsync_entries_appended_total") >= appended + 40, 60.0, "not captured")
            trial.stack.typesense.thaw()
            wait_for(lambda: trial.cluster.total("tsync_documents_written_total") >= written + 40, 90.0, "not written")
            trial.load.pause()
            trial.wait_for_z()
        assert memory.peak_bytes - before < 170 * MB, f"{(memory.peak_bytes - before) // MB} MB more"


def test_a_full_queue_pauses_capture_and_health_says_so(trial: Trial, seed: Seed) -> None:
    """No more than MAX_BACKLOG entries are queued: the oplog holds the rest."""
    with trial.under_load("memory: MAX_BACKLOG", seed(603), settings={"MAX_BACKLOG": "1000"}):
        trial.stack.typesense.freeze()
        wait_for(lambda: "MAX_BACKLOG" in str(trial.cluster.capturing().health()), 30.0, "health does not say so")
        wait_for(lambda: appended_during(trial, 50) == 0, 10.0, "capture does not pause")
        trial.source.insert_many([{"_id": f"more {number}"} for number in range(2_000)])
        assert appended_during(trial, 300) == 0, "capture does not pause"
        assert "the oplog holds what is not synced for" in str(trial.cluster.capturing().health())
        trial.stack.typesense.thaw()
        wait_for(lambda: appended_during(trial, 50) > 0, 30.0, "capture does not resume")
        assert trial.pipeline()["epoch"] == 1, "the queue was lost, or mistaken for lost"


def appended_during(trial: Trial, operations: int) -> float:
    """How many entries are queued during this many operations."""
    before = trial.cluster.total("tsync_entries_appended_total")
    trial.load.wait_for_operations(operations)
    return trial.cluster.total("tsync_entries_appended_total") - before
