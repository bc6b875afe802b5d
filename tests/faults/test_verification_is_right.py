"""The background verification raises no false alarm, whatever happens while it compares."""

import time
from collections.abc import Callable

import pytest

from tests.faults.support import damage
from tests.faults.support.alarms import alarms
from tests.faults.support.trial import Trial
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


def test_no_false_alarm_under_load_and_faults(trial: Trial, seed: Seed) -> None:
    """A lost queue, a cut connection to Typesense, and a capturing replica that is killed, in several passes."""

    def began() -> int:
        """When the present pass began; 0 before the first."""
        stored = trial.state.verifications.find_one() or {}
        return 0 if stored.get("began") is None else int(stored["began"].time)

    def wait_for_another_pass() -> None:
        before = began()
        wait_for(lambda: began() > before, 120.0, lambda: f"no pass begins: {trial.state.verifications.find_one()}")

    with Proxy(trial.stack.typesense.port, seed(301)) as proxy:
        settings = {"TYPESENSE_PORT": str(proxy.port), "VERIFY_RATE": "2000"}
        with trial.under_load("background verification", seed(301), replicas=2, settings=settings):
            wait_for_another_pass()
            damage.flush(trial)
            trial.load.wait_for_operations(300)
            proxy.cut()
            trial.load.wait_for_operations(300)
            proxy.restore()
            leader = trial.cluster.capturing()
            others = trial.cluster.following()
            leader.kill()
            trial.take_over(time.monotonic(), *others)
            leader.launch()
            wait_for_another_pass()
            wait_for_another_pass()
    assert alarms(trial.cluster) == []
