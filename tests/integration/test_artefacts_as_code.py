"""Artefacts in the routes file become those of Typesense, on the real server and in the form of 30: `plan`, `apply`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click import UsageError

from tests.support.release_server import ReleaseServer
from tests.support.rights import recipe
from tests.support.stack import Names, typesense_client
from tsync_stream.cli.apply import run_apply
from tsync_stream.cli.keys import run_keys
from tsync_stream.cli.plan import run_plan
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declared import load_all

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEY, OTHER_KEY = "a-search-key-of-the-tests", "another-search-key-of-the-tests"
FOREIGN = {"synonyms": ["sofa", "couch"]}


class Shop:
    """One route, its live collection, and the commands in this process."""

    def __init__(self, client: httpx.Client, names: Names, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.client = client
        self.names = names
        self.file = file
        self.capsys = capsys
        self.target = f"{names.token}_shop"
        self.collection = f"{self.target}_1"
        self.top: dict[str, Any] = {}
        self.route: dict[str, Any] = {}
        schema = {"name": self.collection, "fields": [{"name": "title", "type": "string", "optional": True}]}
        self.client.post("/collections", json=schema).raise_for_status()
        self.put(f"/aliases/{self.target}", {"collection_name": self.collection})

    def put(self, path: str, body: dict[str, Any]) -> None:
        self.client.put(path, json=body).raise_for_status()

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def write(self) -> None:
        route = {"source": f"{self.names.database}.products", "target": self.target, **self.route}
        self.file.write_text(json.dumps({"routes": {"products": route}, **self.top}))

    async def apply(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit code and the actions, of which nothing may show a key."""
        self.write()
        code = await run_apply(load_all(), route=None, yes=True, as_json=True)
        printed = "".join(self.capsys.readouterr())
        assert KEY not in printed
        assert OTHER_KEY not in printed
        return code, json.loads(printed.splitlines()[0])["actions"]

    async def plan(self) -> Any:
        self.write()
        await run_plan(load_all(), route=None, as_json=True, document=None, write=False)
        return json.loads(self.capsys.readouterr().out)

    def search(self, key: str, **parameters: str) -> httpx.Response:
        path = f"/collections/{self.target}/documents/search"
        return self.client.get(path, params={"q": "*", **parameters}, headers={"X-TYPESENSE-API-KEY": key})


@pytest.fixture(params=["0.24", "30"])
def shop(
    request: pytest.FixtureRequest,
    stack: EmbeddedStack,
    names: Names,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shop]:
    environ = stack.environment() | {"STATE_DATABASE": names.state_database}
    with ExitStack() as within:
        client = within.enter_context(typesense_client(stack))
        if request.param == "30":
            server = within.enter_context(ReleaseServer(stack.typesense.port, stack.typesense.api_key, "30"))
            environ |= server.environment()
            client = within.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=client.headers, timeout=10.0)
            )
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield Shop(client, names, tmp_path / "tsync.yaml", capsys)
        for preset in client.get("/presets").json()["presets"]:
            client.delete(f"/presets/{preset['name']}")
        for key in client.get("/keys").json()["keys"]:
            if names.token in key["description"]:
                client.delete(f"/keys/{key['id']}")


def items(shop: Shop, kind: str) -> dict[str, Any]:
    """What the route's collection has, in either form: synonyms or curations."""
    live = shop.get(f"/collections/{shop.collection}")
    if (sets := f"{kind.removesuffix('s')}_sets") in live:
        found = [item for name in live[sets] for item in shop.get(f"/{sets}/{name}")["items"]]
    else:
        of_collection = {"synonyms": "synonyms", "curations": "overrides"}[kind]
        found = shop.get(f"/collections/{shop.collection}/{of_collection}")[of_collection]
    return {item["id"]: item for item in found}


