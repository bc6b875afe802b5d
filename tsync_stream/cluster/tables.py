"""What the group's document says about the table of routes, and how two tables differ. Pure.

Invariant: routes are compared by the digests of their declarations, and texts contain names alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tsync_stream.routes.table import RouteTable, digest

# Versions that were in force before, so that a replica which starts with one of them is known to be behind.
MOST_OLDER = 1_000
MOST_NAMED = 5


def as_stored(table: RouteTable) -> dict[str, Any]:
    """A table as the group's document holds it. A list, because a route's name may contain a dot."""
    routes = [{"name": name, "digest": digest(declaration)} for name, declaration in table.items()]
    return {"version": table.version, "declared": table.declared_version, "routes": routes}


def older_after(group: Mapping[str, Any], table: RouteTable) -> dict[str, list[str]]:
    """The versions that count as older once this table replaces that of the group, the latest last; as stored."""
    stored = group["table"]
    return {
        "older": _with(group["older"], stored["version"], table.version),
        "older_declared": _with(group["older_declared"], stored["declared"], table.declared_version),
    }


def is_older(group: Mapping[str, Any], table: RouteTable) -> bool:
    """Whether a table was in force before that of the group, or comes from a file that was.

    Where routes have generations, their next layout makes a version that was never in force of any file, of an old one
    too.
    """
    return table.version in group["older"] or table.declared_version in group["older_declared"]


def same_file(group: Mapping[str, Any], table: RouteTable) -> bool:
    """Whether only the generations of routes differ."""
    return bool(group["table"]["declared"] == table.declared_version)


def _with(older: Sequence[str], before: str, now: str) -> list[str]:
    return [version for version in dict.fromkeys([*older, before]) if version != now][-MOST_OLDER:]


def differing_routes(stored: Mapping[str, Any], table: RouteTable) -> str:
    """How a stored table differs from ours, by the names of routes."""
    theirs = {route["name"]: route["digest"] for route in stored["routes"]}
    parts = {
        "only here": [name for name in table if name not in theirs],
        "only there": [name for name in theirs if name not in table],
        "declared otherwise": [name for name in table if name in theirs and theirs[name] != digest(table[name])],
    }
    return "; ".join(f"{what}: {_some(names)}" for what, names in parts.items() if names)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown
