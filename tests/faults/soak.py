"""`make soak`: a continuous load on three replicas, and faults in random order for a set time.

    python -m tests.faults.soak --seconds 1800 --seed 1 --rate 500

After each fault the load pauses until Z holds; M is checked all the time, and the verification in the background passes
over all documents again and again: it must report none of them. The table at the end has a row per fault; the exit code
is 0 only if all of this held throughout. The same seed gives the same load and the same order.
"""

import argparse
import random
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.support import damage
from tests.faults.support.alarms import alarms
from tests.faults.support.cluster import LEASE_TTL_S
from tests.faults.support.report import Row, plain_table, write_markdown
from tests.faults.support.trial import Trial
from tests.support.listings import listings
from tests.support.load import RATE
from tests.support.proxy import Proxy
from tests.support.stack import Names, repair
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue import redis_scripts

REPLICAS = 3
KEYS = 3_000
# A pass takes some ten seconds.
VERIFY_RATE = "300"
Z_TIMEOUT_S = 180.0
LOG_DIRECTORY = "tsync-soak-"


@dataclass(slots=True)
class Soak:
    """What a fault of the soak works with."""

    trial: Trial
    generator: random.Random
    redis_proxy: Proxy
    mongo_proxy: Proxy
    passes: set[Any] = field(default_factory=set)  # when the verification's passes began, as seen after faults

    def lasting_s(self, most_s: float) -> float:
        """A random duration for a fault."""
        return self.generator.uniform(0.5, most_s)

    def settle(self) -> None:
        """Make everything run again, as at the beginning."""
        self.redis_proxy.restore()
        self.mongo_proxy.restore()
        cluster = self.trial.cluster
        for replica in cluster.running:
            cluster.thaw(replica)
        repair(self.trial.stack)
        damage.put_right(self.trial.stack.primary_redis)
        damage.put_right(self.trial.stack.backup_redis)
        cluster.start(*(replica for replica in cluster.replicas if not replica.running))
        cluster.wait_until_shared()


Fault = Callable[[Soak], None]


def kill_the_capturing_replica(soak: Soak) -> None:
    """Three times."""
    for _ in range(3):
        leader = soak.trial.cluster.capturing()
        others = soak.trial.cluster.following()
        leader.kill()
        soak.trial.take_over(time.monotonic(), *others)
        leader.start()


def kill_random_replicas(soak: Soak) -> None:
    """One to three at once."""
    for victim in soak.generator.sample(soak.trial.cluster.running, soak.generator.randint(1, REPLICAS)):
        victim.kill()


def freeze_a_replica(soak: Soak) -> None:
    """For up to three LEASE_TTL."""
    victim = soak.generator.choice(soak.trial.cluster.running)
    soak.trial.cluster.freeze(victim)
    damage.wait_s(soak.lasting_s(3 * LEASE_TTL_S))
    soak.trial.cluster.thaw(victim)


def rolling_restart(soak: Soak) -> None:
    """SIGTERM and a restart of each replica in turn."""
    for replica in soak.trial.cluster.replicas:
        assert replica.stop() == 0
        replica.start()


def kill_redis(soak: Soak) -> None:
    """kill -9, for a while."""
    soak.trial.stack.primary_redis.kill()
    damage.wait_s(soak.lasting_s(20))
    soak.trial.stack.primary_redis.start()


def wipe_both_redis(soak: Soak) -> None:
    """Both lose everything while there is a backlog."""
    with damage.backlog(soak.trial):
        for server in (soak.trial.stack.primary_redis, soak.trial.stack.backup_redis):
            server.kill()
            server.wipe()
        damage.wait_s(soak.lasting_s(20))
        for server in (soak.trial.stack.primary_redis, soak.trial.stack.backup_redis):
            server.start()


def wipe_primary_redis(soak: Soak) -> None:
    """It loses its disk while there is a backlog."""
    with damage.backlog(soak.trial):
        damage.wipe(soak.trial.stack.primary_redis)


def cut_the_aof(soak: Soak) -> None:
    """It loses the tail of its append-only file while there is a backlog."""
    with damage.backlog(soak.trial):
        damage.cut_aof(soak.trial.stack.primary_redis, soak.generator.uniform(0.1, 0.9))


