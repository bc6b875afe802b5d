"""A fake Typesense on loopback, for answers that a real one cannot be made to give."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable

from aiohttp import ClientSession, web
from yarl import URL

HOST = "127.0.0.1"
MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its method, and its path and query as they were sent."""

    method: str
    path: str
    body: bytes
    content_type: str = field(default="", compare=False)
    host: str = field(default="", compare=False)


Answering = Callable[[Asked], web.Response | Awaitable[web.Response | None] | None]


@dataclass(frozen=True, slots=True)
class FakeTypesense:
    """Where it listens, and the requests so far."""

    port: int
    asked: list[Asked]


@asynccontextmanager
async def fake_typesense(answer: Answering) -> AsyncIterator[FakeTypesense]:
    """Answers as the function says; on None it breaks the connection without an answer."""
    asked: list[Asked] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        content_type = request.headers.get("Content-Type", "")
        asked.append(Asked(request.method, request.raw_path, body, content_type, request.host))
        response = answer(asked[-1])
        if isawaitable(response):
            response = await response
        if response is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return response

    runner = web.ServerRunner(web.Server(handle, max_line_size=MAX_LINE_BYTES))
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        (address,) = runner.addresses
        yield FakeTypesense(address[1], asked)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def proxy_before(
    port: int, api_key: str, refuses: Callable[[Asked], web.Response | None]
) -> AsyncIterator[FakeTypesense]:
    """A proxy in front of a real Typesense: requests that the function answers go no further."""
    async with ClientSession(headers={"X-TYPESENSE-API-KEY": api_key}) as session:

        async def answer(asked: Asked) -> web.Response:
            refused = refuses(asked)
            if refused is not None:
                return refused
            url = URL(f"http://{HOST}:{port}{asked.path}", encoded=True)
            headers = {"Content-Type": asked.content_type} if asked.body else {}
            async with session.request(asked.method, url, data=asked.body or None, headers=headers) as response:
                return web.Response(
                    status=response.status, body=await response.read(), content_type=response.content_type
                )

        async with fake_typesense(answer) as server:
            yield server
