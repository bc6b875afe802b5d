"""Promise 1: after any crash, restart, fail-over or data loss, Typesense ends equal to MongoDB. Nobody acts."""

import time
from collections.abc import Callable

import pytest

from tests.faults.support.trial import Trial

pytestmark = pytest.mark.timeout(240)
Seed = Callable[[int], int]


def test_no_fault_at_all(trial: Trial, seed: Seed) -> None:
    with trial.under_load("1 no fault", seed(101)):
        trial.load.wait_for_operations(2_000)


def test_kill_9_of_the_capturing_replica_again_and_again(trial: Trial, seed: Seed) -> None:
    with trial.under_load("4 kill -9 of the capturing replica", seed(104), replicas=3):
        for _ in range(3):
            trial.load.wait_for_operations(400)
            leader = trial.cluster.capturing()
            others = trial.cluster.following()
            leader.kill()
            trial.take_over(time.monotonic(), *others)
            trial.cluster.start(leader)
