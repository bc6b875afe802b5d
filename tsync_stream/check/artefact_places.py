"""Where artefacts of one kind are: found, made and removed there.

Invariant: what is found is described in Typesense's words, and never with the value of a key.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from tsync_stream.check.artefact_difference import Normal
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.artefact_declarations import Described, SearchKey
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.artefact_equality import normal_item, normal_stopwords
from tsync_stream.sink.artefacts import ArtefactRefused
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.global_artefacts import (
    ALIASES,
    KEYS,
    NEVER_EXPIRES,
    PRESETS,
    SEARCH,
    STOPWORDS,
    GlobalKind,
    listed,
    make_key,
    may_search,
    put,
    remove,
)
from tsync_stream.sink.owned_items import Found, OwnedItems

# How `apply` calls the keys that it makes, so that it finds them again without its memory.
DESCRIPTION = "tsync-stream: {name}"
_CONFLICT = "conflict"


class Place(Protocol):
    """`declared` is what should be there, as Typesense takes it; `normal` makes two descriptions comparable."""

    @property
    def declared(self) -> Mapping[str, Mapping[str, Any]]:
        """By name."""

    def normal(self, described: Mapping[str, Any], /) -> Any:
        """What of a description has an effect."""

    async def found(self) -> tuple[Found, list[str]]:
        """What is there by name, and what others have beside it, as people call it."""

    async def put(self, name: str) -> int | None:
        """Make or replace what is declared under a name; returns the number of a key."""

    async def remove(self, name: str) -> None:
        """Remove what is there under a name."""


class ItemPlace:
    """The synonyms or curations of one route."""

    def __init__(self, open_items: Callable[[], Awaitable[OwnedItems]], declared: Described) -> None:
        self.declared = declared
        self._open = open_items
        self._opened: OwnedItems | None = None

    def normal(self, described: Mapping[str, Any], /) -> Any:
        return normal_item(described)

    async def found(self) -> tuple[Found, list[str]]:
        owned = await self._owned()
        return await owned.found(), [f"the set {name}" for name in await owned.other_sets()]

    async def put(self, name: str) -> None:
        await (await self._owned()).put(name, self.declared[name])

    async def remove(self, name: str) -> None:
        await (await self._owned()).remove(name)

    async def _owned(self) -> OwnedItems:
        if self._opened is None:
            self._opened = await self._open()
        return self._opened


class GlobalPlace:
    """The stopwords, presets or aliases of all collections, but for `left_out`, which are not of this kind."""

    def __init__(
        self, target: TypesenseTarget, kind: GlobalKind, declared: Described, left_out: frozenset[str] = frozenset()
    ) -> None:
        self.declared = declared
        self._target = target
        self._kind = kind
        self._left_out = left_out

    def normal(self, described: Mapping[str, Any], /) -> Any:
        return _NORMAL[self._kind](described)

    async def found(self) -> tuple[Found, list[str]]:
        found = await listed(self._target, self._kind)
        return {name: item for name, item in found.items() if name not in self._left_out}, []

    async def put(self, name: str) -> None:
        await put(self._target, self._kind, name, self.declared[name])

    async def remove(self, name: str) -> None:
        await remove(self._target, self._kind, name)


class KeyPlace:
    """API keys for searches. `numbers`: those that we made, by the names of their declarations."""

    def __init__(
        self,
        target: TypesenseTarget,
        settings: TypesenseSettings,
        keys: Mapping[str, SearchKey],
        numbers: Mapping[str, int],
    ) -> None:
        self.declared: Described = {name: _described(key) for name, key in keys.items()}
        self._target = target
        self._settings = settings
        self._keys = keys
        self._numbers = dict(numbers)

    def normal(self, described: Mapping[str, Any], /) -> Any:
        rights = {name: sorted(map(str, described.get(name, ()))) for name in ("actions", "collections")}
        return {"description": described.get("description"), "expires_at": described.get("expires_at"), **rights}

    async def found(self) -> tuple[Found, list[str]]:
        there = await listed(self._target, KEYS)
        # A Typesense that lost its disk, or another one, gives the same numbers to other keys.
        self._numbers = {
            name: number for name, number in self._numbers.items() if _name_in(there.get(str(number), {})) == name
        }
        works = {name: await self._works(name) for name in self._keys}
        for number, item in there.items():
            name = _name_in(item)
            # One of this name may be another deployment's: it is ours if it has the value that is declared.
            if works.get(name) and name not in self._numbers:
                self._numbers[name] = int(number)
        found = {
            name: there[str(number)] if works.get(name) is not False else None for name, number in self._numbers.items()
        }
        ours = set(map(str, self._numbers.values()))
        named = {number: item.get("description") or "a key" for number, item in there.items() if number not in ours}
        return found, [f"{description} ({number})" for number, description in named.items()]

    def number(self, name: str) -> int | None:
        """The number of the key of this name, once it was found."""
        return self._numbers.get(name)

    async def put(self, name: str) -> int:
        value, before = self._keys[name].secret(), self._numbers.get(name)
        try:
            made = await make_key(self._target, self.declared[name], value)
        except ArtefactRefused as refused:
            if before is None or _CONFLICT not in str(refused):
                raise
            # It has the value and other rights, and a value is taken once: searches miss it for a moment.
            await remove(self._target, KEYS, str(before))
            made = await make_key(self._target, self.declared[name], value)
        else:
            if before is not None:
                await remove(self._target, KEYS, str(before))
        self._numbers[name] = made
        return made

    async def remove(self, name: str) -> None:
        await remove(self._target, KEYS, str(self._numbers[name]))

    async def _works(self, name: str) -> bool | None:
        """Whether there is a key with the value that is declared; None if that cannot be known here."""
        key = self._keys[name]
        if key.expires_at is not None and key.expires_at <= time.time():
            return None
        try:
            value = key.secret()
        except ConfigurationError:
            return None
        return await may_search(self._settings, value, key.collections[0])


def _name_in(item: Mapping[str, Any]) -> str:
    return str(item.get("description")).removeprefix(DESCRIPTION.format(name=""))


def _described(key: SearchKey) -> Mapping[str, Any]:
    return {
        "description": DESCRIPTION.format(name=key.name),
        "actions": [SEARCH],
        "collections": list(key.collections),
        "expires_at": NEVER_EXPIRES if key.expires_at is None else key.expires_at,
    }


def _normal_preset(described: Mapping[str, Any]) -> Any:
    return described.get("value")


def _normal_alias(described: Mapping[str, Any]) -> Any:
    return described.get("collection_name")


_NORMAL: Mapping[GlobalKind, Normal] = {
    STOPWORDS: normal_stopwords,
    PRESETS: _normal_preset,
    ALIASES: _normal_alias,
}
