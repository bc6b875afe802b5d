"""Scheduled backups on a real MongoDB: once for each time whoever captures, and what health says of a failure."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Database
from tests.support.stack import Names
from tests.support.waiting import HANG_S, eventually
from tsync_stream.backups import scheduled
from tsync_stream.backups.archive import read_manifest
from tsync_stream.backups.making import BackupFailed, BackupMaker
from tsync_stream.backups.scheduled import CHECK, ScheduledBackups
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.state.backups import BackupStore
from tsync_stream.state.pipeline import Pipeline, PositionStore

# Once a year, so that no other time becomes due while a test runs; the last one was missed.
SCHEDULE = "0 0 1 1 *"
LONG_AGO = datetime(2020, 6, 1, tzinfo=UTC)
MISSED_AT = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)


class Replica:
    """The backups of one replica, which captures or not."""

    def __init__(self, settings: Settings, state: Database, name: str) -> None:
        self.captures = True
        self.health = Health()
        self.metrics = Metrics()
        self.store = BackupStore(state)
        maker = BackupMaker(state, settings, declared_routes(settings))
        parts = settings.backup, self.store, maker, name, lambda: self.captures, self.health, self.metrics
        self.backups = ScheduledBackups(*parts)

    def problem(self) -> str:
        found = self.health.problems.get(CHECK)
        return "" if found is None else found.text

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tsync_{name}", labels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """BACKUP_DIRECTORY."""
    made = tmp_path / "backups"
    made.mkdir()
    return made


@pytest.fixture
async def replica(stack: EmbeddedStack, mongo_names: Names, state: Database, folder: Path) -> Callable[..., Replica]:
    """Makes replicas of a deployment that has run, whose last scheduled time was missed."""
    position = Position({"_data": "82"}, Timestamp(1, 1))
    await PositionStore(state).create(Pipeline(EpochRef("0a1b2c3d", 3, "n", "primary"), 1, 8, position, position))
    await BackupStore(state).begin_schedule(SCHEDULE, LONG_AGO)

    def made(name: str = "one", **changes: str) -> Replica:
        given = {"BACKUP_DIRECTORY": str(folder), "BACKUP_SCHEDULE": SCHEDULE, **changes}
        environ = {**stack.environment(), **mongo_names.environment(), **given}
        return Replica(load_settings(Path("/nowhere"), environ), state, name)

    return made


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def jobs(state: Database) -> list[dict[str, Any]]:
    return [job async for job in state.jobs.find({"kind": "backup"})]


async def test_a_missed_time_is_backed_up_once_by_one_of_two_replicas(
    replica: Callable[..., Replica], state: Database, folder: Path
) -> None:
    one, two = replica("one"), replica("two")

    await asyncio.gather(one.backups.look(), two.backups.look(), return_exceptions=True)
    for each in (one, two, one):
        await each.backups.look()

    (job,) = await jobs(state)
    assert (job["_id"], job["status"]) == (f"backup-{MISSED_AT:%Y%m%d}T0000Z", "done")
    assert job["result"]["file"] in map(str, files(folder))
    assert one.problem() == two.problem() == ""
    assert one.metric("backup_last_bytes") == two.metric("backup_last_bytes") == job["result"]["size"]


async def test_a_new_schedule_counts_from_now_on(
    replica: Callable[..., Replica], state: Database, folder: Path
) -> None:
    other = replica(BACKUP_SCHEDULE="30 4 2 2 *")

    await other.backups.look()
    await other.backups.look()

    assert await jobs(state) == []
    assert files(folder) == []


async def test_a_backup_whose_replica_dies_is_made_by_the_next_one(
    replica: Callable[..., Replica], state: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = replica("dead"), replica("alive")
    began = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        began.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(BackupMaker, "_copy", hang)
        making = asyncio.create_task(dead.backups.look())
        await asyncio.wait_for(began.wait(), HANG_S)
    assert [job["status"] for job in await jobs(state)] == ["open"]
    making.cancel()

    await alive.backups.look()

    (job,) = await jobs(state)
    assert (job["status"], job["result"]["replica"]) == ("done", "alive")
    await eventually(lambda: [path.suffix for path in files(folder)] == [".zip"])


async def test_a_backup_that_failed_here_and_was_made_elsewhere_is_no_problem_any_more(
    replica: Callable[..., Replica], state: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, other = replica("failing"), replica("other")

    async def fail(*_: object, **__: object) -> None:
        raise BackupFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(BackupMaker, "make", fail)
        await failing.backups.look()
    assert "the disk is full; the backup" in failing.problem()
    await other.backups.look()
    assert [job["status"] for job in await jobs(state)] == ["done"]

    await failing.backups.look()

    assert failing.problem() == other.problem() == ""


async def test_a_replica_that_captures_no_longer_leaves_the_backup_to_its_successor(
    replica: Callable[..., Replica], state: Database, folder: Path
) -> None:
    deposed = replica("deposed")
    deposed.captures = False

    with pytest.raises(Exception, match="another replica captures"):
        await deposed.backups.look()

    assert [job["status"] for job in await jobs(state)] == ["open"]
    assert files(folder) == []


async def test_a_failure_is_tried_again_and_then_health_says_what_to_do(
    replica: Callable[..., Replica], state: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduled, "RETRY_S", 0.0)
    one = replica()
    moved = folder.rename(folder.with_name("away"))  # noqa: ASYNC240

    for tried in range(1, scheduled.MOST_TRIES):
        await one.backups.look()
        assert "is tried again" in one.problem(), tried
    await one.backups.look()

    (job,) = await jobs(state)
    assert job["status"] == "failed"
    assert one.health.status == "degraded"
    assert f"{folder} (BACKUP_DIRECTORY) is not a folder" in one.problem()
    assert "run `tsync backup`" in one.problem()
    assert one.metric("backups_total", result="failed") == 1
    assert one.metric("backup_last_success_timestamp_seconds") is None
    successor = replica("two")
    await successor.backups.look()
    assert "is not a folder" in successor.problem(), "a fail-over forgets it"

    moved.rename(folder)
    await state.backups.update_one({"_id": "backups"}, {"$set": {"after": LONG_AGO}})
    await state.jobs.delete_many({})
    await one.backups.look()

    assert one.problem() == ""
    (path,) = files(folder)
    assert read_manifest(path).deployment == "0a1b2c3d"


async def test_without_a_snapshot_the_archive_is_written_with_the_last_try(
    replica: Callable[..., Replica], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduled, "RETRY_S", 0.0)
    one = replica(BACKUP_TYPESENSE_PATH="/backups", TYPESENSE_API_KEY="wrong")

    for _ in range(1, scheduled.MOST_TRIES):
        await one.backups.look()
        assert files(folder) == []
    await one.backups.look()

    assert "is written, but Typesense has made no snapshot: TYPESENSE_API_KEY" in one.problem()
    (path,) = files(folder)
    assert read_manifest(path).snapshot is None
