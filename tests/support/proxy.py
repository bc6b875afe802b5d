"""A TCP proxy on loopback between one replica and one server, which can delay, cut, reset or swallow what passes.

With it, one replica can lose a server that all others still reach.
"""

import asyncio
import json
import random
import re
import socket
import ssl
import struct

from tests.support.own_loop import OwnLoopServer

_CHUNK = 1 << 16


class Proxy(OwnLoopServer):
    """Runs as long as its `with`, on `port`, in front of the loopback port `upstream`. With `tls` it ends TLS there."""

    def __init__(self, upstream: int, seed: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("proxy")
        self.port = 0
        self.upstream = upstream
        self.swallowed = 0
        self._tls = tls
        self._generator = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._refusing = False
        self._longest_delay_s = 0.0
        self._answer = b""
        self._swallow: tuple[bytes, bytes, int] = (b"", b"", 0)

    def cut(self) -> None:
        """Close every connection and accept no more, until `restore`."""
        self._call(self._refuse)

    def reset(self) -> None:
        """Reset every connection, as a firewall may do with idle ones, and keep accepting new ones."""
        self._call(self._reset_clients)

    def black_hole(self) -> None:
        """Keep connections, accept new ones, and let no byte through, until `restore`."""
        self._call(self._open.clear)

    def restore(self) -> None:
        """Let everything through again, without delay."""

        def restore() -> None:
            self._refusing = False
            self._longest_delay_s = 0.0
            self._answer = b""
            self._swallow = (b"", b"", 0)
            self._open.set()

        self._call(restore)

    def delay(self, longest_s: float) -> None:
        """Delay every request by a random time of up to `longest_s`, until `restore`."""
        self._call(lambda: setattr(self, "_longest_delay_s", longest_s))

    def answer_http(self, code: int, message: str) -> None:
        """Answer every HTTP request like this, without the server, until `restore`."""
        body = json.dumps({"message": message}).encode()
        head = f"HTTP/1.1 {code} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._call(lambda: setattr(self, "_answer", head.encode() + b"Connection: close\r\n\r\n" + body))

    def swallow_replies(self, pattern: bytes, times: int, *, but: bytes) -> None:
        """Forward the next `times` requests that contain `pattern` and not `but`, but close instead of replying."""
        self._call(lambda: setattr(self, "_swallow", (pattern, but, times)))

    def _reset_clients(self) -> None:
        for client in self._clients:
            # With a linger time of zero, closing sends RST.
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()

    def _refuse(self) -> None:
        self._refusing = True
        for connection in self._connections:
            connection.cancel()

    async def _start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # lets a connection that was just accepted start, so that it can end in order
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._clients.add(writer)
        try:
            if not self._refusing:
                await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the peer only needs to see that the connection ends
        finally:
            self._connections.discard(task)
            self._clients.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        swallowing = asyncio.Event()
        pumps = [
            asyncio.create_task(self._requests(reader, writer, server_writer, swallowing)),
            asyncio.create_task(self._replies(server_reader, writer, swallowing)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.close()  # first, since this may be cancelled again while it waits below
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
        swallowing: asyncio.Event,
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._open.wait()
            if self._answer:
                await _whole_http_request(data, reader)
                client.write(self._answer)
                await client.drain()
                return
            if self._longest_delay_s:
                await asyncio.sleep(self._generator.uniform(0, self._longest_delay_s))
            pattern, but, times = self._swallow
            if times and pattern in data and but not in data:
                self._swallow = (pattern, but, times - 1)
                self.swallowed += 1
                swallowing.set()
            server.write(data)
            await server.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowing: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._open.wait()
            if swallowing.is_set():
                return
            writer.write(data)
            await writer.drain()


async def _whole_http_request(data: bytes, reader: asyncio.StreamReader) -> None:
    """Read the rest of a request: closing with unread bytes would reset the connection and lose the answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    if missing > 0:
        await reader.readexactly(missing)
