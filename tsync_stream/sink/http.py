"""HTTP requests to the nodes of Typesense, for the data path.

Invariants: a request is sent once, since its write may be carried out even if the connection breaks, and a retry needs
fresh documents; after a failure the next request goes to the next node; a deadline covers the whole request. aiohttp
takes a fifth of the CPU time that the client of the `typesense` package takes for the same request.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from io import BytesIO
from typing import NamedTuple

import aiohttp
from yarl import URL

from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.connection import KEY_HEADER, http_session
from tsync_stream.sink.wire import import_body

# aiohttp writes bytes in one go, but writes a file-like object piece by piece, as the server takes it.
MAX_BODY_AT_ONCE_BYTES = 1 << 18
CHUNK_BYTES = 1 << 16
# Escaping more than this would hold up the event loop, where the leases live.
ENCODE_INLINE_BYTES = 1 << 18
# From 28 on, Typesense stores a body that is declared as binary in base64, which is a third longer and unreadable for
# followers of older releases. aiohttp declares bytes as binary.
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


async def encoded(lines: Sequence[bytes]) -> bytes:
    """`import_body`, off the event loop if it takes long."""
    if sum(map(len, lines)) <= ENCODE_INLINE_BYTES or all(map(bytes.isascii, lines)):
        return import_body(lines)
    return await asyncio.to_thread(import_body, lines)


class Answer(NamedTuple):
    """What a node answered."""

    status: int
    body: bytes


class TypesenseHttp:
    """Requests of our own, each to one node. Made inside the event loop.

    Raises what aiohttp raises, and `TimeoutError`; a server's refusal is an answer like any other.
    """

    def __init__(self, settings: TypesenseSettings) -> None:
        self._deadline_s = settings.connection_timeout_s
        self._usual = _timeout(self._deadline_s, self._deadline_s)
        self._node_urls = settings.node_urls
        self._node = 0
        self._session = http_session(settings, (_only_once,))
        self.use_key(settings.api_key)

    def use_key(self, api_key: str) -> None:
        """Send this key with every request from now on."""
        self._headers = {KEY_HEADER: api_key}
        self._headers_with_body = {**_TEXT, KEY_HEADER: api_key}

    @property
    def node(self) -> int:
        """The index of the node that is used now; other clients use the same one."""
        return self._node % len(self._node_urls)

    def failed(self, node: int) -> None:
        """Use the next node from now on, because this one failed; nothing happens if another was chosen meanwhile."""
        if self.node == node:
            self._node += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(self, method: str, path: str, body: bytes | None = None, deadline_s: float | None = None) -> Answer:
        """Send one request and read the whole answer, within the deadline (None: the usual). `path` is quoted."""
        data = BytesIO(body) if body is not None and len(body) > MAX_BODY_AT_ONCE_BYTES else body
        timeout = None if deadline_s is None else _timeout(self._deadline_s, deadline_s)
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        async with asyncio.timeout(deadline_s), self._request(method, path, data, timeout) as response:
            return Answer(response.status, await response.read())

    async def stream(self, path: str) -> AsyncGenerator[Answer, None]:
        """Send a GET whose answer may be long; yields its status with each piece. The deadline is per piece."""
        async with self._request("GET", path) as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield Answer(response.status, chunk)
            yield Answer(response.status, b"")

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, data: bytes | BytesIO | None = None, timeout: aiohttp.ClientTimeout | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request to one node. After it fails, the next request goes to the next node."""
        chosen = self._node
        url = URL(self._node_urls[chosen % len(self._node_urls)] + path, encoded=True)
        headers = self._headers_with_body if data else self._headers
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout or self._usual
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError, asyncio.CancelledError):
            # A deadline cancels the request, too. If two requests fail together, the node changes only once.
            self._node = chosen + 1
            raise
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._node = chosen + 1


class ConnectionBroken(aiohttp.ClientError):
    """The connection broke after the request was, or may have been, sent."""


async def _only_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Rename the errors after which aiohttp would itself repeat a GET or a DELETE."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionBroken(type(error).__name__) from error


def _timeout(connect_s: float, read_s: float) -> aiohttp.ClientTimeout:
    """The limits for the steps of a request. The whole has a deadline besides, unless it is streamed."""
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)
