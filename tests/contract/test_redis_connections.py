"""A connection to Redis is given back clean, or not at all, on either event loop; nothing is sent twice unasked."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions
import uvloop
from redis.asyncio import Redis

from tests.contract.servers import RedisTierServer
from tests.support.proxy import Proxy
from tests.support.stack import Names, redis_client
from tests.support.waiting import eventually
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue import redis_client as module
from tsync_stream.queue.redis_client import ask, connect, open_idle_connections

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": lambda: asyncio.SelectorEventLoop(selectors.DefaultSelector()),
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture
def server(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[RedisTierServer]:
    chosen = RedisTierServer("primary", stack, names, tmp_path)
    yield chosen
    chosen.put_right()


@pytest.fixture
def proxy(server: RedisTierServer) -> Iterator[Proxy]:
    with Proxy(server.settings.port) as between:
        yield between


@pytest.fixture(params=LOOPS)
def run(
    request: pytest.FixtureRequest, server: RedisTierServer, proxy: Proxy
) -> Callable[[Callable[[Redis], Awaitable[None]]], None]:
    """Runs a function on one of the loops, with a client of one connection that tries once."""

    def run(work: Callable[[Redis], Awaitable[None]]) -> None:
        async def with_client() -> None:
            client = connect(replace(server.settings, port=proxy.port, pool_size=1, max_retries=0))
            try:
                await work(client)
            finally:
                await client.connection_pool.disconnect()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(with_client())

    return run


Run = Callable[[Callable[[Redis], Awaitable[None]]], None]


async def ping(client: Redis) -> None:
    assert await ask(client, ("PING",)) == [b"PONG"]


def test_an_idle_connection_that_was_reset_is_replaced(run: Run, proxy: Proxy) -> None:
    async def work(client: Redis) -> None:
        await ping(client)
        connection: Any = client.connection_pool._available_connections[0]
        proxy.reset()
        await eventually(connection._writer.is_closing)
        await ping(client)

    run(work)


def test_a_connection_that_is_reset_during_a_command_raises_a_redis_error(
    run: Run, proxy: Proxy, server: RedisTierServer
) -> None:
    async def work(client: Redis) -> None:
        waiting = asyncio.create_task(ask(client, ("BLPOP", "nothing is here", 1)))
        await eventually(lambda: waits_in_blpop(server))
        proxy.reset()
        with pytest.raises(redis.exceptions.ConnectionError):
            await waiting
        await ping(client)

    run(work)


def test_a_transport_that_has_closed_meanwhile_raises_a_redis_error(run: Run) -> None:
    """Between the look at a connection and its use there is a moment: here it is made by force."""

    async def work(client: Redis) -> None:
        await ping(client)
        pool: Any = client.connection_pool
        connection = await pool.get_connection()
        connection._writer.transport.abort()
        type(connection).is_connected, kept = True, type(connection).is_connected
        try:
            with pytest.raises(redis.exceptions.ConnectionError):
                await module._answers(connection, [("PING",)])
        finally:
            type(connection).is_connected = kept
        await pool.release(connection)
        await ping(client)

    run(work)


def test_a_refusal_is_raised_once_everything_is_answered(run: Run) -> None:
    async def work(client: Redis) -> None:
        with pytest.raises(redis.exceptions.ResponseError, match="wrong number of arguments"):
            await ask(client, ("ECHO", "first"), ("INCR",), ("ECHO", "last"))
        assert await ask(client, ("ECHO", "a"), ("ECHO", "b")) == [b"a", b"b"], "no answer of before"

    run(work)


def waits_in_blpop(server: RedisTierServer) -> bool:
    return "cmd=blpop" in str(server.call("CLIENT", "LIST", "TYPE", "normal"))


def test_a_cancelled_call_leaves_no_answer_for_others(run: Run, server: RedisTierServer) -> None:
    async def work(client: Redis) -> None:
        asking = asyncio.create_task(ask(client, ("ECHO", "old"), ("BLPOP", "nothing is here", 1), ("ECHO", "older")))
        await eventually(lambda: waits_in_blpop(server))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await ask(client, ("ECHO", "new")) == [b"new"]

    run(work)


def test_what_is_not_answered_in_time_is_not_asked_again(
    run: Run, server: RedisTierServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{server.settings.queue_key}:counted"

    async def work(client: Redis) -> None:
        await ping(client)
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.2)
        with pytest.raises(redis.exceptions.TimeoutError):
            await ask(client, ("INCR", key), ("BLPOP", "nothing is here", 1))
        assert server.call("GET", key) == "1"
        monkeypatch.undo()
        await ping(client)
        await ask(client, ("DEL", key))

    run(work)


def test_a_call_that_finds_no_free_connection_waits_for_one(run: Run) -> None:
    async def work(client: Redis) -> None:
        answers = await asyncio.gather(*(ask(client, ("ECHO", str(number))) for number in range(20)))
        assert answers == [[str(number).encode()] for number in range(20)]

    run(work)


async def test_connections_opened_early_are_released_when_one_fails(
    server: RedisTierServer, stack: EmbeddedStack
) -> None:
    client = connect(replace(server.settings, pool_size=4, max_retries=0))
    with redis_client(stack.primary_redis) as admin:
        allowed = int(admin.config_get("maxclients")["maxclients"] or 0)
        try:
            admin.config_set("maxclients", admin.info("clients")["connected_clients"] + 2)
            with pytest.raises(redis.exceptions.ConnectionError):
                await open_idle_connections(client, 4)
        finally:
            admin.config_set("maxclients", allowed)
    try:
        await open_idle_connections(client, 4)
    finally:
        await client.connection_pool.disconnect()
