"""Clients of Typesense share their use of proxies, the authorities they trust, and the node they call."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import certifi
import httpx
import pytest
from aiohttp import web

from tests.support.fake_typesense import HOST, Asked, fake_typesense
from tsync_stream.check.typesense import gather_typesense
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import TypesenseSettings, load_settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.connection import http_client, http_session

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own deprecated parts

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
SCHEMA = {"name": "c", "created_at": 1, "num_documents": 0, "fields": []}


def settings(directory: Path, **environment: str) -> TypesenseSettings:
    found = load_settings(directory, {"TYPESENSE_HOST": HOST, "TYPESENSE_COLLECTION_NAME": "c", **environment})
    return replace(found.typesense, connection_timeout_s=2.0)


def as_typesense(asked: Asked) -> web.Response:
    if "/import" in asked.path:
        return web.Response(text="\n".join('{"success": true}' for _ in asked.body.splitlines()))
    return web.json_response({"ok": True} if asked.path.endswith("/health") else SCHEMA)


TABLE = RouteTable([Declaration(Route("c", "shop", "c", "c"))])


async def ask_everything(chosen: TypesenseSettings) -> None:
    """Each client that we have, once."""
    target = TypesenseTarget(chosen)
    try:
        assert await target.collection("c") is not None
        assert await target.import_lines("c", [b'{"id": "1"}']) == []
    finally:
        await target.close()
    assert (await gather_typesense(chosen, TABLE, chosen.node_urls[0])).error is None


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_proxy_from_the_environment_is_used_for_all_requests_or_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with fake_typesense(as_typesense) as server, fake_typesense(as_typesense) as proxy:
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, f"http://{HOST}:{proxy.port}")
        environment = {"TYPESENSE_PORT": str(server.port), "TYPESENSE_TRUST_PROXY_ENV": str(trusted)}
        await ask_everything(settings(tmp_path, **environment))
    through, direct = (proxy, server) if trusted else (server, proxy)
    assert len(through.asked) > 5
    assert not direct.asked


def test_every_client_is_made_in_one_place() -> None:
    made = re.compile(r"httpx\.(Async)?Client\(|ClientSession\(|AsyncClient\(|httpx\.(get|post|request|stream)\(")
    places = {path.as_posix() for path in Path("tsync_stream").rglob("*.py") if made.search(path.read_text("utf-8"))}
    assert places == {
        "tsync_stream/sink/connection.py",
        "tsync_stream/demo/search.py",  # of servers that it started itself, on loopback
    }


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_authorities_from_the_environment_are_used_by_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    first = certifi.contents().partition("-----END CERTIFICATE-----")
    one = tmp_path / "authority.pem"
    one.write_text(first[0] + first[1] + "\n")
    chosen = settings(tmp_path, TYPESENSE_PROTOCOL="https")
    counted: list[int] = []
    create: Callable[[], object] = httpx.create_ssl_context

    def noted() -> object:
        context = create()
        counted.append(len(context.get_ca_certs()))  # type: ignore[attr-defined]
        return context

    monkeypatch.setattr(httpx, "create_ssl_context", noted)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(one if variable == "SSL_CERT_FILE" else tmp_path))
    await http_client(chosen, 1.0).aclose()
    await http_session(chosen, ()).close()
    expected = 1 if variable == "SSL_CERT_FILE" else 0  # those of a folder are looked up when they are needed
    assert counted == [expected, expected]


async def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        http_client(settings(tmp_path, TYPESENSE_PROTOCOL="https"), 1.0)
    await http_client(settings(tmp_path), 1.0).aclose()


async def test_all_calls_go_to_one_node_until_it_fails(tmp_path: Path) -> None:
    """Nodes of a cluster differ in what they say of a collection: in its creation time, for one."""
    refusing: list[bool] = []

    def answer(asked: Asked) -> web.Response:
        return web.json_response({"message": "Not Ready"}, status=503) if refusing else as_typesense(asked)

    async with fake_typesense(answer) as server:
        # One server under two names: the Host header tells which was asked.
        chosen = settings(tmp_path, TYPESENSE_HOST="127.0.0.1,localhost", TYPESENSE_PORT=str(server.port))
        target = TypesenseTarget(chosen)
        try:
            for _ in range(3):
                assert await target.collection("c") is not None
                await target.import_lines("c", [b'{"id": "1"}'])
            assert {asked.host.partition(":")[0] for asked in server.asked} == {"127.0.0.1"}
            refusing.append(True)
            with pytest.raises(DependencyUnavailable):
                await target.collection("c")
            refusing.clear()
            server.asked.clear()
            for _ in range(3):
                assert await target.collection("c") is not None
                await target.import_lines("c", [b'{"id": "1"}'])
            assert {asked.host.partition(":")[0] for asked in server.asked} == {"localhost"}
        finally:
            await target.close()
