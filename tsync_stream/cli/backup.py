"""`backup`: makes a backup in this process, or lists those that there are."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from tsync_stream.backups.directory import Stored, stored_in
from tsync_stream.backups.making import BackupFailed, BackupMaker, Made, NothingToBackUp, require_folder
from tsync_stream.cli.choosing import opened
from tsync_stream.cli.shared import EXIT_USAGE, EXIT_WRONG, console, print_json, reachable_settings, say
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.load import Settings
from tsync_stream.state.backups import BackupStore, Success
from tsync_stream.state.database import DEAD_LETTERS, JOBS, state_database


async def run_backup(settings: Settings, *, folder: Path | None, listed: bool, as_json: bool) -> int:
    """Make one, in `folder` or BACKUP_DIRECTORY, or list those there."""
    try:
        chosen = require_folder(folder or settings.backup.directory)
    except ConfigurationError as error:
        say(f"{error}. Or name one with --to.")
        return EXIT_USAGE
    if listed:
        return _list(chosen, as_json=as_json)
    settings = reachable_settings(settings)
    async with opened(settings) as our:
        database = state_database(our.client, settings.state_database)
        try:
            made = await BackupMaker(database, settings, await our.table()).make(chosen, _note)
        except (NothingToBackUp, BackupFailed) as error:
            say(str(error))
            return EXIT_WRONG
        if not made.problem:
            await BackupStore(database).note(
                Success(made.manifest.made_at, made.size, made.took_s, str(made.path), replica="")
            )
    if as_json:
        print_json(made_as_json(made))
    else:
        print("\n".join(described(made)))
    if made.problem:
        say(without_snapshot(made))
    return EXIT_WRONG if made.problem else 0


async def _note(progress: Mapping[str, Any]) -> None:
    if progress["phase"] == "snapshot" and sys.stderr.isatty():
        say("Typesense writes its snapshot ...")


def described(made: Made) -> list[str]:
    """What was written where, for people (pure)."""
    manifest = made.manifest
    letters, jobs = _count(manifest.documents(DEAD_LETTERS), "dead letter"), _count(manifest.documents(JOBS), "job")
    held = f"{letters}, {manifest.open_letters} of them open, and {jobs}"
    lines = [f"{made.path} is written ({decimal(made.size)}): {held}."]
    if manifest.snapshot is not None:
        lines.append(f"Typesense has written its snapshot to {manifest.snapshot.path} on {manifest.snapshot.node}.")
    elif not made.problem:
        lines.append("Typesense was not asked for a snapshot, because BACKUP_TYPESENSE_PATH is empty.")
    lines += [f"{name} is deleted (BACKUP_KEEP, BACKUP_KEEP_FOR)." for name in made.deleted]
    return lines


def without_snapshot(made: Made) -> str:
    """What is missing of a backup, and what that means (pure)."""
    return (
        f"Typesense has made no snapshot: {made.problem}. The archive is complete; without a snapshot, a worker fills "
        "an empty Typesense again, but synonyms, curations, presets and keys are not in this backup."
    )


def made_as_json(made: Made) -> dict[str, Any]:
    """What `--json` prints (pure)."""
    return {
        "ok": not made.problem,
        "file": str(made.path),
        "bytes": made.size,
        "took_s": round(made.took_s, 3),
        "problem": made.problem or None,
        "deleted": list(made.deleted),
        "manifest": made.manifest.as_json(),
    }


def _list(folder: Path, *, as_json: bool) -> int:
    try:
        found = stored_in(folder)
    except OSError as error:
        say(f"{folder} cannot be read: {error.strerror or error}")
        return EXIT_WRONG
    if as_json:
        print_json({"ok": all(each.manifest for each in found), "backups": [_stored_as_json(each) for each in found]})
    elif found:
        console().print(_table(found))
    else:
        print(f"There are no backups in {folder}.")
    return 0 if all(each.manifest for each in found) else EXIT_WRONG


def _table(found: Sequence[Stored]) -> Table:
    table = Table("made at (UTC)", "size", "deployment", "dead letters", "snapshot of Typesense", "file", box=None)
    for column in table.columns:
        column.overflow = "fold"
    for each in found:
        manifest = each.manifest
        letters = snapshot = ""
        if manifest is not None:
            letters = str(manifest.documents(DEAD_LETTERS))
            snapshot = "none" if manifest.snapshot is None else f"{manifest.snapshot.path} on {manifest.snapshot.node}"
        made_at = each.made_at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(made_at, decimal(each.size), each.deployment, letters, each.problem or snapshot, each.path.name)
    return table


def _stored_as_json(each: Stored) -> dict[str, Any]:
    return {
        "file": str(each.path),
        "bytes": each.size,
        "made_at": each.made_at,
        "deployment": each.deployment,
        "problem": each.problem or None,
        "manifest": None if each.manifest is None else each.manifest.as_json(),
    }


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
