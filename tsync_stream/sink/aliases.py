"""Aliases: which collection a name shows, and showing another one.

Invariants: looking changes nothing. A request that deletes names a real collection, and only after a look: Typesense
follows an alias when it deletes, too, and would delete the collection behind it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.tasks import end_tasks
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import KEY_REFUSED, check_status, words_in
from tsync_stream.sink.http import Answer
from tsync_stream.sink.wire import collection_path, path_segment

# While a collection is deleted, so many requests for the alias are on their way: one of them arrives right after it.
PUTS_IN_FLIGHT = 3
# Collections that are in the way of the next number.
MOST_TAKEN = 100


class NameTaken(ConfigurationError):
    """The name belongs to a real collection, which Typesense lets no alias replace."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What searches with a name find: `collection` is its own name, "" if there is none; `exists`: it is there.

    An alias may name a collection that does not exist. A collection named like an alias hides the alias.
    """

    collection: str
    is_alias: bool = False
    exists: bool = True


NOTHING = Shown("", exists=False)


async def shown_by(target: TypesenseTarget, name: str) -> Shown:
    """Which collection a name shows now. Raises the errors of `errors.from_typesense`."""
    live = await target.collection(name)
    if live is not None:
        found = live.get("name")
        if not isinstance(found, str):
            raise DependencyUnavailable("Typesense: its answer about a collection has no name")
        return Shown(found, is_alias=found != name)
    answer = await target.ask("GET", _alias(name))
    if answer.status == HTTPStatus.NOT_FOUND:
        return NOTHING
    check_status(answer.status, "a look at an alias", body=answer.body)
    return Shown(_collection_in(answer), is_alias=True, exists=False)


async def show(target: TypesenseTarget, alias: str, collection: str) -> None:
    """Let an alias show a collection from now on. Searches find one or the other, and nothing in between.

    Raises `NameTaken` if a real collection has the name; `ConfigurationError` for a key that may not, and otherwise the
    errors of `errors.from_typesense`, after which the alias may show either.
    """
    answer = await target.ask("PUT", _alias(alias), {"collection_name": collection})
    words = words_in(answer.body)
    if "conflicts with an existing collection" in words:  # 500 or 400, depending on the release
        raise NameTaken(f"{alias} is a Typesense collection, so it cannot be an alias")
    if answer.status in KEY_REFUSED:
        raise ConfigurationError(f"TYPESENSE_API_KEY: it may not set the alias {alias}; it needs `aliases:*`")
    check_status(answer.status, "an alias", in_doubt=True, body=answer.body)


async def show_instead(target: TypesenseTarget, name: str, collection: str, before_each: Callable[[], None]) -> None:
    """Delete the real collection `name`, and have an alias of that name show another one at once.

    Nothing can be found for a moment, some milliseconds on an idle server. `before_each` is called before each request.
    If it was interrupted before, it goes on: what an alias shows is never deleted. Raises as `show` does.
    """
    shown = await shown_by(target, name)
    if shown.is_alias or not shown.exists:
        before_each()
        await show(target, name, collection)
        return
    before_each()
    deleting = asyncio.create_task(_delete(target, name))
    # They start behind the deletion. On a slow server, the connections are made meanwhile.
    await asyncio.sleep(0)
    putting = [asyncio.create_task(_show_soon(target, name, collection, deleting)) for _ in range(PUTS_IN_FLIGHT)]
    try:
        await asyncio.gather(deleting, *putting)
    finally:
        await end_tasks([deleting, *putting])
    before_each()
    await show(target, name, collection)  # none of them may have come after the deletion


async def delete_collection(target: TypesenseTarget, collection: str) -> bool:
    """Delete a collection; False if there is none. Raises `ConfigurationError` if the name is an alias."""
    shown = await shown_by(target, collection)
    if shown.is_alias:
        raise ConfigurationError(f"{collection} is an alias of {shown.collection} now; nothing was deleted")
    return shown.exists and await _delete(target, collection)


async def free_number(target: TypesenseTarget, alias: str, first: int) -> int | None:
    """The first number from `first` on for which no `ALIAS_NUMBER` exists: what does may be somebody's own.

    None if so many are taken that something else is wrong. Raises the errors of `errors.from_typesense`.
    """
    for number in range(first, first + MOST_TAKEN):
        if await target.collection(f"{alias}_{number}") is None:
            return number
    return None


async def aliases_of(target: TypesenseTarget, collection: str) -> list[str] | None:
    """Every alias that shows a collection; None if the key may not list them."""
    answer = await target.ask("GET", "/aliases")
    if answer.status in KEY_REFUSED:
        return None
    check_status(answer.status, "a list of aliases", body=answer.body)
    try:
        aliases = orjson.loads(answer.body)["aliases"]
        return [each["name"] for each in aliases if each["collection_name"] == collection]
    except (ValueError, LookupError, TypeError) as error:
        raise DependencyUnavailable("Typesense: a list of aliases is answered by something else") from error


async def _show_soon(target: TypesenseTarget, name: str, collection: str, deleting: "asyncio.Task[bool]") -> None:
    while True:
        with suppress(NameTaken):
            return await show(target, name, collection)
        if deleting.done():
            return None


async def _delete(target: TypesenseTarget, collection: str) -> bool:
    answer = await target.ask("DELETE", collection_path(collection))
    if answer.status == HTTPStatus.NOT_FOUND:
        return False
    if answer.status in KEY_REFUSED:
        raise ConfigurationError(
            f"TYPESENSE_API_KEY: it may not delete the collection {collection}; it needs `collections:delete`"
        )
    check_status(answer.status, "the deletion of a collection", in_doubt=True, body=answer.body)
    return True


def _collection_in(answer: Answer) -> str:
    try:
        found = orjson.loads(answer.body)["collection_name"]
    except (ValueError, LookupError, TypeError) as error:
        raise DependencyUnavailable("Typesense: a look at an alias is answered by something else") from error
    return str(found)


def _alias(name: str) -> str:
    return f"/aliases/{path_segment(name)}"
