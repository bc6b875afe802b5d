"""A server on loopback that answers as a test says: for answers that a real Typesense cannot be made to give."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

HOST = "127.0.0.1"
MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its method, and its path with the query as it was sent."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class FakeTypesense:
    """Where it listens, and what it was asked so far."""

    port: int
    asked: list[Asked]


@asynccontextmanager
async def fake_typesense(answer: Callable[[Asked], web.Response | None]) -> AsyncIterator[FakeTypesense]:
    """Answers as the function says; None: the connection breaks without an answer."""
    asked: list[Asked] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(Asked(request.method, request.raw_path, await request.content.read()))
        response = answer(asked[-1])
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
