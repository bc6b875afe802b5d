"""Damage to servers, done behind the replicas' back, for the tests and the soak."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.faults.support.trial import Trial
from tests.support.stack import redis_client, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.embedded import RedisServer, Server
from tsync_stream.state.database import FALLBACK_QUEUE

GROUP = "tsync"


@contextmanager
def backlog(trial: Trial, entries: int = 300) -> Iterator[None]:
    """In the block Typesense is frozen and at least `entries` entries are captured and unsynced.

    Without a backlog, losing the queue would lose nothing.
    """
    before = trial.cluster.total("tsync_entries_appended_total")
    trial.stack.typesense.freeze()
    try:
        wait_for(
            lambda: trial.cluster.total("tsync_entries_appended_total") >= before + entries,
            60.0,
            "the backlog does not grow",
        )
        wait_for(lambda: trial.cluster.backlog() >= entries / 2, 20.0, "the backlog is not in the queue")
        wait_until_captured(trial)
        yield
    finally:
        trial.stack.typesense.thaw()


def wait_until_captured(trial: Trial) -> None:
    """Wait until the pipeline stores its captured position once more."""
    before = trial.pipeline()["captured"]
    wait_for(lambda: trial.pipeline()["captured"] != before, 30.0, "the captured position does not move")


def queue_server(trial: Trial) -> RedisServer | None:
    """The Redis that is the queue now; None while it is MongoDB."""
    redis_servers = {"primary": trial.stack.primary_redis, "backup": trial.stack.backup_redis}
    return redis_servers.get(trial.pipeline()["tier"])


def streams(trial: Trial) -> list[str]:
    """The names of the current epoch's streams; none while MongoDB is the queue."""
    server, pipeline = queue_server(trial), trial.pipeline()
    if server is None:
        return []
    part = f"{{{pipeline['deployment']}:{pipeline['epoch']}.{pipeline['nonce']}:"
    with redis_client(server) as client:
        names = client.scan_iter(match=f"{trial.names.token}*", count=1000)
        return sorted(name for name in names if part in name and name.endswith("}"))


def waiting(trial: Trial) -> int:
    """How many record batches of entries are in the current epoch's streams, which are on the primary Redis."""
    with redis_client(trial.stack.primary_redis) as client:
        return sum(int(client.xlen(name)) for name in streams(trial))


def wait_for_barriers(trial: Trial) -> None:
    """Wait until every partition's owner has recorded one more barrier: everything before it is synced."""

    def records() -> dict[str, Any]:
        return {record["_id"]: record["order"] for record in trial.state.pipeline.find({"order": {"$exists": True}})}

    before = records()

    def passed() -> bool:
        now = records()
        return bool(now) and all(now[name] != before.get(name) for name in now)

    wait_for(passed, 60.0, "the barriers do not move")


def call(server: RedisServer, *command: str | bytes | int) -> Any:
    """Send one Redis command."""
    with redis_client(server) as client:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]


def command_queue(trial: Trial, *command: str | bytes | int) -> Any:
    """Send one command to the Redis that is the queue now."""
    server = queue_server(trial)
    assert server is not None, "MongoDB is the queue"
    return call(server, *command)


def flush(trial: Trial) -> None:
    """FLUSHALL; the queue in MongoDB loses every entry."""
    if queue_server(trial) is None:
        trial.state[FALLBACK_QUEUE].delete_many({})
    else:
        command_queue(trial, "FLUSHALL")


