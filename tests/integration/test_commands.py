"""The command line against real servers: `check`, `status` and `reconcile`, as a person types them."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.comparison import actual_documents, wait_until_equal
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import FAUST, Worker, free_port
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines
from tsync_stream.settings.load import load_settings

SECRET = "hunter2"


@pytest.fixture
def documents() -> list[dict[str, Any]]:
    """The initial documents of the source."""
    return listings(20)


@pytest.fixture
def source(stack: EmbeddedStack, names: Names, documents: list[dict[str, Any]]) -> None:
    """The source collection with its documents."""
    with mongo_client(stack) as client:
        client[names.database][names.collection].insert_many(documents)


@pytest.fixture
def worker(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[Worker]:
    """A worker, not started yet; it is killed after the test."""
    replica = ForkedWorker(stack, names, tmp_path)
    yield replica
    if replica.running:
        replica.kill()


@pytest.fixture
def running(worker: Worker, source: None, stack: EmbeddedStack, names: Names) -> Worker:
    """A worker that has completed its first start."""
    worker.start()
    wait_until_equal(stack, names)
    wait_for(lambda: look(worker).reconcile is None, 30.0, "the first start does not end")
    return worker


def look(worker: Worker) -> Status:
    """Read the pipeline's status in this process, which is faster than a command."""

    async def read() -> Status:
        async with StatusReader(load_settings(Path("/nowhere"), worker.environment)) as reader:
            return await reader.read()

    return asyncio.run(read())


def status(worker: Worker, expected_code: int = 0) -> Mapping[str, Any]:
    """What `status --json` prints."""
    result = worker.run_command("status", "--json")
    assert result.returncode == expected_code, result.stderr
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def elsewhere(worker: Worker, **settings: str) -> Worker:
    """The same command line with other settings."""
    worker.environment |= settings
    return worker


def unreachable() -> dict[str, str]:
    """Settings that reach no server and contain secrets."""
    port = str(free_port())
    return {
        "MONGODB_URI": f"mongodb://user:{SECRET}@127.0.0.1:{port}/?replicaSet=rs0",
        "PRIMARY_REDIS_PORT": port,
        "PRIMARY_REDIS_PASSWORD": SECRET,
        "BACKUP_REDIS_PORT": port,
        "TYPESENSE_PORT": port,
        "TYPESENSE_API_KEY": SECRET,
    }


def assert_for_people(result: subprocess.CompletedProcess[str]) -> None:
    """Check that the output has no traceback and no secret."""
    assert "Traceback" not in result.stderr + result.stdout
    assert SECRET not in result.stderr + result.stdout


def test_before_the_first_start_there_is_nothing_to_show_or_reconcile(worker: Worker) -> None:
    result = worker.run_command("status")
    assert result.returncode == 0
    assert "no pipeline yet: start a worker" in result.stdout

    result = worker.run_command("reconcile", "--wait")
    assert result.returncode == 1
    assert "Nothing has run yet" in result.stdout


# ---- check ----


@pytest.mark.usefixtures("source")
def test_check_finds_no_problems(worker: Worker) -> None:
    result = elsewhere(worker, MONGODB_URL="typo").run_command("check")
    assert result.returncode == 0, result.stdout
    assert "no problems found" in result.stdout
    assert "MONGODB_URL is not a setting and is ignored; did you mean MONGODB_URI?" in result.stdout
    assert result.stderr == ""

    result = worker.run_command("check", "--json")
    report = json.loads(result.stdout)
    assert (result.returncode, report["ok"]) == (0, True)
    assert len(report["dependencies"]) == 4
    assert len(report["warnings"]) == 1


def test_check_without_any_server_says_what_to_do(worker: Worker) -> None:
    result = elsewhere(worker, **unreachable()).run_command("check")
    assert result.returncode == 1
    assert "4 problems found" in result.stdout
    assert "correct PRIMARY_REDIS_HOST and PRIMARY_REDIS_PORT" in " ".join(result.stdout.split())
    assert_for_people(result)


