"""`restore`: puts the state of a backup into the state database, and says what happens next.

Invariants: it refuses while a replica may work, and never overwrites without being told to. A file that is damaged in
one byte changes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsync_stream.backups.manifest import BadBackup, Manifest
from tsync_stream.backups.restoring import Present, Restoring, checked
from tsync_stream.cli.choosing import opened
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings, say
from tsync_stream.cluster.leases import PATIENCE
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.model import Route
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state.database import DEAD_LETTERS, JOBS, state_database


async def run_restore(settings: Settings, *, file: Path, yes: bool, as_json: bool) -> int:
    """Restore it, or say why not."""
    try:
        manifest = await checked(file)
    except BadBackup as error:
        return _refused(str(error), as_json=as_json)
    settings = reachable_settings(settings)
    routes = declared_routes(settings).routes
    async with opened(settings) as our:
        restoring = Restoring(state_database(our.client, settings.state_database), settings.lease_ttl_s)
        present = await restoring.look()
        if problem := why_not(present, settings, yes=yes):
            return _refused(problem, as_json=as_json)
        restored = await restoring.restore(file, manifest)
        live = await restoring.live()
    shown = await _shown(settings, routes)
    if as_json:
        as_values = {"restored": dict(restored), "typesense": shown, "manifest": manifest.as_json()}
        print_json({"ok": not live, "problem": _started(live) if live else None, **as_values})
    else:
        print("\n".join([*_what_was_restored(manifest, restored, settings), *_what_typesense_shows(shown)]))
        print(NEXT)
    if live:
        say(_started(live))
    return EXIT_WRONG if live else 0


NEXT = (
    "Next: start a worker (`tsync worker`). Its start is a first start: it compares nothing with what was before, and "
    "reconciles every route, so Typesense ends equal to MongoDB however old this backup is. `tsync status` shows the "
    "progress."
)


def why_not(present: Present, settings: Settings, *, yes: bool) -> str:
    """Why nothing may be restored; "" if it may (pure)."""
    if present.live:
        patience_s = PATIENCE * settings.lease_ttl_s
        return (
            f"Replicas are running, or were until a moment ago: {', '.join(present.live)}. Stop every worker of this "
            f"deployment and try again; one that was killed counts as gone after {patience_s:g} s."
        )
    if not present.empty and not yes:
        held = ", ".join(f"{name}: {count}" for name, count in present.counts.items() if count)
        return (
            f"The state database {settings.state_database} is not empty ({held}). Its dead letters, jobs, generations "
            "and memory of artefacts would be replaced by those of the backup: repeat the command with --yes for that."
        )
    return ""


def _refused(problem: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "problem": problem})
    say(f"Nothing is restored. {problem}")
    return EXIT_WRONG


def _started(live: Any) -> str:
    return (
        f"A replica started while the state was being restored: {', '.join(live)}. Stop it, and restore again with "
        "--yes."
    )


def _what_was_restored(manifest: Manifest, restored: Mapping[str, int], settings: Settings) -> list[str]:
    routes = ", ".join(route.name for route in manifest.routes)
    of = f"of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC (deployment {manifest.deployment}, routes {routes})"
    held = f"{restored[DEAD_LETTERS]} dead letters and {restored[JOBS]} jobs"
    return [
        f"The backup {of} is restored to {settings.state_database}: {held}.",
        "Positions are not restored, on purpose.",
    ]


def _what_typesense_shows(shown: Mapping[str, int | str | None]) -> list[str]:
    lines = []
    for target, documents in shown.items():
        if documents is None:
            lines.append(f"Typesense has no collection {target}: the worker creates and fills it.")
        elif isinstance(documents, int):
            lines.append(f"Typesense shows {documents} documents in {target} now.")
        else:
            lines.append(f"What Typesense shows in {target} could not be determined: {documents}.")
    return lines


async def _shown(settings: Settings, routes: list[Route]) -> dict[str, int | str | None]:
    """How many documents each target has now; None: no such collection; a text: why that is not known."""
    target = TypesenseTarget(settings.typesense)
    found: dict[str, int | str | None] = {}
    try:
        for route in routes:
            try:
                live = await target.collection(route.target)
                found[route.target] = None if live is None else int(live["num_documents"])
            except TsyncError as error:
                found[route.target] = str(error)
    finally:
        await target.close()
    return found
