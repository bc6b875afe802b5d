"""Synonyms and curations, in the form of the server's release.

Up to Typesense 29 they belong to one collection (`/collections/C/synonyms` and `/overrides`); from 30 on they are items
of sets (`/synonym_sets`, `/curation_sets`), to which any number of collections refer. Here, whatever holds items is a
*holder*: a collection, or a set.

Invariants: items are written and removed one by one, also in sets: what a whole set no longer lists when it is written
again would be back after a restart of the server. A collection is changed under its own name, never an alias. The
synonym that marks a collection (`sink/markers.py`) is none of these.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, check_status, words_in
from tsync_stream.sink.http import Answer
from tsync_stream.sink.markers import SYNONYM
from tsync_stream.sink.wire import collection_path, path_segment

SETS_SINCE = 30
Items: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Items as Typesense describes them, by their ids."""

_MAJOR = re.compile(r"v?(\d+)\.")
_LONGEST_WORDS = 300
# What a request may be at fault for. Everything else is an outage, or the key's fault.
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.CONFLICT})


@dataclass(frozen=True, slots=True)
class ItemKind:
    """What items are called: many of them, one, those of a collection, and the sets of them."""

    many: str
    one: str
    of_collection: str
    sets: str


SYNONYMS = ItemKind("synonyms", "synonym", "synonyms", "synonym_sets")
CURATIONS = ItemKind("curations", "curation", "overrides", "curation_sets")
ITEM_KINDS = (SYNONYMS, CURATIONS)


class ArtefactRefused(ConfigurationError):
    """Typesense does not take an artefact as it is; the message has its words."""


async def has_sets(target: TypesenseTarget) -> bool:
    """Whether the server keeps synonyms and curations in sets.

    Raises `ConfigurationError` if the API key may neither read `/debug` nor list sets.
    """
    answer = await target.ask("GET", "/debug")
    version = _object(answer).get("version") if answer.status == HTTPStatus.OK else None
    if isinstance(version, str) and (major := _MAJOR.match(version)):
        return int(major[1]) >= SETS_SINCE
    # A build without a number, or a key without the right: a release without sets has no such path.
    answer = await target.ask("GET", "/synonym_sets")
    return (
        answer.status != HTTPStatus.NOT_FOUND and checked(answer, "the synonym sets", "synonym_sets:list") is not None
    )


class Belongings:
    """Reads and changes items. Calls raise the errors of `errors.from_typesense`, and `ArtefactRefused`."""

    def __init__(self, target: TypesenseTarget, *, with_sets: bool) -> None:
        self._target = target
        self.with_sets = with_sets

    def __repr__(self) -> str:
        return f"Belongings({'sets' if self.with_sets else 'per collection'})"

    async def items(self, kind: ItemKind, holder: str) -> Items | None:
        """What a holder has; None if there is no such collection or set."""
        action = f"{kind.sets}:get" if self.with_sets else f"{kind.of_collection}:list"
        answer = await self._target.ask("GET", self._holder(kind, holder))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        found = checked(answer, f"the {kind.many} of {holder}", action)
        listed = found.get("items" if self.with_sets else kind.of_collection) if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise DependencyUnavailable(f"Typesense: its answer about the {kind.many} of {holder} has no list of them")
        return {str(item["id"]): item for item in listed if item.get("id") != SYNONYM}

    async def put(self, kind: ItemKind, holder: str, item_id: str, item: Mapping[str, Any]) -> None:
        """Make an item, or replace it."""
        await self._change("PUT", kind, holder, item_id, {**item, "id": item_id})

    async def remove(self, kind: ItemKind, holder: str, item_id: str) -> None:
        """Remove an item; one that is gone is no error."""
        await self._change("DELETE", kind, holder, item_id)

    async def make_set(self, kind: ItemKind, name: str) -> None:
        """Make a set without items, where there is none of this name."""
        path = f"/{kind.sets}/{path_segment(name)}"
        if (await self._target.ask("GET", path)).status == HTTPStatus.NOT_FOUND:
            checked(await self._target.ask("PUT", path, {"items": []}), f"the set {name}", f"{kind.sets}:upsert")

    async def remove_set(self, kind: ItemKind, name: str) -> None:
        """Remove a set with all of its items; one that is gone is no error."""
        answer = await self._target.ask("DELETE", f"/{kind.sets}/{path_segment(name)}")
        if answer.status != HTTPStatus.NOT_FOUND:
            checked(answer, f"the set {name}", f"{kind.sets}:delete")

    async def refer(self, collection: str, references: Mapping[ItemKind, Sequence[str]]) -> None:
        """Let a collection, by its own name, refer to exactly these sets of each kind given. They must exist."""
        body = {kind.sets: list(names) for kind, names in references.items()}
        answer = await self._target.ask("PATCH", collection_path(collection), body)
        checked(answer, f"the sets of {collection}", "collections:update")

    async def _change(
        self, method: str, kind: ItemKind, holder: str, item_id: str, item: Mapping[str, Any] | None = None
    ) -> None:
        below = "/items" if self.with_sets else ""
        answer = await self._target.ask(method, f"{self._holder(kind, holder)}{below}/{path_segment(item_id)}", item)
        if item is None and answer.status == HTTPStatus.NOT_FOUND:
            return
        group = f"{kind.sets}/items" if self.with_sets else kind.of_collection
        verb = "delete" if item is None else "upsert"
        checked(answer, f"the {kind.one} `{item_id}` of {holder}", f"{group}:{verb}")

    def _holder(self, kind: ItemKind, holder: str) -> str:
        if self.with_sets:
            return f"/{kind.sets}/{path_segment(holder)}"
        return f"{collection_path(holder)}/{kind.of_collection}"


def references_of(live: Mapping[str, Any], kind: ItemKind) -> list[str]:
    """The sets that a collection, as it is described, refers to; none before 30."""
    named = live.get(kind.sets)
    return [str(name) for name in named] if isinstance(named, list) else []


def checked(answer: Answer, what: str, action: str) -> Any:
    """The JSON of an answer. `action` is the right that the API key needs for the request.

    Raises `ConfigurationError` if the key lacks it, `ArtefactRefused` if what is asked for is at fault, and
    `DependencyUnavailable`.
    """
    if answer.status in KEY_REFUSED:
        raise ConfigurationError(
            f"TYPESENSE_API_KEY: Typesense refuses it for {what} ({answer.status}); it needs the action `{action}`"
        )
    if answer.status in _REFUSED:
        words = words_in(answer.body)[:_LONGEST_WORDS] or answer.status
        raise ArtefactRefused(f"Typesense does not take {what}: {words}")
    check_status(answer.status, what, in_doubt=True, body=answer.body)
    try:
        return orjson.loads(answer.body)
    except ValueError as error:
        raise DependencyUnavailable(f"Typesense: its answer about {what} is not JSON") from error


def without(names: Iterable[str], left_out: Iterable[str]) -> list[str]:
    """Names in their order, each once, without others."""
    out = set(left_out)
    return [name for name in dict.fromkeys(names) if name not in out]


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        found = orjson.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
