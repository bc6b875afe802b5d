"""What a wanted schema would change of a live collection (pure).

Typesense adds a field to a live collection; to change one, it has to be dropped and added again, which rebuilds its
index, or the documents move into a new collection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# What is compared, and what holds where a schema does not say.
_DEFAULTS: Mapping[str, Any] = {"facet": False, "optional": False, "index": True, "infix": False, "locale": ""}


@dataclass(frozen=True, slots=True)
class Effect:
    """`added` and `changed` describe fields by name; a field that only the live collection has stays as it is."""

    kind: Literal["nothing", "fields added", "reindex"]
    added: Sequence[str] = ()
    changed: Sequence[str] = ()


def effect(wanted: Mapping[str, Any], live: Mapping[str, Any], *, types_alone: bool = False) -> Effect:
    """Compare two schemas; patterns are compared as fields of that name.

    With `types_alone`, options such as facets are not: a proposal only suggests them.
    """
    present = {str(field["name"]): field for field in live["fields"]}
    added, changed = [], []
    for field in wanted["fields"]:
        name = str(field["name"])
        if name not in present:
            added.append(f"{name} {field['type']}")
        elif difference := _difference(field, present[name], types_alone=types_alone):
            changed.append(f"{name}: {difference}")
    if changed:
        return Effect("reindex", tuple(added), tuple(changed))
    return Effect("fields added" if added else "nothing", tuple(added))


def _difference(wanted: Mapping[str, Any], live: Mapping[str, Any], *, types_alone: bool) -> str:
    if wanted["type"] != live["type"]:
        return f"{live['type']} in the live collection, {wanted['type']} wanted"
    if types_alone:
        return ""
    for option, default in _DEFAULTS.items():
        here, there = wanted.get(option, default), live.get(option, default)
        if here != there and not (option == "optional" and wanted["type"] == "auto"):
            return f"`{option}` is {_text(there)} in the live collection, {_text(here)} wanted"
    sort = wanted.get("sort")
    if sort is not None and sort != live.get("sort", sort):
        return f"`sort` is {_text(live['sort'])} in the live collection, {_text(sort)} wanted"
    return ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"`{value}`"
