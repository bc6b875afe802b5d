"""The circuit breaker: requests pause after consecutive time-outs, since a slow server may still carry them out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.settings.load import load_settings
from tsync_stream.sink import breaker
from tsync_stream.sink.breaker import BREAKER_FAILURES
from tsync_stream.sink.client import TypesenseTarget


class SilentServer:
    """Accepts and counts requests, and answers them only when `answers` is set."""

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
async def test_after_consecutive_failures_requests_pause(
    silent: SilentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_S", 0.3)
    settings = load_settings(tmp_path, {}).typesense
    port = await silent.start()
    # Long enough for a request to arrive on a busy machine.
    target = TypesenseTarget(replace(settings, hosts=("127.0.0.1",), port=port, connection_timeout_s=0.5))
    for number in range(BREAKER_FAILURES):
        with pytest.raises(DependencyUnavailable):
            await target.look("listings")
        assert silent.requests == number + 1
    with pytest.raises(DependencyUnavailable, match="no answer in time"):
        await target.look("listings")
    assert silent.requests == BREAKER_FAILURES, "a request was sent nevertheless"
    assert "Breaker(open for " in repr(target)

    silent.answers = True

    async def asked_again() -> bool:
        with suppress(DependencyUnavailable):
            await target.look("listings")
        return silent.requests > BREAKER_FAILURES

    await eventually(asked_again)
    await target.look("listings")
    assert silent.requests == BREAKER_FAILURES + 2, "one answer closes the circuit"
    await target.close()
