"""Which routes' collections refer to those of which others, by Typesense's JOINs. Pure.

Typesense binds a field with `reference` when the collection is created. Up to release 30, a reference to an alias that
does not exist yet is never bound, and every document is refused then (typesense/typesense#2942): a collection has to be
created after those that it refers to. Routes that refer to each other in a circle cannot all come first; they wait for
nobody in it.

A *name* is what a schema refers to: a collection, or the alias that a declared route's generations stand behind.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from tsync_stream.routes.declaration import Declaration

# The routes behind each name.
Behind: TypeAlias = Mapping[str, Collection[str]]


def referred_to(schema: Mapping[str, Any] | None, names: Collection[str]) -> dict[str, list[str]]:
    """Which of these names a schema refers to, each with the fields that do."""
    found: dict[str, list[str]] = {}
    fields = (schema or {}).get("fields")
    for field in fields if isinstance(fields, list) else ():
        reference = str(field.get("reference") or "") if isinstance(field, Mapping) else ""
        candidates = [name for name in names if reference.startswith(f"{name}.")] if reference else []
        if candidates:  # a name may have dots of its own
            found.setdefault(max(candidates, key=len), []).append(str(field.get("name")))
    return found


def needed_first(declarations: Mapping[str, Declaration], behind: Behind) -> dict[str, frozenset[str]]:
    """For each route, the names that have to exist before its collection is created."""
    refers = {name: set(referred_to(each.schema, behind)) for name, each in declarations.items()}
    next_ones = {name: {other for target in targets for other in behind[target]} for name, targets in refers.items()}
    reached = {name: _reached(name, next_ones) for name in next_ones}

    def comes_first(target: str, name: str) -> bool:
        return not any(other == name or name in reached[other] for other in behind[target])

    return {name: frozenset(each for each in refers[name] if comes_first(each, name)) for name in refers}


def waves(needed: Mapping[str, Collection[str]], behind: Behind, chosen: Collection[str]) -> list[Sequence[str]]:
    """These routes in groups: the collections of each group need only those of the groups before it, and of others."""
    left = list(chosen)
    found: list[Sequence[str]] = []
    while left:
        wave = [name for name in left if not any(other in left for each in needed[name] for other in behind[each])]
        found.append(wave)
        left = [name for name in left if name not in wave]
    return found


def _reached(name: str, next_ones: Mapping[str, Collection[str]]) -> set[str]:
    """Everything that a route refers to, directly or by way of others."""
    found: set[str] = set()
    left = list(next_ones[name])
    while left:
        other = left.pop()
        if other not in found:
            found.add(other)
            left += next_ones[other]
    return found
