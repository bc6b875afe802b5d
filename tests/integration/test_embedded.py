"""The embedded stack with real servers: it starts, survives restarts, and leaves no process behind."""

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
import redis

from tests.support.processes import children_of, ended
from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.embedded import ALL_SERVERS, EmbeddedServerError, EmbeddedStack, RedisServerOptions, TypesenseServer
from tsync_stream.embedded.supervised import wait_until

BOUND_S = 30.0


@pytest.fixture
def redis_stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    """The cheapest possible stack, for tests of what all servers have in common."""
    with EmbeddedStack(tmp_path / "stack", servers=["primary_redis"]) as own:
        yield own


# What clients find


def test_mongodb_is_a_primary_with_change_streams_and_transactions(stack: EmbeddedStack, names: Names) -> None:
    with mongo_client(stack) as client:
        assert client.admin.command("hello")["setName"] == "rs0"
        collection = client[names.database][names.collection]
        collection.insert_one({"_id": 0})
        with collection.watch() as changes, client.start_session() as session:
            with session.start_transaction():
                collection.insert_one({"_id": 1}, session=session)
            assert next(changes)["documentKey"] == {"_id": 1}


def test_mongodb_takes_fail_points_in_tests(stack: EmbeddedStack, names: Names) -> None:
    with mongo_client(stack) as client:
        client.admin.command(
            "configureFailPoint",
            "failCommand",
            mode={"times": 1},
            data={"failCommands": ["count"], "errorCode": 2},
        )
        with pytest.raises(Exception, match="failCommand"):
            client[names.database].command("count", names.collection)


@pytest.mark.parametrize(
    ("server_name", "append_filename", "rdb_filename"),
    [
        ("primary_redis", "appendonly.aof", "dump.rdb"),
        ("backup_redis", "appendonly_backup.aof", "dump_backup.rdb"),
    ],
)
def test_each_redis_has_its_own_files(
    stack: EmbeddedStack, names: Names, server_name: str, append_filename: str, rdb_filename: str
) -> None:
    server = {"primary_redis": stack.primary_redis, "backup_redis": stack.backup_redis}[server_name]
    with redis_client(server) as client:
        client.set(names.primary_queue_key, "1")
        expected = {
            "appendonly": "yes",
            "appendfilename": append_filename,
            "dbfilename": rdb_filename,
            "save": "300 1",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
            "dir": str(server.directory),
        }
        assert client.config_get(*expected) == expected


def test_typesense_stores_and_finds_a_document(stack: EmbeddedStack, names: Names) -> None:
    with typesense_client(stack) as client:
        schema = {"name": names.typesense_collection, "fields": [{"name": ".*", "type": "auto"}]}
        client.post("/collections", json=schema).raise_for_status()
        path = f"/collections/{names.typesense_collection}/documents"
        client.post(path, json={"id": "1", "title": "loft"}).raise_for_status()
        found = client.get(f"{path}/search", params={"q": "loft", "query_by": "title"}).raise_for_status()
        assert found.json()["found"] == 1


def test_the_environment_leads_to_all_servers(stack: EmbeddedStack) -> None:
    assert stack.environment() == {
        "MONGODB_URI": f"mongodb://127.0.0.1:{stack.mongo.port}/?replicaSet=rs0",
        "PRIMARY_REDIS_HOST": "127.0.0.1",
        "PRIMARY_REDIS_PORT": str(stack.primary_redis.port),
        "PRIMARY_REDIS_PASSWORD": "",
        "BACKUP_REDIS_HOST": "127.0.0.1",
        "BACKUP_REDIS_PORT": str(stack.backup_redis.port),
        "BACKUP_REDIS_PASSWORD": "",
        "TYPESENSE_HOST": "127.0.0.1",
        "TYPESENSE_PORT": str(stack.typesense.port),
        "TYPESENSE_PROTOCOL": "http",
        "TYPESENSE_API_KEY": "xyz",
    }


def test_passwords_and_other_settings_reach_redis_but_not_its_command_line(tmp_path: Path) -> None:
    options = RedisServerOptions(
        append_only=False, rdb_filename="my dump.rdb", save_interval_s=0, password='se"cret \\word'
    )
    with EmbeddedStack(tmp_path, servers=["primary_redis"], primary_redis=options) as own:
        assert own.environment()["PRIMARY_REDIS_PASSWORD"] == options.password
        with redis_client(own.primary_redis) as client:
            expected = {"appendonly": "no", "dbfilename": "my dump.rdb", "save": ""}
            assert client.config_get(*expected) == expected
        assert options.password not in " ".join(psutil.Process(own.primary_redis.pid).cmdline())


# Restarts


