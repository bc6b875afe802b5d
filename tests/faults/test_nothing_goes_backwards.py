"""Promise 2: nothing goes backwards. No document gets older, and no deleted one returns, whatever overlapped."""

import math
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.support import altered, damage
from tests.faults.support.cluster import LEASE_TTL_S
from tests.faults.support.scenarios import HOT, frozen_with_an_old_write
from tests.faults.support.trial import Trial
from tests.support.comparison import actual_documents
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


def test_replicas_are_frozen_for_two_or_three_lease_times(trial: Trial, seed: Seed) -> None:
    generator = random.Random(seed(206))
    with trial.under_load("6 SIGSTOP of replicas", seed(206), replicas=3):
        trial.load.wait_for_operations(300)
        leader, other = trial.cluster.capturing(), trial.cluster.following()[0]
        for victim in (leader, other):
            successors = [replica for replica in trial.cluster.running if replica is not victim]
            frozen_s = time.monotonic()
            trial.cluster.freeze(victim)
            if victim is leader:
                trial.take_over(frozen_s, *successors)
            trial.cluster.wait_until_shared(*successors)
            lasting_s = generator.uniform(2, 3) * LEASE_TTL_S
            damage.wait_s(max(0.0, frozen_s + lasting_s - time.monotonic()))
            trial.cluster.thaw(victim)
            trial.cluster.wait_until_shared()


@pytest.mark.parametrize("tool", [altered.freeze_before_write, altered.die_after_write])
def test_a_writer_freezes_between_its_check_and_its_write(trial: Trial, seed: Seed, tool: altered.Change) -> None:
    """The old write then lands over newer data, which nothing can prevent; a recheck repairs it."""
    trial.cluster.changed.append(tool.__name__)
    trial.cluster.settings["TYPESENSE_CONNECTION_TIMEOUT"] = "500ms"  # the last recheck comes after 26 of these
    with trial.prepared(f"7 {tool.__name__.replace('_', ' ')}", seed(207)):
        victim, document_id = frozen_with_an_old_write(trial, tool.__name__)
        newest = actual_documents(trial.stack, trial.names)[document_id]["version"]
        trial.cluster.thaw(victim)
        if tool is altered.die_after_write:
            assert victim.wait(20.0) == -signal.SIGKILL
        wait_for(lambda: trial.cluster.sent_late(tool.__name__) != [], 20.0, "the old write is not answered")
        (sent,) = trial.cluster.sent_late(tool.__name__)
        assert (sent["id"], sent["version"] < newest) == (document_id, True), "the old write was not a step back"
        trial.fault_is_over()
        trial.check(rechecked=True)
    # A recheck may follow before the watcher looks again.
    assert {step.document_id for step in trial.watcher.steps_back} <= {document_id}


@pytest.mark.parametrize("tier", ["primary", "backup", "mongo"])
def test_a_capturing_replica_freezes_before_its_append_and_wakes_next_to_its_successor(
    trial: Trial, seed: Seed, tier: str
) -> None:
    trial.cluster.changed.append(altered.freeze_before_append.__name__)
    redis = (trial.stack.primary_redis, trial.stack.backup_redis)
    with trial.under_load(f"28 two capturing replicas at once, {tier}", seed(228), replicas=2):
        for server in redis[: ("primary", "backup", "mongo").index(tier)]:
            server.kill()
        trial.wait_for_tier(tier)
        epoch = trial.pipeline()["epoch"]
        for _ in range(2):
            trial.load.wait_for_operations(300)
            leader = trial.cluster.capturing()
            trigger = trial.cluster.pull(altered.freeze_before_append.__name__)
            wait_for(lambda trigger=trigger: not trigger.exists(), 20.0, "nobody appends")  # type: ignore[misc]
            damage.wait_for_process_state(leader.pid, "T")
            frozen_s = time.monotonic()
            trial.take_over(frozen_s, *(replica for replica in trial.cluster.running if replica is not leader))
            trial.load.wait_for_operations(100)
            trial.cluster.thaw(leader)
            wait_for(lambda leader=leader: zombie_knows(leader), 30.0, "two replicas capture")  # type: ignore[misc]
        assert trial.pipeline()["epoch"] == epoch, "a fenced append must not make the tier suspect"


