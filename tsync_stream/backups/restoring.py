"""Restores the state of a backup, and leaves a deployment that repairs itself.

Invariants: positions are never restored, nor is anything kept that was stored with them. Without an epoch document, the
next start of a worker is a first start: under a new name in the queue, from a new position, with a reconcile of every
route. That is what makes it irrelevant how old the backup is, and how old what Typesense shows. The epoch document goes
first, so a restore that is interrupted leaves that same state, and can be repeated. Leases stay: their fences grow.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument

from tsync_stream.backups.archive import checked_manifest, read_documents
from tsync_stream.backups.making import CONTENT
from tsync_stream.backups.manifest import BadBackup, Manifest
from tsync_stream.cluster.membership_view import read_membership
from tsync_stream.core.errors import MongoRefused
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.source.hello import server_time
from tsync_stream.state.database import (
    ARTEFACTS,
    BACKUPS,
    DEAD_LETTERS,
    FALLBACK_QUEUE,
    GENERATIONS,
    JOBS,
    PIPELINE,
    RECHECKS,
    REFRESHES,
    VERIFICATIONS,
)

# In this order: what is trusted most goes first.
REPLACED = (
    PIPELINE,
    FALLBACK_QUEUE,
    BACKUPS,
    VERIFICATIONS,
    REFRESHES,
    RECHECKS,
    JOBS,
    DEAD_LETTERS,
    GENERATIONS,
    ARTEFACTS,
)


@dataclass(frozen=True, slots=True)
class Present:
    """What is in the state database now: its replicas that work or may work, and how many documents of each kind."""

    live: Sequence[str]
    counts: Mapping[str, int]

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost."""
        return not any(self.counts.values())


class Restoring:
    """A restore into one state database. Calls raise the errors of MongoDB calls, `BadBackup`, and OSError."""

    def __init__(self, database: MongoDatabase, lease_ttl_s: float) -> None:
        self._database = database
        self._lease_ttl_s = lease_ttl_s

    def __repr__(self) -> str:
        return f"<Restoring into {self._database.name}>"

    async def look(self) -> Present:
        """What is there now."""
        counts = {}
        async with translated():
            for name in REPLACED:
                counts[name] = await self._database[name].estimated_document_count()
        return Present(await self.live(), counts)

    async def live(self) -> Sequence[str]:
        """The replicas that renew their leases, or did so a moment ago."""
        now, membership = await server_time(self._database), await read_membership(self._database)
        return [
            name
            for name, replica in sorted(membership.replicas.items())
            if replica.state(now, self._lease_ttl_s) == "live"
        ]

    async def restore(self, path: Path, manifest: Manifest) -> Mapping[str, int]:
        """Replace the state with that of the backup, whose every byte was checked; returns how many were restored."""
        for name in REPLACED:
            await self._empty(name)
        return {name: await self._insert(path, manifest, name) for name in CONTENT}

    async def _empty(self, name: str) -> None:
        try:
            async with translated():
                await self._database[name].drop()
        except MongoRefused:  # the least rights that a worker needs do not include it; deleting is slower
            async with translated():
                await self._database[name].delete_many({})

    async def _insert(self, path: Path, manifest: Manifest, name: str) -> int:
        raw: Any = self._database[name].with_options(
            codec_options=BSON_OPTIONS.with_options(document_class=RawBSONDocument)
        )
        portions = read_documents(path, manifest, name)
        inserted = 0
        while portion := await asyncio.to_thread(next, portions, None):
            async with translated():
                await raw.insert_many([RawBSONDocument(each) for each in portion], ordered=False)
            inserted += len(portion)
        return inserted


async def checked(path: Path) -> Manifest:
    """The manifest of a backup whose every byte is right. Raises `BadBackup` with the reason."""
    try:
        return await asyncio.to_thread(checked_manifest, path)
    except OSError as error:
        raise BadBackup(f"{path} cannot be read: {error.strerror or error}") from error
