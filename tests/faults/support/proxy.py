"""A TCP proxy on loopback between one replica and one server: it delays, cuts, resets, swallows, or says nothing.

So one replica can lose one server while all others still have it.
"""

import asyncio
import json
import random
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK = 1 << 16


class Proxy:
    """Runs as long as its `with`, on `port`, in front of the loopback port `upstream`."""

    def __init__(self, upstream: int, seed: int = 0) -> None:
        self.port = 0
        self.upstream = upstream
        self.swallowed = 0
        self._generator = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._open = asyncio.Event()
        self._refusing = False
        self._longest_delay_s = 0.0
        self._answer = b""
        self._swallow: tuple[bytes, bytes, int] = (b"", b"", 0)

    def __enter__(self) -> Self:
        self._thread.start()
        self._in_loop(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Close every connection and accept no more, until `restore`."""
        self._call(self._refuse)

    def reset(self) -> None:
        """Reset every connection, as something between may do with idle ones, and go on accepting."""
        self._call(self._reset_clients)

    def black_hole(self) -> None:
        """Keep all connections, accept new ones, and let no byte through, until `restore`."""
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
        """From now on every request waits for a time of its own, up to `longest_s`."""
        self._call(lambda: setattr(self, "_longest_delay_s", longest_s))

    def answer_http(self, code: int, message: str) -> None:
        """Answer every request like this, as something in front of the server would, until `restore`."""
        body = json.dumps({"message": message}).encode()
        head = f"HTTP/1.1 {code} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._call(lambda: setattr(self, "_answer", head.encode() + b"Connection: close\r\n\r\n" + body))

    def swallow_replies(self, pattern: bytes, times: int, *, but: bytes) -> None:
        """Forward the next `times` requests that hold `pattern` and not `but`, and close the connection instead."""
        self._call(lambda: setattr(self, "_swallow", (pattern, but, times)))

    def _reset_clients(self) -> None:
        for client in self._clients:
            # Without lingering, closing sends RST.
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()

    def _refuse(self) -> None:
        self._refusing = True
        for connection in self._connections:
            connection.cancel()

    async def _start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)  # a connection that was just accepted begins, and so can end in order
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
            pass  # the connection's end is all that the peer needs to know
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
            server_writer.close()  # first: this may be cancelled a second time while it waits below
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

    def _call(self, function: Callable[[], Any]) -> None:
        async def called() -> None:
            function()

        self._in_loop(called())

    def _in_loop(self, coroutine: Any) -> Any:
        with suppress(asyncio.CancelledError):
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10.0)


async def _whole_http_request(data: bytes, reader: asyncio.StreamReader) -> None:
    """Read the rest of a request: who closes with bytes unread resets the connection, and the answer is lost."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    if missing > 0:
        await reader.readexactly(missing)