def damage_the_queue(soak: Soak) -> None:
    """FLUSHALL, XTRIM, or a lost group or stream, with a backlog; the queue in MongoDB loses all entries."""
    act = soak.generator.choice([damage.flush, damage.trim, damage.destroy_groups, damage.delete_one_stream])
    with damage.backlog(soak.trial):
        if damage.queue_server(soak.trial) is None:
            act = damage.flush
        act(soak.trial)


def freeze_redis(soak: Soak) -> None:
    """It stops answering for a while."""
    soak.trial.stack.primary_redis.freeze()
    damage.wait_s(soak.lasting_s(15))
    soak.trial.stack.primary_redis.thaw()


def redis_refuses(soak: Soak) -> None:
    """OOM, READONLY, MISCONF or a changed password, for a while."""
    act = soak.generator.choice(
        [damage.fill_memory, damage.make_read_only, damage.break_snapshots, damage.change_password]
    )
    act(soak.trial.stack.primary_redis)
    damage.wait_s(soak.lasting_s(15))
    damage.put_right(soak.trial.stack.primary_redis)


def drop_append_replies(soak: Soak) -> None:
    """Replies to the replica behind the proxy, if it captures."""
    digest = redis_scripts.DIGESTS[redis_scripts.APPEND].encode()
    for _ in range(3):
        soak.redis_proxy.swallow_replies(digest, 3, but=b"{probe-")
        soak.trial.load.wait_for_operations(300)


def cut_one_replica_off_redis(soak: Soak) -> None:
    """The others still reach it."""
    soak.generator.choice([soak.redis_proxy.cut, soak.redis_proxy.black_hole])()
    damage.wait_s(soak.lasting_s(4 * LEASE_TTL_S))


def cut_one_replica_off_mongodb(soak: Soak) -> None:
    """The others still reach it."""
    soak.generator.choice([soak.mongo_proxy.cut, soak.mongo_proxy.black_hole])()
    damage.wait_s(soak.lasting_s(4 * LEASE_TTL_S))


def kill_mongod(soak: Soak) -> None:
    """kill -9 and a restart."""
    damage.restart_killed(soak.trial.stack.mongo)


def lose_the_position(soak: Soak) -> None:
    """The change stream cannot resume, which takes a reconcile."""
    data = {"failCommands": ["getMore"], "errorCode": 286, "appName": "tsync-stream"}
    soak.trial.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
    soak.trial.load.wait_for_operations(500)
    soak.trial.wait_until_reconciled(120)


def freeze_typesense(soak: Soak) -> None:
    """Requests time out and are carried out afterwards: documents may step back until the retry."""
    soak.trial.stack.typesense.freeze()
    damage.wait_s(soak.lasting_s(15))
    soak.trial.stack.typesense.thaw()


def kill_typesense(soak: Soak) -> None:
    """kill -9; its own log replay is excused from M."""
    with soak.trial.watcher.excused():
        soak.trial.stack.typesense.kill()
        damage.wait_s(soak.lasting_s(10))
        soak.trial.stack.typesense.start()


def burst(soak: Soak) -> None:
    """Insert sixty thousand documents, then delete them."""
    source = soak.trial.source
    for first in range(0, 60_000, 5_000):
        new = listings(5_000, seed=first, first=first)
        source.insert_many([{"_id": f"burst {first + n}", **item} for n, item in enumerate(new)])
    for first in range(0, 60_000, 5_000):
        source.delete_many({"_id": {"$in": [f"burst {first + n}" for n in range(5_000)]}})


FAULTS: list[Fault] = [
    kill_the_capturing_replica,
    kill_random_replicas,
    freeze_a_replica,
    rolling_restart,
    kill_redis,
    wipe_both_redis,
    wipe_primary_redis,
    cut_the_aof,
    damage_the_queue,
    freeze_redis,
    redis_refuses,
    drop_append_replies,
    cut_one_replica_off_redis,
    cut_one_replica_off_mongodb,
    kill_mongod,
    lose_the_position,
    freeze_typesense,
    kill_typesense,
    burst,
]


def in_random_order(generator: random.Random) -> Iterator[Fault]:
    """Every fault once, then all again in another order, without end."""
    while True:
        yield from generator.sample(FAULTS, len(FAULTS))


