"""Promise 1: nothing is lost. After any crash, restart, fail-over or data loss, Typesense ends equal to MongoDB."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.support import altered, damage
from tests.faults.support.cluster import metric
from tests.faults.support.mongo_set import step_down, three_nodes
from tests.faults.support.trial import Trial
from tests.support.listings import listings
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue import redis_scripts

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]


def test_without_any_fault(trial: Trial, seed: Seed) -> None:
    with trial.under_load("1 no fault", seed(101)):
        trial.load.wait_for_operations(2_000)


def test_the_first_load_while_others_write(trial: Trial, seed: Seed) -> None:
    with trial.prepared("2 first load under writes", seed(102)):
        trial.source.insert_many(
            [{"_id": f"old {number}", **listing} for number, listing in enumerate(listings(6_000))]
        )
        trial.load.fill()
        with trial.running():
            trial.cluster.add(2)
            trial.wait_until_reconciled()
        trial.check()


def test_a_burst(trial: Trial, seed: Seed) -> None:
    """The soak inserts sixty thousand documents; these fit into seconds."""
    with trial.under_load("3 a burst of 15,000", seed(103), replicas=2):
        for first in range(0, 15_000, 5_000):
            burst = listings(5_000, seed=first, first=first)
            trial.source.insert_many([{"_id": f"burst {first + n}", **item} for n, item in enumerate(burst)])


def test_kill_9_of_the_capturing_replica_again_and_again(trial: Trial, seed: Seed) -> None:
    with trial.under_load("4 kill -9 of the capturing replica", seed(104), replicas=3):
        for _ in range(3):
            trial.load.wait_for_operations(300)
            leader = trial.cluster.capturing()
            others = trial.cluster.following()
            leader.kill()
            trial.take_over(time.monotonic(), *others)
            leader.launch()


def test_kill_9_of_random_replicas(trial: Trial, seed: Seed) -> None:
    """Typesense is slow, so that every victim has batches in hand, which must be claimed."""
    generator = random.Random(seed(105))
    with Proxy(trial.stack.typesense.port, seed(105)) as proxy:
        settings = {"TYPESENSE_PORT": str(proxy.port)}
        with trial.under_load("5 kill -9 of random replicas", seed(105), replicas=3, settings=settings):
            proxy.delay(0.4)
            for _ in range(5):
                trial.load.wait_for_operations(generator.randint(50, 400))
                victim = generator.choice(trial.cluster.running)
                victim.kill()
                victim.launch()
            proxy.restore()


def test_one_replica_to_four_and_back(trial: Trial, seed: Seed) -> None:
    trial.least_replicas = 1
    with trial.under_load("8 one replica to four and back", seed(108)):
        first = trial.cluster.replicas[0]
        added = trial.cluster.add(3)
        trial.cluster.wait_until_shared()
        trial.load.wait_for_operations(300)
        for replica in (first, *added[:2]):
            stopped_s = time.monotonic()
            captured = replica is trial.cluster.capturing()
            assert replica.stop() == 0
            if captured:
                trial.take_over(stopped_s, *trial.cluster.running)
        trial.cluster.wait_until_shared()
        trial.load.wait_for_operations(300)


def test_the_primary_redis_is_killed_and_restarted(trial: Trial, seed: Seed) -> None:
    with trial.under_load("9 primary Redis killed and restarted", seed(109), replicas=2):
        for _ in range(3):
            trial.load.wait_for_operations(400)
            damage.restart_killed(trial.stack.primary_redis)


def test_the_primary_redis_is_wiped_under_a_backlog(trial: Trial, seed: Seed) -> None:
    with trial.under_load("10 primary wiped while Typesense stands still", seed(110), replicas=2):
        with damage.backlog(trial):
            epoch = trial.pipeline()["epoch"]
            damage.wipe(trial.stack.primary_redis)
            trial.wait_for_next_epoch(epoch)
        trial.load.wait_for_operations(100)


def test_the_tail_of_the_aof_is_cut(trial: Trial, seed: Seed) -> None:
    with trial.under_load("11 AOF tail cut", seed(111), replicas=2):
        with damage.backlog(trial):
            epoch = trial.pipeline()["epoch"]
            damage.cut_aof(trial.stack.primary_redis)
            trial.wait_for_next_epoch(epoch)
        trial.load.wait_for_operations(100)


def test_the_queue_is_damaged_under_a_backlog(trial: Trial, seed: Seed) -> None:
    acts = [damage.flush, damage.trim, damage.destroy_groups, damage.delete_one_stream]
    with trial.under_load("16 FLUSHALL, XTRIM, groups gone, a stream gone", seed(116)):
        for act in acts:
            with damage.backlog(trial):
                epoch = trial.pipeline()["epoch"]
                act(trial)
            trial.wait_for_next_epoch(epoch)
            trial.load.wait_for_operations(100)
            trial.check_in_between()
    assert trial.row.epochs >= len(acts)


# Part of the keys of a probe, which uses the same commands: the tier may be left if probes go unanswered.
PROBES = b"{probe-"
REQUESTS = {
    "appends": redis_scripts.DIGESTS[redis_scripts.APPEND].encode(),
    "reads": b"XREADGROUP",
    "acks": redis_scripts.DIGESTS[redis_scripts.ACK].encode(),
}


@pytest.mark.parametrize("requests", REQUESTS)
def test_replies_of_redis_are_lost(trial: Trial, seed: Seed, requests: str) -> None:
    with Proxy(trial.stack.primary_redis.port) as proxy:
        settings = {"PRIMARY_REDIS_PORT": str(proxy.port)}
        with trial.under_load(f"17 replies of {requests} dropped", seed(117), settings=settings):
            for goal in range(3, 13, 3):
                trial.load.wait_for_operations(200)
                proxy.swallow_replies(REQUESTS[requests], 3, but=PROBES)
                wait_for(lambda goal=goal: proxy.swallowed >= goal, 20.0, "no reply is swallowed")  # type: ignore[misc]
    assert trial.row.epochs == 0, "a lost reply must not count as a lost queue"


def test_mongod_is_killed(trial: Trial, seed: Seed) -> None:
    with trial.under_load("20 mongod kill -9", seed(120), replicas=2):
        for _ in range(2):
            trial.load.wait_for_operations(400)
            trial.stack.mongo.kill()
            trial.stack.mongo.start()
        trial.load.wait_for_operations(200)


def test_the_primary_of_three_mongods_steps_down(
    stack: EmbeddedStack, tmp_path: Path, trial: Trial, seed: Seed
) -> None:
    with three_nodes(stack, tmp_path) as (three, nodes):
        trial.use(three)
        with trial.under_load("19 stepDown on three nodes", seed(119), replicas=2):
            trial.load.wait_for_operations(300)
            step_down(nodes)
            trial.load.wait_for_operations(200)
            trial.stack.typesense.freeze()
            step_down(nodes)
            trial.load.wait_for_operations(200)
            trial.stack.typesense.thaw()


# Otherwise a slow machine is taken for a fault: a request that times out, or a lease that expires, is in doubt as well.
PATIENT = {"TYPESENSE_CONNECTION_TIMEOUT": "5s", "LEASE_TTL": "15s"}


def test_rolling_restarts(trial: Trial, seed: Seed) -> None:
    with trial.under_load("26 SIGTERM rolling restarts", seed(126), replicas=3, settings=PATIENT):
        for replica in trial.cluster.replicas:
            trial.load.wait_for_operations(200)
            captured = replica is trial.cluster.capturing()
            stopped_s = time.monotonic()
            assert replica.stop() == 0
            if captured:
                trial.take_over(stopped_s, *trial.cluster.running)
            replica.start()
        nothing_is_in_doubt(trial)


def nothing_is_in_doubt(trial: Trial) -> None:
    assert trial.state.rechecks.count_documents({}) == 0, "a clean stop leaves nothing in doubt"


class Reloads:
    """The settings of all replicas: they read one `.env`, so they make their stages anew at the same time."""

    def __init__(self, trial: Trial) -> None:
        self._dotenv = trial.cluster.directory / ".env"
        self._replicas = trial.cluster.running
        self._since = time.time()

    def change(self, batch_size: int) -> None:
        self._dotenv.write_text(f"BATCH_SIZE={batch_size}\n")

    def wait_until_taken_up(self) -> None:
        wait_for(
            lambda: all(
                metric(each, "tsync_settings_loaded_timestamp_seconds") > self._since for each in self._replicas
            ),
            60.0,
            lambda: f"the change is not taken up: {[each.log()[-1500:] for each in self._replicas]}",
        )
        self._since = time.time()


def test_settings_change_under_load(trial: Trial, seed: Seed) -> None:
    with trial.under_load("28 settings change", seed(128), replicas=2, settings=PATIENT):
        reloads = Reloads(trial)
        for number in range(3):
            trial.load.wait_for_operations(200)
            reloads.change(50 + number)
            reloads.wait_until_taken_up()
            trial.cluster.wait_until_shared()
        nothing_is_in_doubt(trial)


def test_settings_change_while_servers_are_away(trial: Trial, seed: Seed) -> None:
    with trial.under_load("28 settings change, servers away", seed(128), replicas=2):
        reloads = Reloads(trial)
        trial.stack.typesense.freeze()
        trial.load.wait_for_operations(300)
        reloads.change(20)
        trial.load.wait_for_operations(300)
        trial.stack.typesense.thaw()
        reloads.wait_until_taken_up()
        trial.stack.primary_redis.kill()
        reloads.change(30)
        reloads.wait_until_taken_up()
        trial.stack.primary_redis.start()
        trial.load.wait_for_operations(200)
        victim = trial.cluster.capturing()
        reloads.change(40)
        trial.load.wait_for_operations(random.Random(seed(128)).randrange(50, 400))  # somewhere between stop and start
        victim.kill()
        victim.start()
        trial.cluster.wait_until_shared()


@pytest.mark.parametrize("where", [altered.raise_before_append, altered.raise_before_ack])
def test_an_agent_fails_with_a_batch_in_hand(trial: Trial, seed: Seed, where: altered.Change) -> None:
    trial.cluster.changed.append(where.__name__)
    with trial.under_load(f"27 an agent fails: {where.__name__.replace('_', ' ')}", seed(127)):
        for _ in range(4):
            trial.load.wait_for_operations(200)
            trigger = trial.cluster.pull(where.__name__)
            wait_for(lambda trigger=trigger: not trigger.exists(), 20.0, "no agent has failed")  # type: ignore[misc]


@pytest.mark.parametrize("lost", [False, True])
def test_both_redis_are_dead_for_a_while(trial: Trial, seed: Seed, lost: bool) -> None:
    """Until they are back MongoDB is the queue, and Typesense keeps being updated."""
    servers = [trial.stack.primary_redis, trial.stack.backup_redis]
    fault = f"13 both Redis dead, back {'empty' if lost else 'as they were'}"
    with trial.under_load(fault, seed(113), replicas=2):
        trial.load.wait_for_operations(300)
        dead_s = time.monotonic()
        for server in servers:
            server.kill()
            if lost:
                server.wipe()
        trial.wait_for_tier("mongo")
        trial.row.take_over_s.append(time.monotonic() - dead_s)
        written = trial.cluster.total("tsync_entries_acked_total")
        trial.load.wait_for_operations(300)
        wait_for(
            lambda: trial.cluster.total("tsync_entries_acked_total") > written + 200, 30.0, "Typesense is not updated"
        )
        for server in servers:
            server.start()
        trial.load.wait_for_operations(300)
