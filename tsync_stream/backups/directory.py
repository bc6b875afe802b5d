"""The folder of backups: what is in it, and deleting what is not kept.

Invariants: a file of another name, or of another deployment, is never touched. What a crash left half written is
removed after a day, when nobody can be writing it any more.
"""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tsync_stream.backups.archive import PART_SUFFIX, read_manifest
from tsync_stream.backups.manifest import BadBackup, Manifest
from tsync_stream.backups.rotation import named, to_delete

PART_KEPT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A backup in the folder. `manifest` is None if it cannot be read; `problem` says why."""

    path: Path
    deployment: str
    made_at: datetime
    size: int
    manifest: Manifest | None
    problem: str = ""


def stored_in(folder: Path) -> list[Stored]:
    """The backups in a folder, of all deployments, the newest first. Raises OSError."""
    found = []
    for path in folder.iterdir():
        name = named(path.name)
        if name is None or not path.is_file():
            continue
        manifest, problem = None, ""
        try:
            manifest = read_manifest(path)
        except (BadBackup, OSError) as error:
            problem = str(error)
        found.append(Stored(path, name.deployment, name.made_at, path.stat().st_size, manifest, problem))
    return sorted(found, key=lambda each: each.made_at, reverse=True)


def rotate(folder: Path, deployment: str, keep: int, keep_for_s: float | None, now: datetime) -> list[str]:
    """Delete what is not kept of a deployment's backups; returns the names. Raises OSError."""
    names = []
    for each in stored_in(folder):
        name = named(each.path.name)
        assert name is not None
        names.append(replace(name, good=each.manifest is not None))
    deleted = list(to_delete(names, deployment, keep, keep_for_s, now))
    for name_ in deleted:
        (folder / name_).unlink(missing_ok=True)
    _remove_parts(folder, deployment)
    return deleted


def _remove_parts(folder: Path, deployment: str) -> None:
    for path in folder.glob(f".tsync-*{PART_SUFFIX}"):
        name = named(path.name.removeprefix(".").removesuffix(PART_SUFFIX))
        if name is not None and name.deployment == deployment and time.time() - path.stat().st_mtime > PART_KEPT_S:
            path.unlink(missing_ok=True)
