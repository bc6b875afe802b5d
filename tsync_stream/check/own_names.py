"""Presets and analytics rules that name a collection itself where they could name its alias.

A reindex lets the alias show another collection, and the old one is deleted. What names it itself goes on searching, or
counting, what nobody sees any more. Both may name an alias: Typesense finds the collection behind it in a preset, and
compares the name in a rule with the name that is searched.

Invariants: nothing is changed, because a preset or a rule may be somebody else's, and be meant so. A key without the
right, or a release without such things, is no reason to say anything, nor to fail.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tsync_stream.check.asking import asked, some_of
from tsync_stream.core.errors import TsyncError
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.global_artefacts import PRESETS, listed

RULES = "/analytics/rules"


async def own_name_notes(target: TypesenseTarget, alias: str, collections: Collection[str]) -> list[str]:
    """Sentences about what names one of these collections, which the alias shows now or soon, itself."""
    names = frozenset(collections) - {alias}
    if not names:
        return []
    presets = {name: in_preset(item.get("value")) for name, item in (await _presets(target)).items()}
    rules = {str(rule.get("name")): in_rule(rule) for rule in await _rules(target)}
    return [
        f"{what} name a collection that {alias} shows, and do not follow a reindex: {found}. Let them name {alias}"
        for what, by_name in (("presets", presets), ("analytics rules", rules))
        if (found := _named(by_name, names))
    ]


def in_preset(value: Any) -> list[str]:
    """The collections that a preset names: for its search, or for each of several (pure)."""
    searches = [value, *_listed(value, "searches")]
    return list(_texts(_get(search, "collection") for search in searches))


def in_rule(rule: Mapping[str, Any]) -> list[str]:
    """The collections that an analytics rule names, in the form of Typesense 30 or of those before (pure)."""
    params = rule.get("params")
    before = [*_listed(_get(params, "source"), "collections"), _get(_get(params, "destination"), "collection")]
    return list(_texts([rule.get("collection"), _get(params, "destination_collection"), *before]))


async def _presets(target: TypesenseTarget) -> Mapping[str, Mapping[str, Any]]:
    try:
        return await listed(target, PRESETS)
    except TsyncError:
        return {}


async def _rules(target: TypesenseTarget) -> list[Mapping[str, Any]]:
    """A list from 30 on, and before that in an object."""
    found = await asked(target, RULES)
    rules = found if isinstance(found, list) else _listed(found, "rules")
    return [rule for rule in rules if isinstance(rule, dict)]


def _named(by_name: Mapping[str, Sequence[str]], names: frozenset[str]) -> str:
    return some_of(
        [f"{name} ({', '.join(own)})" for name, each in by_name.items() if (own := sorted(names & set(each)))]
    )


def _get(part: Any, key: str) -> Any:
    return part.get(key) if isinstance(part, dict) else None


def _listed(part: Any, key: str) -> list[Any]:
    found = _get(part, key)
    return found if isinstance(found, list) else []


def _texts(values: Any) -> Iterator[str]:
    return (value for value in values if isinstance(value, str))