def presets(shop: Shop) -> dict[str, Any]:
    """All presets: 0.24.1 lists them, and finds none by its name."""
    return {each["name"]: each["value"] for each in shop.get("/presets")["presets"]}


def give_foreign(shop: Shop) -> None:
    """Somebody else's synonym and preset."""
    if "synonym_sets" in shop.get(f"/collections/{shop.collection}"):
        shop.put(f"/synonym_sets/{shop.names.token}.theirs", {"items": [{"id": "sofa", **FOREIGN}]})
        body = {"synonym_sets": [f"{shop.names.token}.theirs"]}
        shop.client.patch(f"/collections/{shop.collection}", json=body).raise_for_status()
    else:
        shop.put(f"/collections/{shop.collection}/synonyms/sofa", FOREIGN)
    shop.put(f"/presets/{shop.names.token}_theirs", {"value": {"per_page": 3}})


async def test_what_is_declared_is_made_once_changed_and_removed(shop: Shop) -> None:
    preset, alias = f"{shop.names.token}_storefront", f"{shop.names.token}_other_name"
    give_foreign(shop)
    shop.route = {
        "synonyms": {"coats": ["coat", "jacket"], "phones": {"root": "phone", "synonyms": ["iphone"]}},
        "curations": {
            "apple": {
                "rule": {"query": "apple", "match": "exact"},
                "includes": [{"id": "422", "position": 1}],
                "filter_by": "title:=x",
            }
        },
    }
    shop.top = {"presets": {preset: {"query_by": "title", "per_page": 24}}, "aliases": {alias: shop.target}}
    plan = await shop.plan()
    code, done = await shop.apply()
    assert [each["sentence"] for each in plan["actions"]] == [each["sentence"] for each in done]
    assert (code, len(done)) == (0, 4)
    assert {each["outcome"] for each in done} == {"They are as declared now."}
    assert items(shop, "synonyms").keys() == {"sofa", "coats", "phones"}
    assert items(shop, "curations")["apple"]["includes"] == [{"id": "422", "position": 1}]
    assert presets(shop)[preset] == {"query_by": "title", "per_page": 24}
    assert shop.get(f"/aliases/{alias}")["collection_name"] == shop.collection

    assert await shop.apply() == (0, [])
    plan = await shop.plan()
    assert plan["actions"] == []
    alone = " ".join(plan["left_alone"])
    assert "sofa" in alone or f"the set {shop.names.token}.theirs" in alone
    assert f"{shop.names.token}_theirs" in alone

    shop.route["synonyms"] = {"coats": ["coat", "jacket", "parka"]}
    del shop.route["curations"], shop.top["aliases"]
    shop.top["presets"] = {preset: {"per_page": 12}}
    code, done = await shop.apply()
    assert (code, len(done)) == (0, 4)
    assert items(shop, "synonyms").keys() == {"sofa", "coats"}
    assert items(shop, "synonyms")["coats"]["synonyms"] == ["coat", "jacket", "parka"]
    assert items(shop, "curations") == {}
    assert presets(shop)[preset] == {"per_page": 12}
    assert shop.client.get(f"/aliases/{alias}").status_code == 404
    assert await shop.apply() == (0, [])

    shop.route, shop.top = {}, {}
    assert [each["done"] for each in (await shop.apply())[1]] == [True, True]
    assert items(shop, "synonyms").keys() == {"sofa"}
    assert presets(shop)[f"{shop.names.token}_theirs"] == {"per_page": 3}
    assert await shop.apply() == (0, [])


async def test_stopwords_are_made_where_the_release_has_them(shop: Shop) -> None:
    shop.top = {"stopwords": {"common": ["The", "a AN"]}}
    code, (done,) = await shop.apply()
    if shop.client.get("/stopwords").status_code == 404:
        assert (code, done["done"]) == (1, False)
        assert "has no stopwords; they came with Typesense 26" in done["outcome"]
        return
    assert (code, done["done"]) == (0, True)
    assert sorted(shop.get("/stopwords/common")["stopwords"]["stopwords"]) == ["a", "an", "the"]
    assert await shop.apply() == (0, [])
    shop.top = {}
    assert (await shop.apply())[0] == 0
    assert shop.get("/stopwords") == {"stopwords": []}


