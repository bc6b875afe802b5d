"""Requests to Typesense and what the responses mean, with a fake server on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from tests.support.fake_typesense import HOST, Asked, FakeTypesense, fake_typesense
from tests.support.stack import typesense_settings
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, DocumentRejected
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import declared_schema
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.wire import id_requests

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# Also loopback, but nobody listens there.
DEAD_HOST = "127.0.0.2"
Answering = Callable[[Asked], web.Response | None]


@asynccontextmanager
async def target(answer: Answering, *hosts: str) -> AsyncIterator[tuple[TypesenseTarget, FakeTypesense]]:
    """A client of a fake server that answers as the function says."""
    async with fake_typesense(answer) as server:
        made = TypesenseTarget(typesense_settings(server.port, "key", hosts=hosts or (HOST,), timeout_s=2.0))
        try:
            yield made, server
        finally:
            await made.close()


async def export(made: TypesenseTarget) -> None:
    """Export every id."""
    async for _ in made.export_ids("c", 10):
        pass


CALLS: dict[str, Callable[[TypesenseTarget], Awaitable[Any]]] = {
    "collection": lambda made: made.collection("c"),
    "settled": lambda made: made.settled(),
    "create": lambda made: made.create_collection({"name": "c"}),
    "import": lambda made: made.import_lines("c", [b"{}"]),
    "delete by filter": lambda made: made.delete("c", ["a"]),
    "delete by path": lambda made: made.delete("c", ["`"]),
    "export": export,
}


# Of the response to a delete, only the status matters.
@pytest.mark.parametrize("call", ["collection", "settled", "create", "import", "export"])
async def test_the_html_page_of_a_proxy_is_an_outage(call: str) -> None:
    page = "<html>Sign in</html>"
    async with target(lambda _: web.Response(text=page, content_type="text/html")) as (made, _):
        with pytest.raises(DependencyUnavailable):
            await CALLS[call](made)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"settled"}))
async def test_a_refused_api_key_needs_a_person_whatever_the_call(call: str, status: int) -> None:
    async with target(lambda _: web.json_response({"message": "no"}, status=status)) as (made, _):
        with pytest.raises(ConfigurationError, match="TYPESENSE_API_KEY"):
            await CALLS[call](made)


async def test_an_api_key_without_access_to_statistics_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    async with target(lambda _: web.Response(status=403)) as (made, _):
        assert await made.settled()
        assert await made.settled()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_refused_schema_is_reported_in_typesenses_words() -> None:
    words = "Field `x` has an invalid data type `int65`, see docs for supported data types."
    async with target(lambda _: web.json_response({"message": words}, status=400)) as (made, _):
        with pytest.raises(ConfigurationError) as caught:
            await CALLS["create"](made)
    assert str(caught.value) == f"TYPESENSE_SCHEMA_FILE: Typesense refuses the schema: {words}"


@pytest.mark.parametrize("call", ["import", "export", "delete by filter", "delete by path"])
async def test_a_missing_collection_needs_a_person(call: str) -> None:
    async with target(lambda _: web.json_response({"message": "Not Found"}, status=404)) as (made, _):
        with pytest.raises(ConfigurationError, match="TYPESENSE_COLLECTION_NAME"):
            await CALLS[call](made)


async def test_deleting_a_missing_document_succeeds() -> None:
    def answer(asked: Asked) -> web.Response:
        found = asked.method == "GET"
        described = {"name": "c", "created_at": 1, "num_documents": 0, "fields": []}
        return web.json_response(described if found else {"message": "Not Found"}, status=200 if found else 404)

    async with target(answer) as (made, server):
        await made.delete("c", ["`"])
        assert [asked.method for asked in server.asked] == ["DELETE", "GET"]


@pytest.mark.parametrize("call", ["import", "export", "settled", "delete by filter", "delete by path"])
async def test_a_request_is_sent_once_though_its_connection_breaks(call: str) -> None:
    async with target(lambda _: None) as (made, server):
        with pytest.raises(DependencyUnavailable) as caught:
            await CALLS[call](made)
        assert caught.value.in_doubt
        assert len(server.asked) == 1, "aiohttp repeated the request"


async def test_after_a_node_fails_the_next_one_is_asked() -> None:
    async with target(lambda _: web.json_response({}), DEAD_HOST, HOST) as (made, server):
        with pytest.raises(DependencyUnavailable) as caught:
            await made.settled()
        assert not caught.value.in_doubt
        assert not caught.value.timed_out
        assert await made.settled()
        assert await made.settled()
        assert [asked.path for asked in server.asked] == ["/stats.json"] * 2


async def test_after_a_node_answers_503_the_next_one_is_asked() -> None:
    async with target(lambda _: web.Response(status=503), HOST, DEAD_HOST) as (made, server):
        with pytest.raises(DependencyUnavailable, match="503"):
            await made.settled()
        with pytest.raises(DependencyUnavailable, match="connection refused"):
            await made.settled()
        assert len(server.asked) == 1


@pytest.mark.parametrize("document_id", ["`" + "x" * 70_000, "x" * 70_000])
async def test_an_id_too_long_for_a_url_is_a_refused_document(document_id: str) -> None:
    async with target(lambda _: web.json_response({})) as (made, server):
        with pytest.raises(DocumentRejected, match="unusable id"):
            await made.delete("c", [document_id])
        assert server.asked == []


async def test_the_caller_is_asked_before_each_delete() -> None:
    ids = [f"{number}-{'x' * 900}" for number in range(40)] + ["..", "`"]
    before: list[int] = []
    async with target(lambda _: web.json_response({"num_deleted": 1})) as (made, server):
        await made.delete("c", ids, lambda: before.append(len(server.asked)))
        requests = id_requests(ids)
        assert before == list(range(len(requests)))
        assert [asked.path for asked in server.asked] == [
            f"/collections/c/documents{item.delete_path}" for item in requests
        ]
    assert len(requests) == 11
    assert "`..`" in unquote(requests[-2].delete_path)
    assert requests[-1].delete_path == "/%60"


@pytest.mark.parametrize("size", [1, 300_000, 3_000_000])
async def test_a_body_arrives_as_it_was_sent_whatever_its_size(size: int) -> None:
    line = b'{"id":"' + b"x" * size + b'"}'
    async with target(lambda _: web.Response(text='{"success":true}\n{"success":true}')) as (made, server):
        assert await made.import_lines("a/b?c", [line, line]) == []
    assert server.asked == [
        Asked("POST", "/collections/a%2Fb%3Fc/documents/import?action=upsert&dirty_values=reject", line + b"\n" + line)
    ]


@pytest.mark.parametrize("content", [None, b'{"fields": "\xff"}'])
def test_a_schema_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="TYPESENSE_SCHEMA_FILE"):
        declared_schema(Declaration(Route("c", "d", "c", "c")), path)
