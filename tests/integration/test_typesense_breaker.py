"""A Typesense that only times out is left alone for a moment: what it was asked, it may still carry out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.settings.load import load_settings
from tsync_stream.sink import client
from tsync_stream.sink.client import BREAKER_FAILURES, TypesenseTarget


class SilentServer:
    """Takes requests, counts them, and answers only when it is told to."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers = False
        self._server: asyncio.Server

    async def start(self) -> int:
        """Listen on loopback; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                if self.answers:
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}')


@pytest.fixture
async def silent() -> AsyncIterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own deprecated parts
async def test_after_failures_in_a_row_nothing_is_asked_for_a_moment(
    silent: SilentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BREAKER_PAUSE_S", 0.3)
    settings = load_settings(tmp_path, {}).typesense
    port = await silent.start()
    # Long enough for a request to arrive on a machine that has much to do.
    target = TypesenseTarget(replace(settings, hosts=("127.0.0.1",), port=port, connection_timeout_s=0.5))
    for number in range(BREAKER_FAILURES):
        with pytest.raises(DependencyUnavailable):
            await target.look("listings")
        assert silent.requests == number + 1
    with pytest.raises(DependencyUnavailable, match="no answer in time"):
        await target.look("listings")
    assert silent.requests == BREAKER_FAILURES, "it was asked all the same"

    silent.answers = True
    async with asyncio.timeout(5):
        while silent.requests == BREAKER_FAILURES:
            with suppress(DependencyUnavailable):
                await target.look("listings")
            await asyncio.sleep(0.01)
    await target.look("listings")
    assert silent.requests == BREAKER_FAILURES + 2, "one answer closes the circuit"
    await target.close()
