"""`backup` and `restore` without a worker: what they refuse, and what a kill in the middle leaves."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from bson.timestamp import Timestamp
from pymongo.database import Database

from tests.support.forked import ForkedWorker
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.backups.archive import read_manifest
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.source.driver import open_client
from tsync_stream.state.database import state_database
from tsync_stream.state.pipeline import Pipeline, PositionStore

DEPLOYMENT = "0a1b2c3d"
# More than MongoDB returns at once, so that a backup has to ask again.
LETTERS = 500
OURS = {"kind": "aliases", "route": "", "name": "shop"}

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
State: TypeAlias = Database[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where backups go."""
    made = tmp_path / "backups"
    made.mkdir()
    return made


@pytest.fixture
def place(stack: EmbeddedStack, names: Names, tmp_path: Path, folder: Path) -> Worker:
    """The settings of a deployment; no worker is started."""
    return ForkedWorker(stack, names, tmp_path, BACKUP_DIRECTORY=str(folder))


@pytest.fixture
def tsync(place: Worker) -> Command:
    """Runs a command there."""
    return place.run_command


@pytest.fixture
def ran(stack: EmbeddedStack, names: Names) -> None:
    """A deployment that has run, with dead letters."""

    async def store() -> None:
        client = open_client(stack.mongo.uri)
        position = Position({"_data": "82"}, Timestamp(1, 1))
        pipeline = Pipeline(EpochRef(DEPLOYMENT, 3, "n", "primary"), 1, 8, position, position)
        await PositionStore(state_database(client, names.state_database)).create(pipeline)
        client.close()

    asyncio.run(store())
    with mongo_client(stack) as client:
        client[names.state_database].artefacts.insert_one({"_id": OURS, **OURS})
        client[names.state_database].dead_letters.insert_many(
            {"_id": f"{number:064x}", "route": "listings", "key": number, "status": "open", "reason": "x"}
            for number in range(LETTERS)
        )


def backups_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_kill_in_the_middle_leaves_no_backup_and_the_next_one_is_whole(
    stack: EmbeddedStack, place: Worker, ran: None, folder: Path, tsync: Command
) -> None:
    with mongo_client(stack) as client:
        slow = {"failCommands": ["getMore"], "blockConnection": True, "blockTimeMS": 5_000, "appName": "tsync-stream"}
        client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=slow)
        process = subprocess.Popen(
            [sys.executable, "-m", "tsync_stream", "backup"], env=place.environment, cwd=place.directory
        )
        try:
            wait_for(lambda: any(folder.iterdir()), 60.0, "no backup begins")
        finally:
            process.kill()
            assert process.wait(30) == -signal.SIGKILL
        client.admin.command("configureFailPoint", "failCommand", mode="off")
    (part,) = folder.iterdir()
    assert part.name.startswith(f".tsync-{DEPLOYMENT}-")
    assert "There are no backups" in tsync("backup", "--list").stdout

    made = tsync("backup")

    assert made.returncode == 0, made.stderr
    assert f"{LETTERS} dead letters, {LETTERS} of them open, and 0 jobs" in made.stdout
    (name,) = backups_in(folder)
    assert read_manifest(folder / name).documents("dead_letters") == LETTERS


def test_a_restore_replaces_nothing_unasked_and_never_restores_a_position(
    stack: EmbeddedStack, names: Names, ran: None, folder: Path, tsync: Command
) -> None:
    assert tsync("backup").returncode == 0
    (name,) = backups_in(folder)
    damaged = folder / "damaged.zip"
    content = bytearray((folder / name).read_bytes())
    content[200] ^= 1
    damaged.write_bytes(content)
    with mongo_client(stack) as client:
        state = client[names.state_database]
        state.dead_letters.delete_many({"key": {"$gte": 10}})
        state.rechecks.insert_one({"_id": "of a time that is gone"})
        state.artefacts.delete_many({})

        for file, options, why in ((name, [], "is not empty"), ("damaged.zip", ["--yes"], "damaged.zip")):
            refused = tsync("restore", str(folder / file), *options)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert why in refused.stderr
            assert state.dead_letters.count_documents({}) == 10
            assert state.pipeline.count_documents({}) == 1

        restored = tsync("restore", str(folder / name), "--yes")

        assert restored.returncode == 0, restored.stderr
        assert "reconciles every route" in restored.stdout
        assert [letter["key"] for letter in state.dead_letters.find().sort("_id")] == list(range(LETTERS))
        assert state.pipeline.count_documents({}) == state.rechecks.count_documents({}) == 0
        assert [each["_id"] for each in state.artefacts.find()] == [OURS]


def test_a_snapshot_needs_one_right_and_its_failure_does_not_cost_the_archive(
    stack: EmbeddedStack, place: Worker, ran: None, folder: Path, tmp_path: Path, tsync: Command
) -> None:
    snapshots = tmp_path / "snapshots"
    place.environment["BACKUP_TYPESENSE_PATH"] = str(snapshots)
    with typesense_client(stack) as typesense:

        def use_key(*actions: str) -> None:
            body = {"description": "backup", "actions": list(actions), "collections": [".*"]}
            place.environment["TYPESENSE_API_KEY"] = typesense.post("/keys", json=body).json()["value"]

        use_key("documents:*", "collections:*")
        without = tsync("backup", "--json")
        assert without.returncode == 1
        assert json.loads(without.stdout)["problem"].startswith("TYPESENSE_API_KEY")
        assert "synonyms, curations, presets and keys are not in this backup" in without.stderr

        use_key("snapshot:create")
        made = tsync("backup", "--json")
        assert made.returncode == 0, made.stderr
    (snapshot,) = snapshots.iterdir()
    assert json.loads(made.stdout)["manifest"]["snapshot"]["path"] == str(snapshot)
    assert (snapshot / "state" / "snapshot").is_dir()
    assert len(backups_in(folder)) == 2


def test_what_cannot_be_backed_up_is_said(folder: Path, place: Worker, tsync: Command) -> None:
    nothing = tsync("backup")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "Nothing has run yet" in nothing.stderr

    place.environment["BACKUP_DIRECTORY"] = str(folder / "missing")
    missing = tsync("backup")
    assert missing.returncode == 2
    assert "(BACKUP_DIRECTORY) is not a folder" in missing.stderr
