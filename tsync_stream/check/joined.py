"""Collections whose documents refer to those of a route by Typesense's JOINs, and do not follow a reindex.

Up to release 30, Typesense binds a field with `reference` forever to the collection that the alias shows when the field
is created: once it shows another one, a search that joins the two is refused (typesense/typesense#2827).

Invariants: nothing is changed, because a collection may be somebody else's. A key that may not list collections, or a
release without references, is no reason to say anything, nor to fail.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tsync_stream.check.asking import asked, some_of
from tsync_stream.check.findings import version_numbers
from tsync_stream.routes.joins import referred_to
from tsync_stream.sink.client import TypesenseTarget

COLLECTIONS = "/collections"
DEBUG = "/debug"
# The first release whose references follow an alias.
FOLLOW_SINCE = (31,)


async def joined_notes(target: TypesenseTarget, alias: str, collections: Collection[str]) -> list[str]:
    """Sentences about what refers to this alias, or to one of the collections that it shows now or soon."""
    names = {alias, *collections}
    refers: dict[str, set[str]] = {}
    for schema in await _listed(target):
        if fields := {field for found in referred_to(schema, names).values() for field in found}:
            refers[str(schema.get("name"))] = fields
    if not refers or await _follow_aliases(target):
        return []
    others = {name: fields for name, fields in refers.items() if name not in names}
    own = sorted({field for name, fields in refers.items() if name in names for field in fields})
    found = []
    if others:
        found.append(
            f"collections refer to {alias}: {_named(others)}. This release of Typesense binds them forever to what "
            f"{alias} showed when they were created: after a reindex of it, searches that join them (`${alias}(…)`) "
            "are refused until each of them is created anew. Reindex them right after it"
        )
    if own:
        found.append(
            f"{alias} refers to itself with {', '.join(own)}: this release of Typesense would bind its next collection "
            "to the present one, and refuse to join it with itself after a reindex. Releases from 31 on follow an alias"
        )
    return found


async def _listed(target: TypesenseTarget) -> list[Mapping[str, Any]]:
    found = await asked(target, COLLECTIONS)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


async def _follow_aliases(target: TypesenseTarget) -> bool:
    """Whether the release says that it is one whose references follow an alias."""
    found = await asked(target, DEBUG)
    version = found.get("version") if isinstance(found, dict) else None
    return isinstance(version, str) and version_numbers(version) >= FOLLOW_SINCE


def _named(refers: Mapping[str, Collection[str]]) -> str:
    return some_of([f"{name} ({', '.join(sorted(fields))})" for name, fields in sorted(refers.items())])