def test_a_later_start_finds_the_same_data_on_the_same_ports(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path) as first:
        with mongo_client(first) as client:
            client.shop.listings.insert_one({"_id": 1})
        for server in (first.primary_redis, first.backup_redis):
            with redis_client(server) as queue:
                queue.set("key", server.name)
        with typesense_client(first) as typesense:
            schema = {"name": "listings", "fields": [{"name": ".*", "type": "auto"}]}
            typesense.post("/collections", json=schema).raise_for_status()
            typesense.post("/collections/listings/documents", json={"id": "1"}).raise_for_status()
        ports = {name: server.ports for name, server in first.servers.items()}

    with EmbeddedStack(tmp_path) as second:
        second.start()  # servers that already run are left alone
        assert {name: server.ports for name, server in second.servers.items()} == ports
        with mongo_client(second) as client:
            assert client.shop.listings.find_one() == {"_id": 1}
        for server in (second.primary_redis, second.backup_redis):
            with redis_client(server) as queue:
                assert queue.get("key") == server.name
        with typesense_client(second) as typesense:
            assert typesense.get("/collections/listings").json()["num_documents"] == 1


def test_another_port_is_chosen_for_one_that_is_taken_meanwhile(tmp_path: Path) -> None:
    servers = ["mongo", "typesense"]
    with EmbeddedStack(tmp_path, servers=servers) as first:
        taken = [first.mongo.port, first.typesense.port, first.typesense.ports["peering_port"]]
        with mongo_client(first) as client:
            client.shop.listings.insert_one({"_id": 1})

    strangers = [socketserver.TCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler) for port in taken]
    threads = [threading.Thread(target=stranger.serve_forever, args=[0.05]) for stranger in strangers]
    try:
        for thread in threads:
            thread.start()
        with EmbeddedStack(tmp_path, servers=servers) as second:
            new = [second.mongo.port, second.typesense.port, second.typesense.ports["peering_port"]]
            assert not set(new) & set(taken)
            with mongo_client(second) as client:
                assert client.shop.listings.find_one() == {"_id": 1}
    finally:
        for stranger, thread in zip(strangers, threads, strict=True):
            stranger.shutdown()
            stranger.server_close()
            thread.join(BOUND_S)


def test_a_killed_server_comes_back_with_its_data_and_a_wiped_one_without(redis_stack: EmbeddedStack) -> None:
    server = redis_stack.primary_redis
    port = server.port
    with redis_client(server) as client:
        client.config_set("appendfsync", "always")
        client.set("key", "value")

    server.kill()
    assert not server.alive
    assert server.pid is None
    server.start()
    assert server.port == port
    with redis_client(server) as client:
        assert client.get("key") == "value"

    with pytest.raises(EmbeddedServerError, match="stop or kill it before"):
        server.wipe()
    server.kill()
    server.wipe()
    server.start()
    with redis_client(server) as client:
        assert client.get("key") is None


def test_typesense_is_not_ready_while_it_still_replays_its_log(tmp_path: Path) -> None:
    pending_write_batches = [27, 3, 0]

    class HealthyFromTheStart(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: dict[str, Callable[[], dict[str, object]]] = {
                "/health": lambda: {"ok": True},
                "/stats.json": lambda: {"pending_write_batches": pending_write_batches.pop(0)},
                "/debug": lambda: {"state": 1, "version": "0.24.1"},
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]()).encode())

        def log_message(self, *_arguments: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), HealthyFromTheStart) as stand_in, ThreadPoolExecutor() as pool:
        pool.submit(stand_in.serve_forever, 0.05)
        server = TypesenseServer("typesense", tmp_path, "key")
        server.ports = {"port": stand_in.server_port}
        assert [server._probe() for _ in range(3)] == [None, None, "0.24.1"]
        stand_in.shutdown()


def test_a_wiped_mongodb_is_a_primary_again(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path, servers=["mongo"]) as own:
        own.mongo.kill()
        own.mongo.wipe()
        own.mongo.extra_arguments = ["--oplogSize", "990"]
        own.mongo.start()
        with mongo_client(own) as client:
            assert client.admin.command("hello")["isWritablePrimary"]
            assert client.local.command("collStats", "oplog.rs")["maxSize"] == 990 << 20


def test_a_frozen_server_answers_nothing_until_it_is_thawed(redis_stack: EmbeddedStack) -> None:
    server = redis_stack.primary_redis
    with redis_client(server, timeout_s=0.2) as client:
        server.freeze()
        assert server.alive
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
        server.wait_ready()
        assert client.ping()


def test_a_frozen_server_can_be_stopped(redis_stack: EmbeddedStack) -> None:
    server = redis_stack.primary_redis
    server.freeze()
    server.stop()
    assert not server.alive


# Ends


