"""Which routes' collections refer to those of which others, by Typesense's JOINs. Pure.

Typesense binds a field with `reference` when the collection is created. Up to release 30, a reference to an alias that
does not exist yet is never bound, and every document is refused then (typesense/typesense#2942): a collection has to be
created after those that it refers to. Routes that refer to each other in a circle cannot all come first; they wait for
nobody.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tsync_stream.routes.declaration import Declaration


def referred_to(schema: Mapping[str, Any] | None, names: Collection[str]) -> dict[str, list[str]]:
    """Which of these collections or aliases a schema refers to, each with the fields that do."""
    found: dict[str, list[str]] = {}
    fields = (schema or {}).get("fields")
    for field in fields if isinstance(fields, list) else ():
        reference = str(field.get("reference") or "") if isinstance(field, Mapping) else ""
        for name in names:
            if reference.startswith(f"{name}."):
                found.setdefault(name, []).append(str(field.get("name")))
    return found


def needed_first(declarations: Mapping[str, Declaration]) -> dict[str, frozenset[str]]:
    """For each route, the routes whose collections have to exist before its own is created."""
    names = {each.route.target: name for name, each in declarations.items()}
    refers = {
        name: {names[target] for target in referred_to(each.schema, names)} - {name}
        for name, each in declarations.items()
    }
    reached = {name: _reached(name, refers) for name in refers}
    return {name: frozenset(other for other in refers[name] if name not in reached[other]) for name in refers}


def creation_waves(declarations: Mapping[str, Declaration], chosen: Collection[str]) -> list[Sequence[str]]:
    """These routes in groups: the collections of each group need only those of the groups before it."""
    needed, left, done = needed_first(declarations), list(chosen), set(declarations) - set(chosen)
    waves: list[Sequence[str]] = []
    while left:
        wave = [name for name in left if needed.get(name, frozenset()) <= done]
        waves.append(wave)
        done.update(wave)
        left = [name for name in left if name not in done]
    return waves


def _reached(name: str, refers: Mapping[str, Collection[str]]) -> set[str]:
    """Everything that a route refers to, directly or by way of others."""
    found: set[str] = set()
    left = list(refers[name])
    while left:
        other = left.pop()
        if other not in found:
            found.add(other)
            left += refers[other]
    return found
