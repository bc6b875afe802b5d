"""What belongs to a collection besides its documents, for another collection that takes its place.

- Synonyms and curations are copied; from Typesense 30 on, where they are items of sets, the references to the sets.
- `metadata` of users is copied, our own mark (`sink/markers.py`) is not: it names the one collection it is on.
- Settings that only a creation can give, as `symbols_to_index`, are what a declared schema says. Where there is none,
  they go into the schema of the new one (`inherited`).

Invariants: carrying over again changes only what has changed since. What the new collection has of its own stays: only
what an earlier run brought is removed again once it is gone from the old one. Synonyms, curations and sets that another
collection uses are not touched.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.sink.artefact_equality import same_item
from tsync_stream.sink.artefacts import (
    ITEM_KINDS,
    Belongings,
    ItemKind,
    Items,
    checked,
    has_sets,
    references_of,
    without,
)
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import CollectionMissing
from tsync_stream.sink.markers import METADATA
from tsync_stream.sink.wire import collection_path

Carried: TypeAlias = dict[str, list[str]]
"""What was carried over, by kind: ids of items, names of sets, keys of metadata. It can be stored as it is."""

LOOKS = 5
LOOK_S = 1.0
MOST_NAMED = 5
# Only a creation can set these, and a schema that says nothing means Typesense's defaults.
_SETTINGS = ("token_separators", "symbols_to_index", "voice_query_model")
_NUMBERS = frozenset({"int32", "int64", "float"})


def inherited(schema: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The schema to create a collection with in the place of a live one, where nobody declares one (pure).

    What it does not say is taken from the live one: token separators, symbols to index, the model of voice queries,
    metadata, and the default sorting field if the schema has such a field. An empty value says something.
    """
    filled = {name: live[name] for name in _SETTINGS if live.get(name)} | dict(schema)
    if metadata := {**_own_metadata(live), **(schema.get("metadata") or {})}:
        filled["metadata"] = metadata
    sorting = live.get("default_sorting_field")
    if sorting and "default_sorting_field" not in schema and _can_sort(schema, str(sorting)):
        filled["default_sorting_field"] = sorting
    return filled


async def carry_over(
    target: TypesenseTarget, from_collection: str, to_collection: str, before: Mapping[str, Sequence[str]] | None = None
) -> Carried:
    """Carry everything over; both are collections' own names. Returns what to pass as `before` the next time.

    Raises `CollectionMissing`, `ConfigurationError` if the API key lacks a right, and `DependencyUnavailable`.
    """
    before = before or {}
    belongings = Belongings(target, with_sets=await has_sets(target))
    old, new = await _collection(target, from_collection), await _collection(target, to_collection)
    carried = {"metadata": await _carry_metadata(target, old, new, before.get("metadata", ()))}
    if belongings.with_sets:
        return carried | await _carry_references(belongings, old, new, before)
    for kind in ITEM_KINDS:
        wanted = await _items(belongings, kind, from_collection)
        present = await _items(belongings, kind, to_collection)
        for item_id, item in wanted.items():
            if item_id not in present or not same_item(item, present[item_id]):
                await belongings.put(kind, to_collection, item_id, item)
        for item_id in without(before.get(kind.many, ()), wanted):
            if item_id in present:
                await belongings.remove(kind, to_collection, item_id)
        carried[kind.many] = list(wanted)
    return carried


async def carry_over_and_compare(
    target: TypesenseTarget, from_collection: str, to_collection: str, before: Mapping[str, Sequence[str]] | None = None
) -> Carried:
    """Carry everything over, and compare both: also raises `ConfigurationError` if the new one still differs."""
    carried = await carry_over(target, from_collection, to_collection, before)
    for _ in range(LOOKS):
        if not (found := await differences(target, from_collection, to_collection)):
            return carried
        await asyncio.sleep(LOOK_S)  # a node of a cluster may show it a little later
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    raise ConfigurationError(
        f"what belongs to the collection was carried over, but differs: {'; '.join(found[:MOST_NAMED])}{more}"
    )


async def differences(target: TypesenseTarget, from_collection: str, to_collection: str) -> list[str]:
    """What the new collection lacks or has otherwise than the old one, each named for people; [] after a carry-over.

    What only the new one has is no difference.
    """
    belongings = Belongings(target, with_sets=await has_sets(target))
    old, new = await _collection(target, from_collection), await _collection(target, to_collection)
    found = [
        f"metadata `{key}` is missing in {to_collection}" for key in _own_metadata(old) if key not in _own_metadata(new)
    ]
    for kind in ITEM_KINDS:
        if belongings.with_sets:
            missing = without(references_of(old, kind), references_of(new, kind))
            found += [f"{to_collection} does not refer to the {kind.one} set `{name}`" for name in missing]
            continue
        wanted = await _items(belongings, kind, from_collection)
        present = await _items(belongings, kind, to_collection)
        for item_id, item in wanted.items():
            if item_id not in present:
                found.append(f"{kind.one} `{item_id}` is missing in {to_collection}")
            elif not same_item(item, present[item_id]):
                found.append(f"{kind.one} `{item_id}` differs between {from_collection} and {to_collection}")
    return found


async def _carry_references(
    belongings: Belongings, old: Mapping[str, Any], new: Mapping[str, Any], before: Mapping[str, Sequence[str]]
) -> Carried:
    changed: dict[ItemKind, list[str]] = {}
    for kind in ITEM_KINDS:
        wanted, present = references_of(old, kind), references_of(new, kind)
        kept = without(present, without(before.get(kind.sets, ()), wanted))
        if (names := without([*kept, *wanted], ())) != present:
            changed[kind] = names
    if changed:
        await belongings.refer(str(new["name"]), changed)
    return {kind.sets: references_of(old, kind) for kind in ITEM_KINDS}


async def _carry_metadata(
    target: TypesenseTarget, old: Mapping[str, Any], new: Mapping[str, Any], before: Sequence[str]
) -> list[str]:
    """Keys that the new one has by its own schema are left as they are."""
    wanted, present = _own_metadata(old), _metadata(new)
    carried = [key for key in wanted if key in before or present.get(key, wanted[key]) == wanted[key]]
    kept = {key: value for key, value in present.items() if key not in before or key in wanted}
    metadata = kept | {key: wanted[key] for key in carried}
    if metadata != present:
        answer = await target.ask("PATCH", collection_path(str(new["name"])), {"metadata": metadata})
        checked(answer, f"the metadata of {new['name']}", "collections:update")
    return carried


async def _collection(target: TypesenseTarget, name: str) -> Mapping[str, Any]:
    live = await target.collection(name)
    if live is None:
        raise CollectionMissing
    return live


async def _items(belongings: Belongings, kind: ItemKind, collection: str) -> Items:
    items = await belongings.items(kind, collection)
    if items is None:
        raise CollectionMissing
    return items


def _metadata(live: Mapping[str, Any]) -> Mapping[str, Any]:
    found = live.get("metadata")
    return found if isinstance(found, dict) else {}


def _own_metadata(live: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _metadata(live).items() if key != METADATA}


def _can_sort(schema: Mapping[str, Any], name: str) -> bool:
    """Whether a schema has the field in a form that Typesense sorts by."""
    return any(
        field.get("name") == name and field.get("type") in _NUMBERS and not field.get("optional")
        for field in schema.get("fields", ())
    )
