"""Makes a backup: Typesense's snapshot, then the archive of what cannot be made anew, then the rotation.

What is worth keeping of the state database are the dead letters, the jobs, the generations of routes, and which
artefacts of Typesense are ours. Everything else is worthless later, or worse: positions, epochs, marks and what was
verified describe a Typesense and an oplog that have moved on.

Invariants: an archive is written even if Typesense cannot make its snapshot; that is a problem of the backup, not its
end. Nothing is deleted before the new archive is complete. The event loop is never blocked by the disk.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument

from tsync_stream.backups.archive import SUFFIX, ArchiveWriter
from tsync_stream.backups.directory import rotate
from tsync_stream.backups.manifest import BackedUpRoute, Manifest
from tsync_stream.backups.rotation import stem
from tsync_stream.core import __version__
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.snapshots import Snapshot, take_snapshot
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.source.hello import server_time
from tsync_stream.state.database import ARTEFACTS, DEAD_LETTERS, GENERATIONS, JOBS
from tsync_stream.state.jobs import BACKUP_JOB
from tsync_stream.state.pipeline import PositionStore

# What is written, and which documents of it. A backup's own job is of no use in a backup.
CONTENT: Mapping[str, Mapping[str, Any]] = {
    DEAD_LETTERS: {},
    JOBS: {"kind": {"$ne": BACKUP_JOB}},
    GENERATIONS: {},
    ARTEFACTS: {},
}
PORTION_BYTES = 1 << 20

Progress = Callable[[Mapping[str, Any]], Awaitable[object]]

NOTHING_RAN = "Nothing has run yet, so there is nothing to back up: start a worker first (`tsync worker`)."


class NothingToBackUp(TsyncError):
    """There is no deployment in the state database."""


class BackupFailed(TsyncError):
    """The archive could not be written; a person may have to act."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup. `problem` is why there is no snapshot although one was wanted; "": nothing is missing."""

    path: Path
    size: int
    took_s: float
    manifest: Manifest
    deleted: Sequence[str] = field(default_factory=list)
    problem: str = ""


class BackupMaker:
    """Makes backups of the deployment in this state database. Calls raise the errors of MongoDB calls."""

    def __init__(
        self, database: MongoDatabase, settings: Settings, table: RouteTable, api_key: Callable[[], str] | None = None
    ) -> None:
        """`api_key` returns Typesense's key of that moment; None: the one of the settings."""
        self._database = database
        self._settings = settings
        self._table = table
        self._api_key = api_key or (lambda: settings.typesense.api_key)

    def __repr__(self) -> str:
        return f"<BackupMaker of {self._settings.state_database}>"

    async def now(self) -> datetime:
        """MongoDB's time, which backups are named after."""
        return await server_time(self._database)

    async def make(self, folder: Path, note: Progress, *, snapshot_needed: bool = False) -> Made:
        """Make one in `folder`; `note` is told how far it is. `snapshot_needed`: without one, nothing is written.

        Also raises `NothingToBackUp`, and `BackupFailed` if the archive cannot be written.
        """
        began_s = time.monotonic()
        deployment, made_at = await self._deployment(), await self.now()
        name = stem(deployment, made_at)
        snapshot, problem = None, ""
        if parent := self._settings.backup.typesense_path:
            await note({"phase": "snapshot"})
            try:
                typesense = replace(self._settings.typesense, api_key=self._api_key())
                snapshot = await take_snapshot(typesense, f"{parent.rstrip('/')}/{name}")
            except TsyncError as error:
                problem = str(error)
        if problem and snapshot_needed:
            raise BackupFailed(f"Typesense has made no snapshot: {problem}")
        path = folder / f"{name}{SUFFIX}"
        backup = self._settings.backup
        try:
            size, manifest = await self._archive(path, made_at, deployment, snapshot, note)
            deleted = await asyncio.to_thread(rotate, folder, deployment, backup.keep, backup.keep_for_s, made_at)
        except OSError as error:
            raise BackupFailed(f"{folder} (BACKUP_DIRECTORY): {error.strerror or error}") from error
        return Made(path, size, time.monotonic() - began_s, manifest, deleted, problem)

    async def _deployment(self) -> str:
        pipeline = await PositionStore(self._database).load()
        if pipeline is None:
            raise NothingToBackUp(NOTHING_RAN)
        return pipeline.epoch.deployment

    async def _archive(
        self, path: Path, made_at: datetime, deployment: str, snapshot: Snapshot | None, note: Progress
    ) -> tuple[int, Manifest]:
        with ArchiveWriter(path) as writer:
            for collection, condition in CONTENT.items():
                await asyncio.to_thread(writer.begin, collection)
                await self._copy(collection, condition, writer, note)
            members = await asyncio.to_thread(writer.end)
            async with translated():
                open_letters = await self._database[DEAD_LETTERS].count_documents({"status": "open"})
            manifest = Manifest(
                made_at=made_at,
                made_by=__version__,
                deployment=deployment,
                state_database=self._settings.state_database,
                routes=tuple(_described(self._table)),
                open_letters=open_letters,
                snapshot=snapshot,
                members=members,
            )
            size = await asyncio.to_thread(writer.finish, manifest)
        return size, manifest

    async def _copy(self, collection: str, condition: Mapping[str, Any], writer: ArchiveWriter, note: Progress) -> None:
        raw = BSON_OPTIONS.with_options(document_class=RawBSONDocument)
        await note({"phase": collection})
        copied = waiting = 0
        portion: list[bytes] = []
        async with translated():
            # In the order of their ids, so that a record that changes meanwhile comes once.
            cursor = self._database[collection].with_options(codec_options=raw).find(condition).sort("_id", 1)
            async for document in cursor:
                portion.append(document.raw)
                waiting += len(document.raw)
                copied += 1
                if waiting >= PORTION_BYTES:
                    await asyncio.to_thread(writer.write, portion)
                    await note({"phase": collection, "copied": copied})
                    portion, waiting = [], 0
        await asyncio.to_thread(writer.write, portion)


def require_folder(folder: Path | None) -> Path:
    """The folder, if there is one. Raises `ConfigurationError`."""
    if folder is None:
        raise ConfigurationError("BACKUP_DIRECTORY is empty: name the folder that backups go to")
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} (BACKUP_DIRECTORY) is not a folder: create it, or mount what belongs there")
    return folder


def _described(table: RouteTable) -> list[BackedUpRoute]:
    return [BackedUpRoute(route.name, f"{route.database}.{route.collection}", route.target) for route in table.routes]
