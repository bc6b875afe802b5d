"""What a name shows, and showing another collection: on a real Typesense, and on one that refuses the key."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.support.fake_typesense import HOST, Asked, fake_typesense
from tests.support.stack import Names, typesense_client, typesense_settings
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.aliases import (
    NOTHING,
    NameTaken,
    Shown,
    aliases_of,
    delete_collection,
    show,
    show_instead,
    shown_by,
)
from tsync_stream.sink.client import TypesenseTarget

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DOCUMENTS = 2_000


@pytest.fixture
async def target(stack: EmbeddedStack) -> AsyncIterator[TypesenseTarget]:
    """Our client of the real server."""
    made = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key))
    yield made
    await made.close()


async def create(target: TypesenseTarget, name: str) -> None:
    """A collection with documents that one search finds."""
    await target.create_collection({"name": name, "fields": [{"name": "title", "type": "string"}]})
    assert not await target.import_lines(
        name, [b'{"id": "%d", "title": "red shoe"}' % each for each in range(DOCUMENTS)]
    )


async def count(target: TypesenseTarget, name: str) -> int:
    """How many documents a name shows."""
    live = await target.collection(name)
    assert live is not None
    return int(live["num_documents"])


def allowed() -> None:
    """The lease is ours."""


async def test_a_name_shows_nothing_a_collection_or_what_an_alias_names(
    target: TypesenseTarget, stack: EmbeddedStack, names: Names
) -> None:
    name, first = names.typesense_collection, f"{names.typesense_collection}_1"
    assert await shown_by(target, name) == NOTHING
    await show(target, name, first)
    assert await shown_by(target, name) == Shown(first, is_alias=True, exists=False)
    await create(target, first)
    assert await shown_by(target, name) == Shown(first, is_alias=True)
    assert await shown_by(target, first) == Shown(first)
    assert await aliases_of(target, first) == [name]
    assert await aliases_of(target, f"{name}_2") == []


async def test_a_search_through_an_alias_never_fails_while_it_is_swapped(
    target: TypesenseTarget, stack: EmbeddedStack, names: Names
) -> None:
    name, both = names.typesense_collection, [f"{names.typesense_collection}_{number}" for number in (1, 2)]
    for each in both:
        await create(target, each)
    await show(target, name, both[0])
    async with searching(stack, name) as found:
        for turn in range(20):
            await show(target, name, both[turn % 2])
            assert await shown_by(target, name) == Shown(both[turn % 2], is_alias=True)
    assert len(found) > 20
    assert set(found) == {(200, DOCUMENTS, 10)}


async def test_a_real_collection_is_no_alias_and_stays(target: TypesenseTarget, names: Names) -> None:
    name = names.typesense_collection
    await create(target, name)
    with pytest.raises(NameTaken, match=name):
        await show(target, name, f"{name}_2")
    assert await count(target, name) == DOCUMENTS


async def test_a_real_collection_gives_way_and_only_a_moment_is_missing(
    target: TypesenseTarget, stack: EmbeddedStack, names: Names
) -> None:
    name, second = names.typesense_collection, f"{names.typesense_collection}_2"
    await create(target, name)
    await create(target, second)
    leases: list[None] = []
    async with searching(stack, name) as found:
        await show_instead(target, name, second, lambda: leases.append(None))
    assert await shown_by(target, name) == Shown(second, is_alias=True)
    assert await count(target, second) == DOCUMENTS
    assert len(leases) >= 2
    assert found[0] == found[-1] == (200, DOCUMENTS, 10)


async def test_giving_way_again_deletes_nothing(target: TypesenseTarget, names: Names) -> None:
    # As after a crash that nobody can tell from one before the deletion.
    name, second = names.typesense_collection, f"{names.typesense_collection}_2"
    await create(target, second)
    await show_instead(target, name, second, allowed)  # the collection is gone, the alias not yet there
    await show_instead(target, name, second, allowed)  # both is done
    assert await shown_by(target, name) == Shown(second, is_alias=True)
    assert await count(target, second) == DOCUMENTS


async def test_nothing_is_deleted_without_the_lease(target: TypesenseTarget, names: Names) -> None:
    name, second = names.typesense_collection, f"{names.typesense_collection}_2"
    await create(target, name)

    def refuse() -> None:
        raise DependencyUnavailable("the lease is over")

    with pytest.raises(DependencyUnavailable, match="over"):
        await show_instead(target, name, second, refuse)
    assert await count(target, name) == DOCUMENTS


async def test_deleting_never_follows_an_alias(target: TypesenseTarget, names: Names) -> None:
    name, first = names.typesense_collection, f"{names.typesense_collection}_1"
    await create(target, first)
    await show(target, name, first)
    with pytest.raises(ConfigurationError, match="alias"):
        await delete_collection(target, name)
    assert await count(target, first) == DOCUMENTS
    assert await delete_collection(target, first)
    assert not await delete_collection(target, first)


REFUSED: dict[str, Callable[[TypesenseTarget], Any]] = {
    "look": lambda target: shown_by(target, "c"),
    "show": lambda target: show(target, "c", "c_2"),
    "delete": lambda target: delete_collection(target, "c"),
}


@pytest.mark.parametrize("call", sorted(REFUSED))
async def test_a_key_that_may_not_is_named(call: str) -> None:
    def answer(asked: Asked) -> web.Response:
        if asked.method == "GET" and call == "delete":
            return web.json_response({"name": "c", "created_at": 1, "num_documents": 0, "fields": []})
        return web.json_response({"message": "Forbidden"}, status=401)

    async with fake(answer) as target:
        with pytest.raises(ConfigurationError, match="TYPESENSE_API_KEY"):
            await REFUSED[call](target)


async def test_who_may_not_list_aliases_does_not_know(names: Names) -> None:
    async with fake(lambda _: web.json_response({"message": "Forbidden"}, status=401)) as target:
        assert await aliases_of(target, "c") is None


async def test_what_something_else_answers_is_an_outage() -> None:
    async with fake(lambda _: web.json_response([])) as target:
        for call in (aliases_of, shown_by):
            with pytest.raises(DependencyUnavailable):
                await call(target, "c")


@asynccontextmanager
async def fake(answer: Callable[[Asked], web.Response]) -> AsyncIterator[TypesenseTarget]:
    """Our client of a server that answers as the function says."""
    async with fake_typesense(answer) as server:
        made = TypesenseTarget(typesense_settings(server.port, "key", hosts=(HOST,), timeout_s=2.0))
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def searching(stack: EmbeddedStack, name: str) -> AsyncIterator[list[tuple[int, int, int]]]:
    """Search without a pause while the block runs: the status of each answer, how many were found, and how many shown.

    At least one search begins before the block, and one after it.
    """
    found: list[tuple[int, int, int]] = []
    with typesense_client(stack) as client:

        def search() -> None:
            answer = client.get(
                f"/collections/{name}/documents/search", params={"q": "shoe", "query_by": "title", "use_cache": "false"}
            )
            found.append(_seen(answer))

        async def search_on() -> None:
            while True:
                await asyncio.to_thread(search)

        await asyncio.to_thread(search)
        task = asyncio.create_task(search_on())
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.to_thread(search)


def _seen(answer: httpx.Response) -> tuple[int, int, int]:
    if answer.status_code != 200:
        return answer.status_code, 0, 0
    found = answer.json()
    return answer.status_code, found["found"], len(found["hits"])
