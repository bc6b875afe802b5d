"""The suite can fail: Z or M detects each of these wrong designs, under the fault that it does not survive.

`support/altered.py` puts the wrong designs into the workers of these tests; the product passes the same scenarios in
the other files.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.support import altered, damage
from tests.faults.support.routes import RoutesTrial
from tests.faults.support.scenarios import HOT, frozen_with_an_old_write
from tests.faults.support.trial import Trial
from tests.support.catalogue import WIDE
from tests.support.comparison import Difference, difference
from tests.support.proxy import Proxy
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


def lasting_difference(trial: Trial) -> Difference:
    """What differs once writes have stopped and the queue is empty, so that nothing can still repair it."""
    wait_for(lambda: damage.waiting(trial) == 0, 60.0, "the queue does not empty")
    damage.wait_for_barriers(trial)
    return difference(trial.stack, trial.names)


def test_z_fails_if_the_position_is_saved_straight_after_the_append(trial: Trial, seed: Seed) -> None:
    """As test_the_queue_is_damaged_under_a_backlog: what is captured but not synced is lost with the queue."""
    trial.cluster.changed.append(altered.position_after_append.__name__)
    with trial.prepared("control: position saved after the append", seed(901)):
        trial.cluster.add()
        trial.wait_until_reconciled()
        with trial.running():
            with damage.backlog(trial):
                epoch = trial.pipeline()["epoch"]
                damage.flush(trial)
                trial.wait_for_next_epoch(epoch)
            trial.load.wait_for_operations(100)
        found = lasting_difference(trial)
        trial.watcher.stop()
        assert found.missing or found.different, "Z does not notice that changes were lost"
        trial.row.result = "failed, as it must"


def test_z_fails_without_rechecks(trial: Trial, seed: Seed) -> None:
    """As test_a_writer_freezes_between_its_check_and_its_write: the old write stays."""
    trial.cluster.changed += [altered.no_rechecks.__name__, altered.freeze_before_write.__name__]
    trial.cluster.settings["TYPESENSE_CONNECTION_TIMEOUT"] = "500ms"
    with trial.prepared("control: no rechecks", seed(902)):
        victim, document_id = frozen_with_an_old_write(trial, altered.freeze_before_write.__name__)
        trial.cluster.thaw(victim)
        wait_for(lambda: trial.watcher.steps_back != [], 20.0, "M does not notice the step back")
        found = lasting_difference(trial)
        trial.watcher.stop()
        assert found.different == [document_id], "Z does not notice the old write"
        trial.row.result = "failed, as it must"


def test_m_fails_with_four_consumers_of_one_stream(trial: Trial, seed: Seed) -> None:
    """As test_twenty_hot_documents_and_a_slow_typesense: requests for one document overtake each other."""
    trial.cluster.changed.append(altered.four_consumers.__name__)
    with Proxy(trial.stack.typesense.port, seed(903)) as proxy, trial.prepared("control: four consumers", 903, keys=20):
        trial.cluster.settings |= {"TYPESENSE_PORT": str(proxy.port), **HOT}
        trial.cluster.add()
        trial.wait_until_reconciled()
        with trial.running():
            proxy.delay(0.1)
            wait_for(
                lambda: trial.watcher.steps_back != [], 60.0, "M does not notice that requests overtake each other"
            )
        trial.row.result = "failed, as it must"
        trial.watcher.stop()


@pytest.mark.parametrize("design", [altered.no_fan_out, altered.forgotten_refreshes])
def test_z_fails_if_what_is_looked_up_is_not_followed(
    design: Callable[[], None], stack: EmbeddedStack, names: Names, tmp_path: Path, seed: Seed
) -> None:
    """As test_parents_children_and_filters_stay_right_under_load."""
    trial = RoutesTrial(stack, names, tmp_path, least_replicas=1, listings=400)
    trial.cluster.changed.append(design.__name__)

    def run() -> None:
        with trial.under_load(f"control: {design.__name__}", seed(904)):
            trial.load.rename_category(WIDE)
            trial.load.wait_for_operations(100)
            trial.z_timeout_s = 3.0

    with pytest.raises(AssertionError, match=r"listings: \d+ differ, for one"):
        run()