def test_stop_leaves_no_process(tmp_path: Path) -> None:
    own = EmbeddedStack(tmp_path)
    before = set(children_of(psutil.Process()))
    own.start()
    started = [process for process in children_of(psutil.Process()) if process not in before]
    assert len(started) == 8  # a server and its supervisor, four times
    own.stop()
    assert ended(started)
    own.stop()  # stopping again does nothing


def kill_the_parent_of_a_stack(directory: Path, *servers: str) -> list[psutil.Process]:
    """Start a stack in another process, freeze its Redis and kill that process; returns the processes left behind."""
    program = dedent(
        """
        import sys, time
        from pathlib import Path
        from tsync_stream.embedded import EmbeddedStack
        stack = EmbeddedStack(Path(sys.argv[1]), servers=sys.argv[2:])
        stack.start()
        stack.primary_redis.freeze()
        print("ready", flush=True)
        time.sleep(600)
        """
    )
    command = [sys.executable, "-c", program, str(directory), *servers]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        orphans = children_of(psutil.Process(parent.pid))
        parent.kill()
    assert len(orphans) == 2 * len(servers)  # a supervisor and a server each
    return orphans


def test_servers_end_within_seconds_after_their_parent_is_killed(tmp_path: Path) -> None:
    orphans = kill_the_parent_of_a_stack(tmp_path, *ALL_SERVERS)
    assert wait_until(lambda: ended(orphans), 10.0)


def test_the_next_stack_waits_for_the_servers_of_a_killed_stack(tmp_path: Path) -> None:
    servers = ["mongo", "primary_redis"]
    orphans = kill_the_parent_of_a_stack(tmp_path, *servers)
    with EmbeddedStack(tmp_path, servers=servers):
        assert ended(orphans)


def test_a_server_ends_with_its_supervisor(redis_stack: EmbeddedStack) -> None:
    server = psutil.Process(redis_stack.primary_redis.pid)
    supervisor = server.parent()
    assert supervisor is not None
    supervisor.kill()
    assert wait_until(lambda: ended([server]), BOUND_S)
    assert wait_until(lambda: not redis_stack.primary_redis.alive, BOUND_S)


def test_ctrl_c_in_a_terminal_lets_the_parent_stop_the_servers(tmp_path: Path) -> None:
    program = dedent(
        """
        import sys, time
        from pathlib import Path
        from tsync_stream.embedded import EmbeddedStack
        stack = EmbeddedStack(Path(sys.argv[1]), servers=["primary_redis"])
        stack.start()
        try:
            print("ready", flush=True)
            while True:  # a signal just before a long sleep would be noticed only at its end
                time.sleep(0.05)
        except KeyboardInterrupt:
            print("alive" if stack.primary_redis.alive else "dead", flush=True)
            stack.stop()
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    with parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            servers = children_of(psutil.Process(parent.pid))
            os.killpg(parent.pid, signal.SIGINT)  # what a terminal does
            assert parent.stdout.readline() == b"alive\n"
            assert parent.wait(BOUND_S) == 0
        finally:
            parent.kill()  # if it has not ended; its servers end with it
    assert ended(servers)


# Refusals


def test_a_start_that_is_interrupted_leaves_no_process_that_stop_does_not_know(
    redis_stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends a demo while it starts its worker interrupts just that."""
    server = redis_stack.primary_redis
    server.stop()
    real, begun = subprocess.Popen, []

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        begun.append(real(*arguments, **options))
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(50):  # a KeyboardInterrupt is raised here, if this is the main thread
            time.sleep(0.001)
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.launch()
    (supervisor,) = begun
    family = [psutil.Process(supervisor.pid), *psutil.Process(supervisor.pid).children(recursive=True)]
    server.stop()
    assert not server.alive
    assert ended(family)


def test_a_second_stack_in_the_same_directory_is_refused(redis_stack: EmbeddedStack) -> None:
    second = EmbeddedStack(redis_stack.directory, servers=["primary_redis"])
    with pytest.raises(ConfigurationError) as refusal:
        second.start()
    assert str(redis_stack.directory) in str(refusal.value)
    assert f"process {os.getpid()}" in str(refusal.value)
    assert "TSYNC_EMBEDDED_DIR" in str(refusal.value)
    assert redis_stack.primary_redis.alive


def test_a_server_that_exits_at_once_is_named_with_its_reason_and_none_is_left_running(tmp_path: Path) -> None:
    own = EmbeddedStack(
        tmp_path, servers=["mongo", "primary_redis"], mongod_arguments=["--setParameter", "noSuchThing=1"]
    )
    with pytest.raises(EmbeddedServerError, match=r"MongoDB ended .*noSuchThing.*mongo\.log"):
        own.start()
    assert not own.mongo.alive
    assert not own.primary_redis.alive
