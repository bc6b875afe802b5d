"""Which collections' joins do not follow a reindex, as a person is told."""

from typing import Any, cast

import orjson
import pytest

from tsync_stream.check.asking import MOST_NAMED
from tsync_stream.check.joined import COLLECTIONS, DEBUG, joined_notes
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.http import Answer


class Server:
    """Answers by path."""

    def __init__(self, collections: Any, debug: Any) -> None:
        self._answers = {COLLECTIONS: collections, DEBUG: debug}

    async def ask(self, method: str, path: str) -> Answer:
        assert method == "GET"
        said = self._answers[path]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Answer) else Answer(200, orjson.dumps(said))


def collection(name: str, **references: str) -> dict[str, Any]:
    fields = [{"name": field, "type": "string", "reference": to} for field, to in references.items()]
    return {"name": name, "fields": [{"name": "title", "type": "string"}, *fields]}


async def notes(collections: Any, debug: Any = "30.1") -> list[str]:
    said = {"version": debug} if isinstance(debug, str) else debug
    return await joined_notes(cast(TypesenseTarget, Server(collections, said)), "shop", ["shop_1"])


async def test_those_that_refer_to_the_alias_or_its_collection_are_named_with_their_fields() -> None:
    (note,) = await notes(
        [
            collection("shop_1", brand="brands.id"),
            collection("orders_4", seller="shop.id", buyer="people.id", shop="shop.code"),
            collection("visits", at="shop_1.id"),
            collection("others", at="shop_12.id", shop="shops.id"),
        ]
    )
    assert note.startswith("collections refer to shop: orders_4 (seller, shop), visits (at). This release")
    assert "searches that join them (`$shop(…)`) are refused until each of them is created anew" in note


async def test_one_that_refers_to_itself_is_told_apart() -> None:
    (note,) = await notes([collection("shop_1", parent="shop.id")])
    assert note.startswith("shop refers to itself with parent: ")


@pytest.mark.parametrize("version", ["31.0", "31.0.rc7", "32.1"])
async def test_from_31_on_references_follow_an_alias(version: str) -> None:
    assert await notes([collection("orders", shop="shop.id")], version) == []


@pytest.mark.parametrize(
    "debug", ["30.2", "nightly", {}, 7, Answer(401, b"{}"), DependencyUnavailable("gone")], ids=str
)
async def test_a_release_that_is_not_known_to_follow_is_taken_for_one_that_does_not(debug: Any) -> None:
    assert len(await notes([collection("orders", shop="shop.id")], debug)) == 1


async def test_the_list_is_bounded() -> None:
    (note,) = await notes([collection(f"c{number}", shop="shop.id") for number in range(MOST_NAMED + 3)])
    assert "c6 (shop) and 3 more. This" in note


@pytest.mark.parametrize(
    "said",
    [
        [],
        7,
        {"message": "Forbidden"},
        [7, {}, {"name": "x", "fields": [7]}],
        Answer(401, b'{"message": "Forbidden"}'),
        Answer(200, b"<html>"),
        DependencyUnavailable("Typesense: gone"),
    ],
    ids=str,
)
async def test_what_cannot_be_listed_is_not_spoken_of(said: Any) -> None:
    assert await notes(said) == []
