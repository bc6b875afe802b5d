"""What a wanted schema would change of a live collection (pure).

Typesense adds a field to a live collection by itself: it checks every stored document first, and then indexes them all.
Whatever else changes needs a new collection. Dropping a field and adding it again in one request would do, too, but
until its index is rebuilt, newer releases answer searches without it.

Invariant: what is called "fields added" here leaves a sound collection behind, whether Typesense accepts it or not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tsync_stream.sink.field_options import Field, difference, finds_fields, option_difference

# What a schema says of the whole collection, and what holds where it does not. None of it can be changed in place.
_OF_THE_COLLECTION: Mapping[str, Any] = {
    "default_sorting_field": "",
    "enable_nested_fields": False,
    "token_separators": [],
    "symbols_to_index": [],
}
_PATTERN = ".*"


@dataclass(frozen=True, slots=True)
class Effect:
    """`added`: the fields that the live collection lacks, as they are wanted. `changed`: why a reindex is needed.

    Fields that only the live collection has stay, unless documents must have them or they find further fields.
    """

    kind: Literal["nothing", "fields added", "reindex"]
    added: Sequence[Field] = ()
    changed: Sequence[str] = ()

    @property
    def added_names(self) -> list[str]:
        """The fields that are added, with their types, for people."""
        return [f"{field['name']} {field['type']}" for field in self.added]


def effect(wanted: Mapping[str, Any], live: Mapping[str, Any], *, types_alone: bool = False) -> Effect:
    """Compare two schemas; patterns are compared as fields of that name.

    With `types_alone`, only types are compared, and nothing of the collection: a proposal merely suggests the rest.
    """
    added, changed = [], []
    present = _by_name(live)
    for field in wanted["fields"]:
        name = str(field["name"])
        if name == "id":
            continue  # Typesense ignores it
        if name in present:
            unlike = difference(field, _counterpart(field, present[name]), types_alone=types_alone)
            changed += [f"{name}: {unlike}"] if unlike else []
        else:
            added.append(dict(field))
            reason = "" if types_alone else _not_in_place(field, live)
            changed += [f"{name}: {reason}"] if reason else []
    if not types_alone:
        changed += [*_undeclared(wanted, live), *_of_the_collection(wanted, live)]
    kind: Literal["nothing", "fields added", "reindex"] = "fields added" if added else "nothing"
    return Effect("reindex" if changed else kind, tuple(added), tuple(changed))


def _by_name(schema: Mapping[str, Any]) -> dict[str, list[Field]]:
    fields: dict[str, list[Field]] = {}
    for field in schema["fields"]:
        fields.setdefault(str(field["name"]), []).append(field)
    return fields


def _counterpart(wanted: Field, live: Sequence[Field]) -> Field:
    # A field whose type is detected is there twice, once with the type that was found.
    return next((each for each in live if finds_fields(each) == finds_fields(wanted)), live[0])


def _not_in_place(field: Field, live: Mapping[str, Any]) -> str:
    """Why Typesense cannot add a field to the live collection soundly; "" if it can."""
    name, others = str(field["name"]), [str(each["name"]) for each in live["fields"]]
    if said := [option for option in ("reference", "embed") if field.get(option)]:
        return f"a field with `{said[0]}` cannot be added in place"
    if field.get("optional") is not True and not finds_fields(field) and live.get("num_documents"):
        return "documents may lack it; with `optional: true` it can be added in place"
    if field["type"].startswith("object") and (alike := [each for each in others if each.startswith(name)]):
        # 0.24.1 to 30 add `alike` a second time, and from then on refuse every document with a new field.
        return f"it cannot be added in place beside {alike[0]}, whose name begins alike"
    if finds_fields(field) and name != _PATTERN and (found := [each for each in others if _matches(name, each)]):
        return f"it cannot be added in place, because {found[0]} has its type already"
    return ""


def _matches(pattern: str, name: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, name))
    except re.error:
        return True  # Typesense has other expressions than Python


def _undeclared(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[str]:
    """What only the live collection has, and a document by the wanted schema would not agree with."""
    declared = _by_name(wanted)
    for field in live["fields"]:
        if field["name"] in declared:
            continue
        if finds_fields(field):
            yield f"{field['name']}: it finds fields in the live collection, and is not wanted any more"
        elif field.get("optional") is False:
            yield f"{field['name']}: every document of the live collection needs it, and it is not wanted any more"


def _of_the_collection(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[str]:
    for option, default in _OF_THE_COLLECTION.items():
        here, there = wanted.get(option, default), live.get(option)
        if there is None:
            continue
        if (set(here) != set(there)) if isinstance(default, list) else here != there:
            yield option_difference(option, there, here)