def go_through(soak: Soak, fault: Fault, seed: int) -> Row:
    """One fault under load, then Z. Returns the row that says how it went."""
    trial = soak.trial
    row = trial.row = Row(fault.__name__.replace("_", " "), seed, replicas=REPLICAS)
    operations, looks, steps = trial.load.operations, trial.watcher.looks, len(trial.watcher.steps_back)
    reported = len(alarms(trial.cluster))
    epoch = trial.pipeline()["epoch"]
    trial.load.go_on()
    try:
        trial.load.wait_for_operations(500)
        fault(soak)
        over_s = time.monotonic()
        soak.settle()
        trial.load.wait_for_operations(200)
        trial.load.pause()
        trial.wait_for_z(Z_TIMEOUT_S)
        row.recovery_s = time.monotonic() - over_s
        row.epochs = trial.pipeline()["epoch"] - epoch
        unexcused = trial.unexcused_steps_back(steps)
        false = alarms(trial.cluster)[reported:]
        row.result = f"M: {unexcused[0]}" if unexcused else f"verification: {false[0]}" if false else "held"
    except Exception as error:  # noqa: BLE001 - the table is printed whatever happened
        traceback.print_exc()
        row.result = f"failed: {str(error)[:100]}"
    row.operations = trial.load.operations - operations
    row.looks = trial.watcher.looks - looks
    row.steps_back = len(trial.watcher.steps_back) - steps
    trial.row = Row("", seed)  # the finished row must not change any more
    return row


def soak(directory: Path, seconds: float, seed: int, rate: float) -> list[Row]:
    """Run faults for `seconds`. A failure ends the soak, since it would affect every later fault."""
    rows: list[Row] = []
    generator = random.Random(seed)
    with running(directory, seed, rate) as tools:
        ends_s = time.monotonic() + seconds
        for fault in in_random_order(generator):
            if time.monotonic() > ends_s or (rows and rows[-1].result.startswith("failed")):
                break
            print(f"{time.strftime('%H:%M:%S')} {fault.__name__} ...", flush=True)
            rows.append(go_through(tools, fault, seed))
            tools.passes.add((tools.trial.state.verifications.find_one() or {}).get("began"))
            print(f"         {rows[-1].result}, recovery {rows[-1].recovery_s or 0:.1f} s", flush=True)
        if len(tools.passes - {None}) < min(2, len(rows)):
            rows.append(Row("verification", seed, result="failed: it makes no passes"))
    return rows


@contextmanager
def running(directory: Path, seed: int, rate: float) -> Iterator[Soak]:
    """Servers, three replicas (one behind a proxy to Redis, one behind a proxy to MongoDB), load and watcher."""
    arguments = ["--setParameter", "enableTestCommands=1"]
    with (
        EmbeddedStack(directory / "stack", mongod_arguments=arguments) as stack,
        Proxy(stack.primary_redis.port) as redis_proxy,
        Proxy(stack.mongo.port) as mongo_proxy,
    ):
        trial = Trial(stack, Names.new(), directory)
        with trial.prepared("soak", seed, rate=rate, keys=KEYS):
            trial.cluster.settings["VERIFY_RATE"] = VERIFY_RATE
            trial.cluster.add_behind_proxy(redis_proxy.port)
            trial.cluster.add(MONGODB_URI=f"mongodb://127.0.0.1:{mongo_proxy.port}/?directConnection=true")
            trial.cluster.add()
            trial.cluster.wait_until_shared()
            trial.wait_until_reconciled()
            trial.watcher.start()
            try:
                with trial.load.running():
                    yield Soak(trial, random.Random(seed + 1), redis_proxy, mongo_proxy)
            finally:
                trial.watcher.stop()


def main() -> int:
    """Parse, soak, print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--report", type=Path, help="write the table as Markdown to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = Path(tempfile.mkdtemp(prefix=LOG_DIRECTORY))
    print(f"seed {options.seed}; logs are in {directory}", flush=True)
    rows = soak(directory, options.seconds, options.seed, options.rate)
    print("\n".join(plain_table(rows)))
    if options.report:
        write_markdown(rows, options.report)
    held = bool(rows) and all(row.result == "held" for row in rows)
    print("held" if held else f"FAILED; to repeat it: python -m tests.faults.soak --seed {options.seed}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