def zombie_knows(replica: Worker) -> bool:
    """Whether a replica that was frozen knows that it no longer captures."""
    return "stops capturing" in replica.log() or "declared expired by others" in replica.log()


def test_the_capturing_replica_alone_loses_redis(trial: Trial, seed: Seed) -> None:
    with Proxy(trial.stack.primary_redis.port) as proxy, trial.prepared("18 capture cut off Redis", seed(218)):
        victim = trial.cluster.add_behind_proxy(proxy.port)
        victim.wait_until_capturing()
        others = trial.cluster.add(2)
        trial.cluster.wait_until_shared()
        with trial.running():
            trial.load.wait_for_operations(300)
            cut_s = time.monotonic()
            proxy.cut()
            trial.take_over(cut_s, *others)
            wait_for(lambda: lag_s(trial) < 5.0, 60.0, "the others do not take its partitions")
            trial.load.wait_for_operations(200)
            proxy.restore()
        trial.check()


def test_one_replica_alone_loses_mongodb(trial: Trial, seed: Seed) -> None:
    with Proxy(trial.stack.mongo.port) as proxy, trial.prepared("18 a worker cut off MongoDB", seed(219)):
        others = trial.cluster.add(2)
        trial.cluster.capturing()
        victim = trial.cluster.add(MONGODB_URI=f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true")[0]
        trial.cluster.wait_until_shared()
        with trial.running():
            trial.load.wait_for_operations(300)
            proxy.black_hole()
            trial.cluster.wait_until_shared(*others)
            trial.load.wait_for_operations(300)
            proxy.restore()
            trial.cluster.wait_until_shared(victim, *others)
        trial.check()


def lag_s(trial: Trial) -> float:
    """The lag that the capturing replica reports; infinite until it has measured one."""
    return trial.cluster.capturing().metrics().get("tsync_lag_seconds", math.inf)


def test_redis_is_frozen(trial: Trial, seed: Seed) -> None:
    with trial.under_load("14 SIGSTOP of Redis", seed(214), replicas=2):
        trial.load.wait_for_operations(300)
        trial.stack.primary_redis.freeze()
        damage.wait_s(2 * LEASE_TTL_S)
        trial.stack.primary_redis.thaw()
        trial.load.wait_for_operations(200)


def test_epochs_change_faster_than_barriers(trial: Trial, seed: Seed) -> None:
    with trial.under_load("31 epochs faster than barriers", seed(231), replicas=2):
        for _ in range(6):
            epoch = trial.pipeline()["epoch"]
            damage.flush(trial)
            trial.wait_for_next_epoch(epoch)
        trial.load.wait_for_operations(100)
    assert trial.row.epochs >= 6


def test_twenty_hot_documents_and_a_slow_typesense(trial: Trial, seed: Seed) -> None:
    """Requests of different lanes overtake each other; requests for one document never do."""
    with Proxy(trial.stack.typesense.port, seed(230)) as proxy:
        settings = {"TYPESENSE_PORT": str(proxy.port), **HOT}
        with trial.under_load("twenty hot documents, slow Typesense", seed(230), keys=20, settings=settings):
            proxy.delay(0.1)
            trial.load.wait_for_operations(1_500)
            proxy.restore()


def test_primary_to_backup_and_back_on_twenty_hot_documents(trial: Trial, seed: Seed) -> None:
    server = trial.stack.primary_redis
    with trial.under_load("12 primary to backup to primary, hot", seed(212), replicas=3, keys=20):
        trial.load.wait_for_operations(300)
        dead_s = time.monotonic()
        server.kill()
        trial.wait_for_tier("backup")
        trial.row.take_over_s.append(time.monotonic() - dead_s)
        trial.load.wait_for_operations(500)
        server.start()
        trial.wait_for_tier("primary", 120.0)
        trial.load.wait_for_operations(300)