def test_bad_settings_end_every_command_with_2(worker: Worker) -> None:
    result = elsewhere(worker, PARTITIONS="0", BATCH_SIZE="many").run_command("check", "--json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "2 problems" in result.stderr


def test_commands_find_a_running_embedded_stack_or_say_how_to_start_it(
    worker: Worker, stack: EmbeddedStack, source: None, tmp_path: Path
) -> None:
    nowhere = {name: "1" for name in stack.environment() if name.endswith("_PORT")}
    elsewhere(worker, **nowhere, MONGODB_URI="mongodb://127.0.0.1:1", TSYNC_EMBEDDED="true")
    result = elsewhere(worker, TSYNC_EMBEDDED_DIR=str(tmp_path / "none")).run_command("check")
    assert result.returncode == 1
    assert "no embedded stack is running" in result.stderr
    assert "tsync worker" in result.stderr
    assert not (tmp_path / "none").exists()

    result = elsewhere(worker, TSYNC_EMBEDDED_DIR=str(stack.directory)).run_command("check")
    assert result.returncode == 0, result.stdout


# ---- status ----


def test_status_shows_a_pipeline_at_work_and_after_a_crash(running: Worker) -> None:
    wait_for(lambda: look(running).lag_s == 0, 15.0, "the lag does not end")
    shown = status(running)
    assert shown["pipeline"]["epoch"] == 1
    assert shown["pipeline"]["tier"] == "primary"
    assert shown["queue"]["entries"] == 0
    assert [partition["owner"] for partition in shown["queue"]["partitions"]] == [shown["capturing"]] * 8
    assert (shown["live_replicas"], shown["dead_letters_open"], shown["unseen"]) == (1, 0, [])
    assert shown["captured"]["age_s"] < 15
    (replica,) = shown["replicas"]
    assert (replica["state"], replica["problems"]) == ("live", [])
    assert replica["silent_s"] < 15
    assert shown["rates"].keys() == {"captured_per_s", "synced_per_s"}

    running.kill()
    text = running.run_command("status").stdout
    assert "epoch 1 on the primary tier" in text
    assert "no replica captures now" in text
    assert f"{shown['capturing']} (gone)" in text

    # The queue is unreachable; everything else is shown.
    shown = status(elsewhere(running, PRIMARY_REDIS_PORT=str(free_port())), expected_code=1)
    assert shown["queue"]["entries"] is None
    assert shown["synced"]["age_s"] >= 0
    assert "the queue: primary Redis" in shown["unseen"][0]
    assert "connection refused" in shown["unseen"][0]


def test_status_without_any_server_says_what_to_do(worker: Worker) -> None:
    result = elsewhere(worker, **unreachable()).run_command("status")
    assert result.returncode == 1
    assert "MongoDB cannot be read at mongodb://***@127.0.0.1" in result.stderr
    assert "tsync check" in result.stderr
    assert result.stdout == ""
    assert_for_people(result)


def test_status_watch_repeats_until_interrupted(worker: Worker, tmp_path: Path) -> None:
    with subprocess.Popen(
        [FAUST, "-A", "tsync_stream", "status", "--json", "--watch", "0.2"],
        env=worker.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        for _ in range(3):
            assert json.loads(watching.stdout.readline())["pipeline"] is None
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
        assert watching.stderr.read() == ""


# ---- what is filed, as JSON ----


def test_what_a_command_files_and_how_that_ends_is_one_line_of_json(
    running: Worker, stack: EmbeddedStack, names: Names, documents: list[dict[str, Any]]
) -> None:
    def asked(*arguments: str, expected_code: int = 0) -> dict[str, Any]:
        result = running.run_command(*arguments, "--json", timeout_s=60.0)
        assert result.returncode == expected_code, result.stderr
        [line] = result.stdout.splitlines()
        answer: dict[str, Any] = json.loads(line)
        assert answer["ok"] is (expected_code == 0)
        return answer

    with typesense_client(stack) as client:
        path = f"/collections/{names.typesense_collection}/documents/{documents[0]['_id']}"
        client.delete(path).raise_for_status()
    found = asked("verify", "--wait", expected_code=1)
    [job] = found["jobs"]
    assert (found["live_replicas"], job["status"], job["route"]) == (1, "done", names.collection)
    result = job["result"]
    assert (result["equal"], result["compared"], result["missing"], result["refused"]) == (False, 20, 1, 0)
    [example] = result["examples"]
    assert (example["kind"], example["key"]) == ("missing", {"$oid": str(documents[0]["_id"])})

    [job] = asked("reconcile", "--wait")["jobs"]
    assert (job["outcome"], job["status"]) == ("filed", "done")
    assert job["result"] == {"queued": 20, "refused": 0, "refused_by_reason": {}}
    wait_until_equal(stack, names, timeout_s=1.0)

    nothing = {"ok": True, "chosen": 0, "can_be_replayed": 0, "by_reason": []}
    assert asked("replay", "--all") == {**nothing, "live_replicas": 1, "jobs": []}
    assert asked("replay", "--all", "--dry-run") == {**nothing, "dead_letters": []}

    running.stop()
    [job] = asked("verify")["jobs"]
    assert (job["status"], job["result"]) == ("open", None)
    assert asked("verify", "--cancel", job["job"])["jobs"][0]["status"] == "cancelled"
    assert asked("verify", "--cancel", job["job"], expected_code=1)["jobs"] == []


# ---- reconcile ----


def test_a_reconcile_repairs_manual_changes_in_typesense(
    running: Worker, stack: EmbeddedStack, names: Names, documents: list[dict[str, Any]]
) -> None:
    with typesense_client(stack) as client:
        path = f"/collections/{names.typesense_collection}/documents"
        client.post(path, json={"id": "stranger"}).raise_for_status()
        client.delete(f"{path}/{documents[0]['_id']}").raise_for_status()
    result = running.run_command("reconcile", "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stderr
    assert "A reconcile is filed." in result.stdout
    assert "Done: 20 documents queued, none refused: Typesense shows what MongoDB holds." in result.stdout
    wait_until_equal(stack, names, timeout_s=1.0)

    running.stop()
    assert "No replica is live" in running.run_command("reconcile").stdout
    assert phase(running) == "waiting"


def test_a_reconcile_that_would_delete_much_asks_a_person_first(
    running: Worker, stack: EmbeddedStack, names: Names
) -> None:
    with typesense_client(stack) as client:
        for number in range(20):
            path = f"/collections/{names.typesense_collection}/documents"
            client.post(path, json={"id": f"stranger-{number}"}).raise_for_status()
    assert running.run_command("reconcile").returncode == 0
    wait_for(lambda: phase(running) == "sweep", 30.0, "the sweep does not start")
    # Replicas publish their problems with their leases, every 5 s.
    asks = "MASS_DELETE_SHARE"
    wait_for(lambda: asks in str(problem_lines(look(running))), 15.0, "status does not show what the sweep asks for")
    again = running.run_command("reconcile")
    assert "already open (requested by a person)" in again.stdout
    assert len(actual_documents(stack, names)) == 40

    result = running.run_command("reconcile", "--allow-mass-delete", "--wait", timeout_s=60.0)
    assert result.returncode == 0, result.stderr
    assert "It may delete everything from Typesense" in result.stdout
    wait_until_equal(stack, names, timeout_s=1.0)


def phase(worker: Worker) -> str | None:
    """The phase of the open reconcile; None without one."""
    reconcile = look(worker).reconcile
    return None if reconcile is None else reconcile.phase