def trim(trial: Trial) -> None:
    """Every stream loses its older half, whether it was read or not."""
    for name in streams(trial):
        length = command_queue(trial, "XLEN", name)
        command_queue(trial, "XTRIM", name, "MAXLEN", length // 2)


def destroy_groups(trial: Trial) -> None:
    """Every consumer group is lost, and with it what was read."""
    for name in streams(trial):
        command_queue(trial, "XGROUP", "DESTROY", name, GROUP)


def delete_one_stream(trial: Trial) -> None:
    """One stream is lost, as by an eviction."""
    command_queue(trial, "DEL", streams(trial)[0])


def restart_killed(server: Server) -> None:
    """kill -9 and a restart."""
    server.kill()
    server.start()


def wipe(server: Server) -> None:
    """kill -9, and a restart with an empty disk."""
    server.kill()
    server.wipe()
    server.start()


def cut_aof(server: RedisServer, share: float = 0.5) -> None:
    """kill -9, and a restart without the newest part of the append-only file, as after a power loss."""
    server.kill()
    parts = [path for path in server.directory.rglob(f"{server.options.append_filename}*") if path.is_file()]
    written = [path for path in parts if ".base." not in path.name and path.suffix != ".manifest"]
    newest = max(written, key=_size)
    with newest.open("r+b") as file:
        file.truncate(int(_size(newest) * (1 - share)))
    server.start()


def _size(path: Path) -> int:
    return path.stat().st_size


def fill_memory(server: RedisServer) -> None:
    """It refuses every write: OOM."""
    call(server, "CONFIG", "SET", "maxmemory", "1")


def give_memory(server: RedisServer) -> None:
    """It accepts writes again."""
    call(server, "CONFIG", "SET", "maxmemory", "0")


def make_read_only(server: RedisServer) -> None:
    """It becomes a replica of an unreachable server: READONLY."""
    call(server, "REPLICAOF", "127.0.0.1", "1")


def make_writable(server: RedisServer) -> None:
    """It is a primary again."""
    call(server, "REPLICAOF", "NO", "ONE")


def snapshot_typesense(trial: Trial, directory: Path) -> None:
    """Make Typesense write a snapshot: without one, a restart recreates the collection from the log, with a new age.

    It would then count as another collection, and the reconcile that follows would hide what the restart lost.
    """
    with typesense_client(trial.stack) as typesense:
        path = str(directory / "snapshot")
        typesense.post("/operations/snapshot", params={"snapshot_path": path}, timeout=30.0).raise_for_status()


def break_snapshots(server: RedisServer) -> None:
    """A snapshot fails, and from then on it refuses writes: MISCONF."""
    blocked = server.directory / server.options.rdb_filename
    blocked.unlink(missing_ok=True)
    (blocked / "in the way").mkdir(parents=True)
    with redis_client(server) as client:
        client.bgsave()

        def failed() -> bool:
            facts: Any = client.info("persistence")
            return bool(facts["rdb_last_bgsave_status"] == "err")

        wait_for(failed, 20.0, "the snapshot does not fail")


def repair_snapshots(server: RedisServer) -> None:
    """A snapshot succeeds, and it accepts writes again."""
    blocked = server.directory / server.options.rdb_filename
    (blocked / "in the way").rmdir()
    blocked.rmdir()
    with redis_client(server) as client:
        wait_for(lambda: _bgsave(client), 20.0, "a snapshot is still running")

        def done() -> bool:
            facts: Any = client.info("persistence")
            return bool(facts["rdb_last_bgsave_status"] == "ok")

        wait_for(done, 20.0, "the snapshot does not succeed")


def _bgsave(client: redis.Redis) -> bool:
    try:
        return bool(client.bgsave())
    except redis.ResponseError:
        return False


def change_password(server: RedisServer) -> None:
    """The password changes; clients are disconnected and refused."""
    call(server, "CONFIG", "SET", "requirepass", "another")
    with redis_client(server) as client:
        client.connection_pool.connection_kwargs["password"] = "another"
        client.client_kill_filter(_type="normal", skipme=True)


def change_password_back(server: RedisServer) -> None:
    """The password is the old one again."""
    with redis_client(server) as client:
        client.connection_pool.connection_kwargs["password"] = "another"
        client.config_set("requirepass", server.options.password)


def rewrite_aof(server: RedisServer) -> None:
    """Replace the append-only file by one with the current content only."""
    with redis_client(server) as client:
        client.bgrewriteaof()

        def done() -> bool:
            facts: Any = client.info("persistence")
            return not facts["aof_rewrite_in_progress"] and not facts["aof_rewrite_scheduled"]

        wait_for(done, 30.0, "the AOF is not rewritten")


def put_right(server: RedisServer) -> None:
    """Undo any damage: it runs, accepts the password of its settings, has memory, and accepts writes."""

    def answers() -> bool:
        try:
            return bool(call(server, "PING"))
        except redis.AuthenticationError:
            change_password_back(server)
        except redis.BusyLoadingError:
            pass
        except redis.ResponseError as error:
            if not str(error).startswith("MISCONF"):  # said to a PING, too
                raise
            return True
        return False

    wait_for(answers, 60.0, f"{server.title} does not answer")
    give_memory(server)
    make_writable(server)
    if (server.directory / server.options.rdb_filename).is_dir():
        repair_snapshots(server)


# Keys that a slowly loading server has to load, a twentieth of a second each: no probe misses that.
_LOADING_KEYS = 600
_KEY_LOAD_DELAY_US = 50_000


@contextmanager
def slow_loading(server: RedisServer) -> Iterator[None]:
    """kill -9, and a restart that takes half a minute (LOADING) but ends with the block; it is ready then."""
    filler = [f"filler:{number}" for number in range(_LOADING_KEYS)]
    with redis_client(server) as client:
        client.mset(dict.fromkeys(filler, "x" * 1_024))  # it answers clients each time it has loaded this much
    rewrite_aof(server)  # otherwise every command of all earlier tests would be delayed
    server.kill()
    delay = ["--key-load-delay", str(_KEY_LOAD_DELAY_US), "--loading-process-events-interval-bytes", "1024"]
    server.extra_arguments += delay
    try:
        server.launch()
        yield
    finally:
        del server.extra_arguments[-len(delay) :]
        wait_for(lambda: _hurries(server), 60.0, f"{server.title} does not accept a shorter delay")
        server.start()
    with redis_client(server) as client:
        client.unlink(*filler)


def _hurries(server: RedisServer) -> bool:
    try:
        return bool(call(server, "CONFIG", "SET", "key-load-delay", 0))
    except redis.ConnectionError:
        return False


def process_state(pid: int) -> str:
    """The kernel's state of a process: T for stopped."""
    answer = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()[:1]


def wait_for_process_state(pid: int, state: str) -> None:
    """Wait until a process is in this state."""
    wait_for(lambda: process_state(pid) == state, 30.0, f"process {pid} does not reach state {state}")


def wait_s(seconds: float) -> None:
    """Let a fault last. The time is the fault itself: there is no condition to wait for."""
    time.sleep(seconds)
