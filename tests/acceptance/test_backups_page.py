"""docs/backups.md, word for word: every command on the page, in its order, on real servers.

Invariants: only names and folders are replaced (`Reader.here`), and what the page has is used up in the end.
"""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.acceptance.state import State
from tests.support import stand_ins
from tests.support.comparison import wait_until_equal
from tests.support.listings import listings
from tests.support.rights import snapshot_key
from tests.support.stack import Names, redis_client, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

DOCS = Path(__file__).parents[2] / "docs"
PAGE, METRICS = ((DOCS / name).read_text(encoding="utf-8") for name in ("backups.md", "metrics.md"))
SYNONYM = {"synonyms": ["flat", "apartment"]}
EIGHT_DAYS_S = 8 * 86_400


class Reader:
    """Somebody who does what the page says, in a shell."""

    def __init__(self, stack: EmbeddedStack, names: Names, worker: Worker, folder: Path) -> None:
        self.archives, self.snapshots = folder / "archives", folder / "snapshots"
        self.archives.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        stand_ins.install(programs)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.worker = worker
        self.environment = {**worker.environment, "PATH": path, stand_ins.REDIS_PORT: str(stack.primary_redis.port)}
        self._here = {
            "/var/backups/tsync": str(self.archives),
            "/backups/typesense": str(self.snapshots),
            "typesense_sync_queue": names.primary_queue_key,
        }
        self._blocks = [match[1] for match in re.finditer(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
        self._commands = re.findall(r"`((?:tsync|unzip) [^`]+)`", PAGE[PAGE.index("## Go back") :])

    def next_block(self, **names: str) -> str:
        """Run the next block of shell commands; returns what it prints."""
        return self._run(self._meant(self._blocks.pop(0), names))

    def next_setting(self, name: str) -> str:
        """Run the next block, which sets this; returns its value."""
        return self._run(f'{self._blocks.pop(0)}printf %s "${name}"')

    def next_command(self, **names: str) -> str:
        """Run the next command that the text names, from "Go back" on."""
        text = self._meant(self._commands.pop(0), names)
        program, *arguments = shlex.split(text)
        if program != "tsync":
            return self._run(text)
        done = self.worker.run_command(*arguments)  # forked, which takes a second less than the program in a shell
        assert done.returncode == 0, f"{text}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    @property
    def unread(self) -> list[str]:
        """What has not been run."""
        return self._blocks + self._commands

    def _meant(self, text: str, names: dict[str, str]) -> str:
        for word, meaning in {**self._here, **names}.items():
            text = text.replace(word, meaning)
        return text

    def _run(self, text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            env=self.environment,
            cwd=self.worker.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120.0,
            check=False,
        )
        assert done.returncode == 0, f"{text}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout


@pytest.fixture
def reader(stack: EmbeddedStack, names: Names, worker: Worker, tmp_path: Path) -> Reader:
    """Nothing has been done yet."""
    return Reader(stack, names, worker, tmp_path)


@pytest.fixture
def synonym(stack: EmbeddedStack, names: Names, source: Source) -> Iterator[Any]:
    """Makes a synonym in Typesense, which is nowhere else; called again, it tells what is there."""
    path = f"/collections/{names.typesense_collection}/synonyms/homes"
    with typesense_client(stack) as typesense:

        def made(*, anew: bool = False) -> list[str]:
            answer = typesense.put(path, json=SYNONYM) if anew else typesense.get(path)
            found: list[str] = answer.raise_for_status().json()["synonyms"]
            return found

        yield made


@pytest.mark.timeout(600)
def test_each_command_of_the_page_does_what_it_says(
    stack: EmbeddedStack, names: Names, state: State, source: Source, reader: Reader, synonym: Any
) -> None:
    worker = reader.worker
    source.insert_many([*listings(50), {"_id": 12, "title": "twelve"}, {"_id": "12", "title": "its twin"}])
    worker.start()
    state.wait_until_reconciled()
    state.wait_for_letters(1)
    synonym(anew=True)

    with snapshot_key(stack) as key:
        own, reader.environment["TYPESENSE_API_KEY"] = reader.environment["TYPESENSE_API_KEY"], key
        listed = reader.next_block()
        reader.environment["TYPESENSE_API_KEY"] = own
    (archive,) = reader.archives.iterdir()
    deployment = state.pipeline()["deployment"]
    assert re.fullmatch(rf"tsync-{deployment}-[0-9.TZ]+\.zip", archive.name), archive
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    snapshot = reader.snapshots / archive.stem
    assert (snapshot / "state" / "snapshot").is_dir(), "the page says to look for it"
    assert deployment in listed

    # By schedule: the next start takes it.
    schedule = reader.next_setting("BACKUP_SCHEDULE")
    worker.environment |= {"BACKUP_DIRECTORY": str(reader.archives), "BACKUP_SCHEDULE": schedule}
    watched = set(re.findall(r"tsync_backup\w+", PAGE))
    assert watched <= set(re.findall(r"tsync_backup\w+", METRICS))

    # Old snapshots are deleted by hand.
    old = reader.snapshots / "tsync-of-last-week"
    old.mkdir()
    os.utime(old, (time.time() - EIGHT_DAYS_S,) * 2)
    reader.next_block()
    assert (old.exists(), snapshot.exists()) == (False, True)

    # Only Typesense was lost.
    source.delete_one({"_id": 12})
    source.insert_many(listings(20, seed=2, first=50))
    stack.typesense.stop()
    stack.typesense.directory.rename(reader.snapshots / "lost")
    shutil.copytree(snapshot, stack.typesense.directory)
    stack.typesense.start()
    reader.next_command()
    wait_until_equal(stack, names)
    assert synonym() == SYNONYM["synonyms"]
    assert worker.stop() == 0

    # The state database was lost.
    state.forget()
    assert "1 dead letters" in reader.next_command(**{"tsync-….zip": archive.name})
    worker.start()
    wait_for(lambda: bool(state.pipeline()), 30.0, "nothing begins")
    assert "reconcile" in reader.next_command()
    state.wait_until_reconciled()
    wait_until_equal(stack, names)
    reader.next_command()
    letter = state.letters.find_one()
    assert letter is not None
    assert letter["status"] == "resolved", "the twin is alone now"
    wait_for(lambda: worker.health()["status"] == "green", 30.0, lambda: str(worker.health()))

    # The queue of the former deployment, and what an archive holds.
    assert state.pipeline()["deployment"] != deployment
    reader.next_command()  # `tsync status`, which would say how to agree to many deletions
    assert keys_of(stack, deployment)
    reader.next_block(DEPLOYMENT=deployment)
    assert not keys_of(stack, deployment)
    (backed_up,) = reader.next_command(FILE=str(archive)).splitlines()
    assert json.loads(backed_up)["status"] == "open"
    assert reader.unread == []


def keys_of(stack: EmbeddedStack, deployment: str) -> list[str]:
    """What the primary Redis has of a deployment."""
    with redis_client(stack.primary_redis) as client:
        return list(client.scan_iter(match=f"*{deployment}*", count=1000))