async def test_a_search_key_is_made_replaced_and_never_shown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{shop.names.token}_web"
    monkeypatch.setenv("WEB_KEY", KEY)
    declared: dict[str, Any] = {
        "value": "${WEB_KEY}",
        "collections": [shop.target],
        "embed": {"filter_by": "title:=red"},
    }
    shop.top = {"search_keys": {name: declared}}
    assert (await shop.apply())[0] == 0
    assert shop.search(KEY).status_code == 200
    assert shop.search(KEY, q="").status_code != 401
    assert await shop.apply() == (0, [])

    for title in ("red", "blue"):
        body = {"id": title, "title": title}
        shop.client.post(f"/collections/{shop.collection}/documents", json=body).raise_for_status()
    await run_keys(load_all(), name=name, as_json=False)
    scoped = shop.capsys.readouterr().out.strip()
    assert scoped != KEY
    assert [hit["document"]["id"] for hit in shop.search(scoped).json()["hits"]] == ["red"]
    with pytest.raises(UsageError, match="no search key nothing"):
        await run_keys(load_all(), name="nothing", as_json=False)

    monkeypatch.setenv("WEB_KEY", OTHER_KEY)  # rotated
    assert (await shop.apply())[0] == 0
    assert (shop.search(KEY).status_code, shop.search(OTHER_KEY).status_code) == (401, 200)
    declared["collections"] = [shop.target, f"{shop.target}_more"]  # other rights, the same value
    assert (await shop.apply())[0] == 0
    assert shop.search(OTHER_KEY).status_code == 200
    assert await shop.apply() == (0, [])

    # Whoever has not the key may still look; what was declared once is removed.
    monkeypatch.delenv("WEB_KEY")
    assert await shop.apply() == (0, [])
    shop.top = {}
    assert (await shop.apply())[0] == 0
    assert shop.search(OTHER_KEY).status_code == 401
    assert await shop.apply() == (0, [])


async def test_the_key_of_the_security_page_suffices(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.loads(recipe("Typesense", "json", 1).replace("listings", shop.target)) | {
        "description": f"{shop.names.token} apply"
    }
    key = shop.client.post("/keys", json=body).raise_for_status().json()["value"]
    monkeypatch.setenv("TYPESENSE_API_KEY", key)
    monkeypatch.setenv("WEB_KEY", KEY)
    name = f"{shop.names.token}_a"
    shop.route = {
        "synonyms": {"coats": ["coat", "jacket"]},
        "curations": {"a": {"rule": {"query": "a", "match": "exact"}, "excludes": [{"id": "1"}]}},
    }
    shop.top = {
        "presets": {name: {"per_page": 24}},
        "aliases": {name: shop.target},
        "search_keys": {name: {"value": "${WEB_KEY}", "collections": [shop.target]}},
    }
    code, done = await shop.apply()
    assert (code, len(done)) == (0, 5), [each["outcome"] for each in done]
    shop.top, shop.route = {}, {}
    code, done = await shop.apply()
    assert (code, len(done)) == (0, 5), [each["outcome"] for each in done]


async def test_what_is_there_already_as_declared_is_taken_charge_of(shop: Shop) -> None:
    preset = f"{shop.names.token}_theirs"
    give_foreign(shop)
    shop.top = {"presets": {preset: {"per_page": 3}}}
    code, (done,) = await shop.apply()
    assert code == 0
    assert done["sentence"] == f"Change the presets: take charge of {preset}, as declared already."
    assert await shop.apply() == (0, [])
    shop.top = {}
    assert (await shop.apply())[0] == 0
    assert preset not in presets(shop)
