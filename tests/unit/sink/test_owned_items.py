"""A route's items in sets, with a Typesense in memory: whose sets they are, and what an upgrade left."""

import re
from typing import Any, cast

import orjson
import pytest

from tests.support.release_artefacts import ReleaseArtefacts
from tests.support.releases import RELEASES
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.sink.artefacts import SYNONYMS, Belongings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.http import Answer
from tsync_stream.sink.owned_items import OUR_SET, OwnedItems

COATS = {"synonyms": ["coat", "jacket"]}
OTHERS = {"synonyms": ["sofa", "couch"]}


class Server:
    """The sets of 30, and collections that refer to them. `refused`: what the API key may not do."""

    def __init__(self, *collections: str) -> None:
        self.artefacts = ReleaseArtefacts(RELEASES["30"])
        self.collections = {name: {"name": name, "synonym_sets": [], "curation_sets": []} for name in collections}
        self.changes: list[tuple[str, str]] = []
        self.refused = re.compile(r"(?!)")

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        if self.refused.match(path):
            return Answer(401, b'{"message": "Forbidden"}')
        if method != "GET":
            self.changes.append((method, path))
        if method == "PATCH":
            assert body is not None
            if (refused := self.artefacts.missing(body)) is not None:
                return Answer(refused.status, refused.body)
            self.collections[path.rpartition("/")[2]] |= body
            return Answer(200, orjson.dumps(body))
        reply = self.artefacts.answer(method, path, orjson.dumps(body))
        return Answer(reply.status, reply.body)

    def owned(self, target: str = "shop") -> OwnedItems:
        """The synonyms of the route with this target, as the collections are now."""
        asked = cast("TypesenseTarget", self)
        belongings = Belongings(asked, with_sets=True)
        return OwnedItems(belongings, SYNONYMS, target, list(self.collections.values()))

    def put(self, name: str, items: list[dict[str, Any]], *referring: str) -> None:
        """Somebody else's set."""
        self.artefacts.answer("PUT", f"/synonym_sets/{name}", orjson.dumps({"items": items}))
        for collection in referring:
            cast("list[str]", self.collections[collection]["synonym_sets"]).append(name)

    def ids(self, name: str) -> list[str]:
        """What a set has."""
        found = orjson.loads(self.artefacts.answer("GET", f"/synonym_sets/{name}", b"").body)
        return [item["id"] for item in found.get("items", [])]


async def test_a_set_is_made_referred_to_and_removed_when_it_is_empty() -> None:
    server = Server("shop_1", "shop_2")
    server.put("theirs", [{"id": "sofa", **OTHERS}], "shop_1")
    owned = server.owned()
    await owned.put("coats", COATS)
    assert server.ids("shop.tsync-stream") == ["coats"]
    assert server.collections["shop_1"]["synonym_sets"] == ["theirs", "shop.tsync-stream"]
    assert server.collections["shop_2"]["synonym_sets"] == ["shop.tsync-stream"]
    found = await server.owned().found()
    assert found.keys() == {"coats"}
    assert await server.owned().other_sets() == ["theirs"]
    await server.owned().remove("coats")
    assert server.collections["shop_1"]["synonym_sets"] == ["theirs"]
    assert server.collections["shop_2"]["synonym_sets"] == []
    assert server.ids("shop.tsync-stream") == []
    assert server.ids("theirs") == ["sofa"]


async def test_an_item_is_out_of_place_until_every_collection_refers_to_it() -> None:
    server = Server("shop_1", "shop_2")
    await server.owned().put("coats", COATS)
    assert (await server.owned().found())["coats"] is not None
    server.collections["shop_2"]["synonym_sets"] = []
    assert (await server.owned().found())["coats"] is None
    await server.owned().put("coats", COATS)
    assert (await server.owned().found())["coats"] is not None


async def test_what_an_upgrade_moved_is_found_and_taken_back() -> None:
    server = Server("shop_1")
    server.put("shop_1_synonyms_index", [{"id": "coats", **COATS}, {"id": "sofa", **OTHERS}], "shop_1")
    assert await server.owned().found() == {"coats": None, "sofa": None}
    assert await server.owned().other_sets() == []
    await server.owned().put("coats", COATS)
    assert server.ids("shop_1_synonyms_index") == ["sofa"]
    assert server.ids("shop.tsync-stream") == ["coats"]
    found = await server.owned().found()
    assert found["coats"] is not None
    await server.owned().remove("sofa")
    assert server.ids("shop_1_synonyms_index") == []


def test_no_set_of_ours_begins_with_another_one() -> None:
    """Typesense 30 removes the items of `a_b` from its disk with the set `a`."""
    names = [OUR_SET.format(target=target) for target in ("a", "a_b", "a_tsync-stream", "a.tsync-stream")]
    assert not any(other.startswith(f"{name}_") for name in names for other in names)


async def test_a_missing_right_is_named() -> None:
    server = Server("shop_1")
    server.refused = re.compile(r"/synonym_sets/[^/]+/items/")
    with pytest.raises(ConfigurationError, match=r"TYPESENSE_API_KEY.*`synonym_sets/items:upsert`"):
        await server.owned().put("coats", COATS)
