"""Promise 1 with fewer servers: without one Redis or without both, the tier that is left may fail and be lost."""

import random
from collections.abc import Callable

import pytest

from tests.faults.support import damage
from tests.faults.support.trial import Trial
from tests.support.proxy import Proxy

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

PRIMARY, BACKUP = "PRIMARY_REDIS_HOST", "BACKUP_REDIS_HOST"
ALONE = {PRIMARY: "", BACKUP: ""}


@pytest.mark.parametrize(("tier", "left_out"), [("primary", BACKUP), ("backup", PRIMARY)])
def test_the_only_redis_is_killed_and_wiped(trial: Trial, seed: Seed, tier: str, left_out: str) -> None:
    with trial.under_load(f"51 {tier} Redis alone: killed, wiped", seed(651), replicas=2, settings={left_out: ""}):
        assert trial.pipeline()["tier"] == tier
        server = damage.queue_server(trial)
        assert server is not None
        trial.load.wait_for_operations(300)
        damage.restart_killed(server)
        trial.load.wait_for_operations(300)
        trial.wait_for_tier(tier)
        with damage.backlog(trial):
            epoch = trial.pipeline()["epoch"]
            damage.wipe(server)
            trial.wait_for_next_epoch(epoch)
        trial.load.wait_for_operations(200)
        trial.wait_for_tier(tier)


def test_mongodb_alone_while_replicas_fail(trial: Trial, seed: Seed) -> None:
    """Typesense is slow, so that every victim has batches in hand, which must be claimed."""
    generator = random.Random(seed(652))
    with Proxy(trial.stack.typesense.port, seed(652)) as proxy:
        settings = ALONE | {"TYPESENSE_PORT": str(proxy.port)}
        with trial.under_load("52 MongoDB alone: replicas fail", seed(652), replicas=3, settings=settings):
            proxy.delay(0.4)
            for victim in (trial.cluster.capturing(), *generator.sample(trial.cluster.running, 2)):
                trial.load.wait_for_operations(generator.randint(50, 300))
                victim.kill()
                victim.launch()
            proxy.restore()
            trial.cluster.wait_until_shared()
            trial.check_in_between()
            frozen = trial.cluster.capturing()
            trial.cluster.freeze(frozen)
            trial.cluster.capturing(among=[replica for replica in trial.cluster.running if replica is not frozen])
            trial.cluster.thaw(frozen)
            trial.load.wait_for_operations(200)
            trial.wait_for_tier("mongo")


def test_mongodb_alone_while_it_fails(trial: Trial, seed: Seed) -> None:
    with trial.under_load("53 MongoDB alone: killed, its queue lost", seed(653), replicas=2, settings=ALONE):
        trial.load.wait_for_operations(200)
        damage.restart_killed(trial.stack.mongo)
        trial.load.wait_for_operations(200)
        with damage.backlog(trial):
            epoch = trial.pipeline()["epoch"]
            damage.flush(trial)
            trial.wait_for_next_epoch(epoch)
        trial.load.wait_for_operations(200)
        trial.wait_for_tier("mongo")
