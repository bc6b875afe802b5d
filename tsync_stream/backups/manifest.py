"""What a backup says about itself: when and of what it was made, and what it holds (pure).

Invariants: it names routes and places, never a key, a document or a secret. A backup of a newer version of the format
is refused rather than read in part.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from tsync_stream.core.errors import TsyncError
from tsync_stream.sink.snapshots import Snapshot

FORMAT = "tsync-stream backup"
VERSION = 1


class BadBackup(TsyncError):
    """A file is no backup, is damaged, or is of a newer version."""


@dataclass(frozen=True, slots=True)
class Member:
    """One collection of the state database in a backup: how many documents, their size in bytes, and its SHA-256."""

    collection: str
    documents: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackedUpRoute:
    """A route as it was declared: its name, `database.collection`, and the Typesense collection."""

    name: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_at` is MongoDB's time; `open_letters` counts the dead letters that were open.

    `snapshot` is where Typesense wrote its own; None: it was not asked, or could not.
    """

    made_at: datetime
    made_by: str
    deployment: str
    state_database: str
    routes: tuple[BackedUpRoute, ...]
    open_letters: int
    snapshot: Snapshot | None
    members: tuple[Member, ...]

    def documents(self, collection: str) -> int:
        """How many documents of a collection it holds."""
        return sum(member.documents for member in self.members if member.collection == collection)

    def as_json(self) -> dict[str, Any]:
        """For people's programs, and for the file."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}

    def encoded(self) -> bytes:
        """As the file holds it."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2)


def decoded(content: bytes) -> Manifest:
    """The inverse of `Manifest.encoded`. Raises `BadBackup`."""
    try:
        found = orjson.loads(content)
        if found["format"] != FORMAT:
            raise BadBackup("its manifest is not that of a backup")
        if found["version"] > VERSION:
            raise BadBackup(
                f"it has version {found['version']} of the format, and this program knows {VERSION}: "
                f"use tsync-stream {found.get('made_by', 'of a newer version')} or newer"
            )
        return _manifest(found)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadBackup(f"its manifest cannot be read ({type(error).__name__})") from error


def _manifest(found: Mapping[str, Any]) -> Manifest:
    snapshot = found["snapshot"]
    return Manifest(
        made_at=datetime.fromisoformat(found["made_at"]),
        made_by=str(found["made_by"]),
        deployment=str(found["deployment"]),
        state_database=str(found["state_database"]),
        routes=tuple(BackedUpRoute(**route) for route in found["routes"]),
        open_letters=int(found["open_letters"]),
        snapshot=None if snapshot is None else Snapshot(**snapshot),
        members=tuple(Member(**member) for member in found["members"]),
    )
