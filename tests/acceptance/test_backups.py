"""A backup is restored onto other servers, and everything is right in the end: documents, dead letters, synonyms."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.acceptance.state import State
from tests.support.comparison import actual_documents, wait_until_equal
from tests.support.listings import listings
from tests.support.rights import snapshot_key
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# The second of two keys with one id is refused.
TWIN = frozenset({"12"})
SYNONYM = {"synonyms": ["flat", "apartment"]}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[EmbeddedStack]:
    """Another MongoDB and another Typesense, not started yet."""
    servers = EmbeddedStack(tmp_path / "other", servers=["mongo", "typesense"])
    try:
        yield servers
    finally:
        servers.stop()


def output(result: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """What a command with `--json` printed."""
    assert result.returncode == code, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_backup_is_restored_onto_other_servers(
    stack: EmbeddedStack,
    other: EmbeddedStack,
    names: Names,
    state: State,
    source: Source,
    worker: Worker,
    worker_type: type[Worker],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    worker.environment |= {"BACKUP_DIRECTORY": str(folder), "BACKUP_TYPESENSE_PATH": str(tmp_path / "snapshots")}
    source.insert_many([*listings(50), {"_id": 12, "title": "twelve"}, {"_id": "12", "title": "its twin"}])
    worker.start()
    state.wait_until_reconciled()
    (letter,) = state.wait_for_letters(1)
    with typesense_client(stack) as typesense:
        path = f"/collections/{names.typesense_collection}/synonyms/homes"
        typesense.put(path, json=SYNONYM).raise_for_status()

    with snapshot_key(stack) as key:
        command = worker_type(stack, names, tmp_path, **{**worker.environment, "TYPESENSE_API_KEY": key})
        made = output(command.run_command("backup", "--json"))
    assert made["manifest"]["open_letters"] == 1
    assert [path.name for path in folder.iterdir()] == [Path(made["file"]).name]

    # What happens after the backup, and is not in it: also a document that the snapshot shows and that is gone now.
    source.delete_one({"_id": 12})
    source.insert_many(listings(20, seed=2, first=50))
    source.update_many({"rooms": {"$gt": 3}}, {"$inc": {"rooms": 100}})
    refused = worker.run_command("restore", made["file"], "--yes")
    assert refused.returncode == 1
    assert "Nothing is restored. Replicas are running" in refused.stderr
    worker.kill()

    shutil.copytree(made["manifest"]["snapshot"]["path"], other.typesense.directory)
    other.start()
    with mongo_client(other) as client:
        client[names.database][names.collection].insert_many(source.find())
    replacement = worker_type(
        other, names, tmp_path, PRIMARY_REDIS_HOST="", BACKUP_REDIS_HOST="", MASS_DELETE_SHARE="0.5"
    )
    restored = output(replacement.run_command("restore", made["file"], "--json"))
    assert restored["restored"] == {"dead_letters": 1, "jobs": 1, "generations": 0, "artefacts": 0}
    assert restored["typesense"] == {names.typesense_collection: 51}
    assert "12" in actual_documents(other, names)

    with replacement, mongo_client(other) as client:
        now = State(client[names.state_database])
        now.wait_until_reconciled()
        wait_until_equal(other, names)
        reasons = [job["arguments"]["reason"] for job in now.jobs.find({"kind": "reconcile"}).sort("filed_at", 1)]
        assert reasons == ["the first start", "the first start"], "one from the backup, and one of the new deployment"
        # The twin is alone now, so its letter is closed; it is the record that was backed up.
        (closed,) = now.letters.find()
        assert (closed["_id"], closed["status"]) == (letter["_id"], "resolved")
        assert abs(closed["first_seen"] - letter["first_seen"]) < timedelta(milliseconds=1)
        assert now.pipeline()["deployment"] != made["manifest"]["deployment"]
        with typesense_client(other) as typesense:
            shown = typesense.get(f"/collections/{names.typesense_collection}/synonyms/homes").json()
        assert shown["synonyms"] == SYNONYM["synonyms"]
        # Live changes flow, through a queue and from a position of their own.
        client[names.database][names.collection].insert_one({"_id": "afterwards", "title": "new"})
        wait_for(lambda: "afterwards" in actual_documents(other, names), 20.0, "a live change does not arrive")


def test_a_worker_makes_a_backup_that_was_missed(
    names: Names, state: State, source: Source, worker: Worker, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    worker.environment |= {"BACKUP_DIRECTORY": str(folder), "BACKUP_SCHEDULE": "0 0 1 1 *"}
    database = source.database.client[names.state_database]
    # Somebody has captured by this schedule before, and nobody did when a backup was due.
    database.backups.insert_one({"_id": "backups", "schedule": "0 0 1 1 *", "after": datetime(2020, 6, 1, tzinfo=UTC)})
    source.insert_many(listings(5))
    worker.start()

    wait_for(lambda: state.jobs.count_documents({"kind": "backup", "status": "done"}) == 1, 40.0, "no backup is made")

    (path,) = folder.iterdir()
    done, last = 'tsync_backups_total{result="done"}', "tsync_backup_last_bytes"
    wait_for(lambda: {done, last} <= worker.metrics().keys(), 20.0, "the metrics do not know of it")
    assert (worker.metrics()[done], worker.metrics()[last]) == (1, path.stat().st_size)
    assert not [problem for problem in worker.health()["problems"] if problem["check"] == "backup"]
    state.wait_until_reconciled()
