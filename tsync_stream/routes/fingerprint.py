"""A route's fingerprint: what its documents in Typesense were made from. If it changes, the route must be reconciled.

Invariant: equal fingerprints mean that the source, the target and the mapping are those that the synced position is
about. A changed fingerprint is not a lost position: the changes since *synced* can still be read, unless the stream
itself is another one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declared import source_name
from tsync_stream.routes.table import digest
from tsync_stream.settings.load import Settings

# Incremented with every change of the mapping's rules, which makes every document be written again.
MAPPING_VERSION = 3

# Incremented with every change of how a document's partition is found: an epoch is divided in one way.
DIVISION_VERSION = 2

# Names of collections are compared by themselves, and the route's own name says nothing about its documents.
_ANY_ROUTE = Route("", "", "", "")

NEW_ROUTE = "this route has not been synced before"


def fingerprint_of(
    declaration: Declaration, uuid: bytes, target: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    """The fingerprint as the epoch document holds it (pure); `uuid` is the source's, `target` its `target_part`."""
    return {
        "source": source_name(declaration.route),
        "source_uuid": uuid.hex(),
        "target": declaration.route.target,
        **target,
        "mapping": f"{MAPPING_VERSION} {settings.date_unit}",
        "division": DIVISION_VERSION,
        **_view_part(declaration),
    }


def made_from(fingerprint: Mapping[str, Any], declaration: Declaration) -> bool:
    """Whether documents with this fingerprint are what the declaration makes of its source (pure)."""
    said = {"source": source_name(declaration.route), "view": None, **_view_part(declaration)}
    return all(fingerprint.get(name) == each for name, each in said.items())


def _view_part(declaration: Declaration) -> dict[str, Any]:
    # A schema says how a missing target is created, not what a document looks like. A plain route needs no digest.
    view = replace(declaration, route=_ANY_ROUTE, schema=None)
    return {} if declaration.is_plain else {"view": digest(view)}


def target_part(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What Typesense reported when a fingerprint was taken (pure)."""
    return {name: value for name, value in fingerprint.items() if name.startswith("target_")}


def divided_as_we_do(fingerprints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an epoch with routes of these fingerprints is divided into partitions as this version does it (pure).

    One that was begun by another version is not, until its next term.
    """
    return all(fingerprint.get("division", DIVISION_VERSION) == DIVISION_VERSION for fingerprint in fingerprints)


def why_reconcile(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What a route must be reconciled for: what changed between two fingerprints; "" if nothing did (pure).

    What Typesense reported is not compared: `target_watch.difference` judges that.
    """
    if not old:
        return NEW_ROUTE
    changed = [name for name in changes(old, new) if not name.startswith("target_")]
    return f"changed: {', '.join(changed)}" if changed else ""


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of the parts in which two fingerprints differ (pure).

    A target that was called by its alias, and now is by the name of the collection behind it, or the other way round,
    is no other target. Which collection that is, is looked up at every beginning, as after any switch of an alias.
    """
    alike = {"target"} if _same_target(old, new) else set()
    return [name for name in sorted((old.keys() | new.keys()) - alike) if old.get(name) != new.get(name)]


def _same_target(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    name = old.get("target_name")
    return name is not None and name in (old.get("target"), new.get("target"))


def same_stream(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a stored position is one of the change stream that is read now: one of this very collection (pure)."""
    return all(old.get(name) == new[name] for name in ("source", "source_uuid"))
