"""A request that is refused for its content is split down to the document: a real Typesense behind a proxy."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import orjson
import pytest
from aiohttp import web

from tests.support.fake_typesense import Asked, FakeTypesense, fake_typesense, proxy_before
from tests.support.stack import Names, detecting_schema, typesense_settings
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.client import MIN_IMPORT_BYTES, TypesenseTarget
from tsync_stream.sink.dividing import REFUSED_BY_PROXY, TOO_LARGE_FOR_PROXY

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Refuses = Callable[[Asked], web.Response | None]
PAGE = "<html>Request blocked</html>"


def blocked(status: int) -> web.Response:
    """A response that is not from Typesense."""
    return web.Response(status=status, text=PAGE, content_type="text/html")


@asynccontextmanager
async def behind(
    stack: EmbeddedStack, names: Names, refuses: Refuses
) -> AsyncIterator[tuple[TypesenseTarget, FakeTypesense]]:
    """A client whose requests pass a proxy, with a collection."""
    api_key = stack.typesense.api_key
    async with proxy_before(stack.typesense.port, api_key, refuses) as proxy:
        target = TypesenseTarget(typesense_settings(proxy.port, api_key))
        try:
            await target.create_collection(detecting_schema(names.typesense_collection))
            proxy.asked.clear()
            yield target, proxy
        finally:
            await target.close()


def lines(count: int, **special: object) -> list[bytes]:
    """Documents; those named by `n<number>` have that text."""
    return [orjson.dumps({"id": str(number), "text": special.get(f"n{number}", "plain")}) for number in range(count)]


async def ids(target: TypesenseTarget, names: Names) -> set[str]:
    return {found async for some in target.export_ids(names.typesense_collection, 100) for found in some}


@pytest.mark.parametrize("status", [400, 403, 406])
async def test_a_firewall_refusal_is_narrowed_down_to_one_document(
    stack: EmbeddedStack, names: Names, status: int
) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(status) if b"DROP TABLE" in asked.body else None

    async with behind(stack, names, refuses) as (target, proxy):
        rejections = await target.import_lines(names.typesense_collection, lines(100, n42="DROP TABLE"))
        assert [(item.line, item.reason) for item in rejections] == [(42, REFUSED_BY_PROXY)]
        assert str(status) in rejections[0].error
        assert PAGE not in rejections[0].error
        assert await ids(target, names) == {str(number) for number in range(100)} - {"42"}
        assert len(proxy.asked) < 20
        assert {asked.content_type for asked in proxy.asked if asked.body} == {"text/plain; charset=utf-8"}


async def test_rejected_lines_are_found_in_every_part_of_a_split_import(stack: EmbeddedStack, names: Names) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(403) if b"DROP TABLE" in asked.body else None

    async with behind(stack, names, refuses) as (target, _):
        documents = lines(8, n5="DROP TABLE")
        documents[2] = documents[7] = b'{"id":""}'
        rejections = await target.import_lines(names.typesense_collection, documents)
        assert sorted(item.line for item in rejections) == [2, 5, 7]
        assert await ids(target, names) == {"0", "1", "3", "4", "6"}


@pytest.mark.parametrize("count", [1, 100])
async def test_a_firewall_that_blocks_everything_needs_a_person(stack: EmbeddedStack, names: Names, count: int) -> None:
    refuses_all = False

    def refuses(asked: Asked) -> web.Response | None:
        return blocked(403) if refuses_all and asked.method == "POST" else None

    async with behind(stack, names, refuses) as (target, proxy):
        refuses_all = True
        with pytest.raises(ConfigurationError, match="proxy or firewall"):
            await target.import_lines(names.typesense_collection, lines(count))
        assert len(proxy.asked) <= 3


async def test_an_outage_while_a_request_is_split_blames_no_document(stack: EmbeddedStack, names: Names) -> None:
    """The harmless request gets no answer, so the cause of the refusal stays unknown."""
    imports = 0

    def refuses(asked: Asked) -> web.Response | None:
        nonlocal imports
        imports += asked.method == "POST" and "import" in asked.path
        return None if not imports else blocked(403) if imports == 1 else blocked(503)

    async with behind(stack, names, refuses) as (target, _):
        with pytest.raises(DependencyUnavailable, match="503"):
            await target.import_lines(names.typesense_collection, lines(10))


async def test_a_proxys_size_limit_is_found_and_respected(
    stack: EmbeddedStack, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    limit_bytes = 100_000

    def refuses(asked: Asked) -> web.Response | None:
        return blocked(413) if len(asked.body) > limit_bytes else None

    async with behind(stack, names, refuses) as (target, proxy):
        documents = lines(400, **{f"n{number}": "x" * (200_000 if number == 7 else 1_000) for number in range(400)})
        rejections = await target.import_lines(names.typesense_collection, documents)
        assert [(item.line, item.reason) for item in rejections] == [(7, TOO_LARGE_FOR_PROXY)]
        assert "200" in rejections[0].error
        assert "IMPORT_MAX_BYTES" in rejections[0].error
        assert await ids(target, names) == {str(number) for number in range(400)} - {"7"}
        assert target.accepted_import_bytes >= MIN_IMPORT_BYTES
        assert len(proxy.asked) < 40
    assert "IMPORT_MAX_BYTES" in caplog.text


async def test_one_document_that_is_too_large_does_not_lower_the_import_size(
    stack: EmbeddedStack, names: Names
) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(413) if len(asked.body) > 100_000 else None

    async with behind(stack, names, refuses) as (target, _):
        before = target.accepted_import_bytes
        rejections = await target.import_lines(names.typesense_collection, lines(1, n0="x" * 200_000))
        assert [item.reason for item in rejections] == [TOO_LARGE_FOR_PROXY]
        assert target.accepted_import_bytes == before


@pytest.mark.parametrize("status", [413, 414, 431])
async def test_a_filter_that_is_too_long_is_split(stack: EmbeddedStack, names: Names, status: int) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(status) if len(asked.path) > 300 else None

    wanted = [f"{number}" for number in range(40)]
    endless = "y" * 400
    async with behind(stack, names, refuses) as (target, proxy):
        documents = [*lines(41), orjson.dumps({"id": endless})]
        assert await target.import_lines(names.typesense_collection, documents) == []
        refusals = await target.delete(names.typesense_collection, [*wanted, endless])
        assert [(item.document_id, item.reason) for item in refusals] == [(endless, TOO_LARGE_FOR_PROXY)]
        assert await ids(target, names) == {"40", endless}
        assert len(proxy.asked) < 40


async def test_a_deletion_whose_filter_is_refused_is_sent_by_path(stack: EmbeddedStack, names: Names) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(403) if asked.method == "DELETE" and quote("`select 1`") in asked.path else None

    async with behind(stack, names, refuses) as (target, _):
        documents = [orjson.dumps({"id": document_id}) for document_id in ("a", "select 1", "b", "c")]
        assert await target.import_lines(names.typesense_collection, documents) == []
        assert await target.delete(names.typesense_collection, ["a", "select 1", "b"]) == []
        assert await ids(target, names) == {"c"}


async def test_a_firewall_that_blocks_every_deletion_needs_a_person(stack: EmbeddedStack, names: Names) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(403) if asked.method == "DELETE" else None

    async with behind(stack, names, refuses) as (target, proxy):
        with pytest.raises(ConfigurationError, match="proxy or firewall"):
            await target.delete(names.typesense_collection, ["a", "b"])
        assert len(proxy.asked) == 2


async def test_a_bad_request_from_typesenses_handler_is_narrowed_down_to_one_document() -> None:
    """Any exception in its handler gives this response to the whole import; a real server cannot be made to fail."""

    def answer(asked: Asked) -> web.Response:
        if b"raises" in asked.body:
            return web.json_response({"message": "Bad request."}, status=400)
        if asked.body == b"[]":
            return web.json_response({"success": False, "code": 400, "error": "Bad JSON"})
        return web.Response(text="\n".join(['{"success":true}'] * (asked.body.count(b"\n") + 1)))

    async with fake_typesense(answer) as server:
        target = TypesenseTarget(typesense_settings(server.port, "key"))
        try:
            rejections = await target.import_lines("c", lines(5, n3="raises"))
        finally:
            await target.close()
    assert [(item.line, item.reason, item.error) for item in rejections] == [
        (3, "rejected by Typesense (400)", "Bad request.")
    ]


async def test_the_lease_is_checked_before_each_further_request(stack: EmbeddedStack, names: Names) -> None:
    def refuses(asked: Asked) -> web.Response | None:
        return blocked(403) if b"DROP TABLE" in asked.body else None

    def gone() -> None:
        raise DependencyUnavailable("the lease")

    async with behind(stack, names, refuses) as (target, proxy):
        with pytest.raises(DependencyUnavailable, match="the lease"):
            await target.import_lines(names.typesense_collection, lines(10, n3="DROP TABLE"), gone)
        assert len(proxy.asked) == 1
