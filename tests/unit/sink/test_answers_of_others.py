"""A 404 that Typesense did not write (a proxy's page, a load balancer without a backend) says nothing of what is there.

Taken for Typesense's, it would create a collection, open a reconcile, or skip a deletion.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.fake_typesense import HOST, Asked, fake_typesense
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.preparation import prepare_collection
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.errors import words_in
from tsync_stream.sink.markers import Markers, Seen

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own deprecated parts

NOT_TYPESENSES = [
    ("text/html", "<html><h1>404 Not Found</h1></html>"),
    ("text/plain", "default backend - 404"),
    ("text/plain", ""),
    ("application/json", ""),
    ("application/json", "<html>"),
    ("application/json", '{"error": "no route"}'),
    ("application/json", '{"message": 404}'),
    ("application/json", "[404]"),
]
TYPESENSES = ("application/json", '{"message": "Not Found"}')
LIVE = {"name": "c", "created_at": 1, "num_documents": 0, "fields": []}
# Its id fits into no filter, so that it is asked for, and deleted, by its path.
BY_PATH = ["a`b"]

Call = Callable[[TypesenseTarget, Settings], Awaitable[object]]


async def exported(target: TypesenseTarget, _: Settings) -> object:
    return [ids async for ids in target.export_ids("c", 10)]


async def read(target: TypesenseTarget, _: Settings) -> object:
    return [line async for line in target.documents("c", BY_PATH)]


async def prepared(target: TypesenseTarget, settings: Settings) -> object:
    async def find(_: object) -> None:
        return None

    (declaration,) = declared_routes(settings).values()
    return await prepare_collection(target, declaration, None, find)


CALLS: dict[str, Call] = {
    "the collection": lambda target, _: target.collection("c"),
    "a look": lambda target, _: target.look("c"),
    "preparing the collection": prepared,
    "an import": lambda target, _: target.import_lines("c", [b'{"id":"1"}']),
    "a delete by path": lambda target, _: target.delete("c", BY_PATH),
    "a delete by a filter": lambda target, _: target.delete("c", ["1"]),
    "a document by path": read,
    "an export": exported,
    "the marks": lambda target, _: Markers(target, "c").look(),
    "placing a mark": lambda target, _: Markers(target, "c").place(Seen("c", 1, "", None), "nonce"),
    "noting the synced position": lambda target, _: Markers(target, "c").note("c", 7),
}


@asynccontextmanager
async def answered(
    directory: Path, content_type: str, text: str, *, describes: bool
) -> AsyncIterator[tuple[TypesenseTarget, Settings, list[Asked]]]:
    """A server that answers 404 to everything, or to all but the question what the collection is."""

    def answer(asked: Asked) -> web.Response:
        if describes and (asked.method, asked.path) == ("GET", "/collections/c"):
            return web.json_response(LIVE)
        return web.Response(status=404, text=text, content_type=content_type)

    async with fake_typesense(answer) as server:
        found = load_settings(
            directory,
            {"TYPESENSE_HOST": HOST, "TYPESENSE_PORT": str(server.port), "TYPESENSE_COLLECTION_NAME": "c"},
        )
        settings = replace(found, typesense=replace(found.typesense, connection_timeout_s=2.0))
        target = TypesenseTarget(settings.typesense)
        try:
            yield target, settings, server.asked
        finally:
            await target.close()


@pytest.mark.parametrize("describes", [False, True], ids=["everything", "all but the description"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_404_of_something_else_is_waited_out(tmp_path: Path, name: str, *, describes: bool) -> None:
    for content_type, text in NOT_TYPESENSES:
        async with answered(tmp_path, content_type, text, describes=describes) as (target, settings, asked):
            call = CALLS[name](target, settings)
            if describes and name in {"the collection", "a look", "preparing the collection"}:
                await call
                continue
            with pytest.raises(DependencyUnavailable, match=r"404, but not by Typesense|answered by something else"):
                await call
            assert "POST /collections" not in [f"{each.method} {each.path}" for each in asked], "nothing is created"


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("the collection", None),
        ("the marks", None),
        ("a look", ConfigurationError),
        ("an import", ConfigurationError),
        ("a delete by a filter", ConfigurationError),
        ("an export", ConfigurationError),
    ],
)
async def test_typesenses_own_404_means_that_the_collection_is_missing(tmp_path: Path, name: str, means: Any) -> None:
    async with answered(tmp_path, *TYPESENSES, describes=False) as (target, settings, _):
        call = CALLS[name](target, settings)
        if means is None:
            assert await call is None
            return
        with pytest.raises(means, match="has no such collection"):
            await call


async def test_typesenses_own_404_for_a_document_means_that_it_is_gone(tmp_path: Path) -> None:
    async with answered(tmp_path, *TYPESENSES, describes=True) as (target, settings, _):
        assert await CALLS["a delete by path"](target, settings) == []
        assert await CALLS["a document by path"](target, settings) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "Not Found"}', "Not Found"),
        (
            b'{"message": "Could not find a document with id: |\n}))]#"x"}',
            'Could not find a document with id: |\n}))]#"x',
        ),
        (b'{"message":"id: \xff"}\n', "id: \ufffd"),
        (b"<html>404 Not Found</html>", ""),
        (b'{"error": "not found"}', ""),
        (b'{"message": {"text": "x"}}', ""),
        (b'["message"]', ""),
        (b"", ""),
    ],
)
def test_words_of_typesense_are_recognized_also_where_an_id_makes_them_invalid_json(body: bytes, words: str) -> None:
    assert words_in(body) == words
