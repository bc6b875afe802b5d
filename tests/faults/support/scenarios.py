"""Scenarios that the product survives and a wrong design does not, for the fault tests and the negative controls."""

import time

from tests.faults.support import damage
from tests.faults.support.trial import Trial
from tests.support.comparison import actual_documents
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.core.keys import typesense_id

# Small batches of few partitions on four lanes keep many requests in flight.
HOT = {"PARTITIONS": "4", "SYNC_LANES": "4", "BATCH_SIZE": "10"}


def frozen_with_an_old_write(trial: Trial, tool: str) -> tuple[Worker, str]:
    """Freeze a replica with an update in hand, and let another replica write a newer one.

    Returns the frozen replica and the id of the document.
    """
    trial.load.fill()
    trial.cluster.add(2)
    trial.cluster.wait_until_shared()
    trial.wait_until_reconciled()
    trial.wait_for_z()
    trial.wait_until_rechecked()  # a slow machine leaves writes in doubt, and the next write shall be of the update
    trial.watcher.start()
    trial.watcher.wait_for_looks(2)
    key = trial.load.hot_keys(1)[0]

    def update() -> int:
        version = trial.load.next_version()
        trial.source.update_one({"_id": key}, {"$set": {"version": version}})
        return version

    trigger = trial.cluster.pull(tool)
    update()
    wait_for(lambda: not trigger.exists(), 20.0, "no replica writes")
    victim = next(replica for replica in trial.cluster.running if damage.process_state(replica.pid) == "T")
    frozen_s = time.monotonic()
    others = [replica for replica in trial.cluster.running if replica is not victim]
    trial.take_over(frozen_s, *others)
    newest = update()
    document_id = typesense_id(key)

    def shown() -> bool:
        return bool(actual_documents(trial.stack, trial.names)[document_id]["version"] == newest)

    wait_for(shown, 30.0, "the successor does not write")
    trial.watcher.wait_for_looks(2)
    return victim, document_id
