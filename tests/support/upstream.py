"""The real server behind an imitation, which forwards requests to it or sends its own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

_NOT_PASSED_ON = frozenset(
    {"accept-encoding", "connection", "content-length", "date", "host", "server", "transfer-encoding"}
)


class Reply(NamedTuple):
    """A response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    @property
    def ok(self) -> bool:
        """Whether it is a success."""
        return self.status < 300

    def changed(self, change: Callable[[Any], Any]) -> "Reply":
        """The response with its JSON changed, if it is a success."""
        return self._replace(body=orjson.dumps(change(orjson.loads(self.body)))) if self.ok else self

    def response(self) -> web.Response:
        """The response for aiohttp."""
        return web.Response(status=self.status, body=self.body, headers=self.headers)


def message(status: int, text: str) -> Reply:
    """A JSON message, as Typesense sends it."""
    return Reply(status, orjson.dumps({"message": text}))


def text(body: bytes, status: int = 200) -> Reply:
    """An export, as plain text."""
    return Reply(status, body, {"Content-Type": "text/plain; charset=utf-8"})


class Upstream:
    """Create it inside the event loop. If the real server is gone, calls raise what aiohttp raises."""

    def __init__(self, port: int, api_key: str) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._headers = {"X-TYPESENSE-API-KEY": api_key}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request whose response is streamed; without headers it is the imitation's own."""
        sent = {k: v for k, v in (headers or self._headers).items() if k.lower() not in _NOT_PASSED_ON}
        sent["Accept-Encoding"] = "identity"
        skip = () if any(name.lower() == "content-type" for name in sent) else ("Content-Type",)
        url = URL(self._base + path, encoded=True)
        return self._session.request(method, url, data=body or None, headers=sent, skip_auto_headers=skip)

    async def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request and read the whole response."""
        async with self.request(method, path, body, headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
            return Reply(answer.status, await answer.read(), kept)

    async def passed_on(self, request: web.BaseRequest, body: bytes | None = None) -> Reply:
        """Forward a request, optionally with another body, and read the whole response."""
        if body is None:
            body = await request.content.read()
        return await self.ask(request.method, request.raw_path, body, request.headers)
