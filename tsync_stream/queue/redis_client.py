"""Connections to one Redis: a bounded pool whose connections are opened early, replaced with age, and retried.

Invariants: every call but a read may be repeated (append, ack and own check what they find), so the client's own retry
is safe. A connection logs in with the password as it is at that moment, or else with the one before: when a password is
changed, the server and our file do not change together.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tsync_stream.core.events import event
from tsync_stream.core.tasks import all_to_end
from tsync_stream.settings.load import RedisSettings
from tsync_stream.settings.secrets import Secret
from tsync_stream.settings.tls import client_context

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 2.0


class DatedConnection(Connection):
    """Knows when it was connected, bounds its own waits, and notices a reset.

    With a `socket_timeout`, the library starts a task for each command it sends (`asyncio.wait_for`, before Python
    3.12), which takes as long as everything else it does for the command.
    """

    connected_at_s: float = 0.0

    def __init__(self, *, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    @property
    def is_connected(self) -> bool:
        """False also once the transport has closed by itself, which the library does not check."""
        return super().is_connected and self._writer is not None and not self._writer.is_closing()

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send, within REQUEST_TIMEOUT_S."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise RedisTimeoutError("the server accepts no more data, or no connection") from None
        except RuntimeError as error:  # from uvloop, for a transport that has closed meanwhile
            raise RedisConnectionError("the connection is closed") from error

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read an answer, within REQUEST_TIMEOUT_S."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await super().read_response(*arguments, **options)
        except TimeoutError:
            raise RedisTimeoutError("the server does not answer") from None

    async def is_clean(self) -> bool:
        """Whether nothing is there to be read, so that the next answer is that of the next command."""
        try:
            return not await self.can_read()
        except RedisConnectionError:
            return False

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = super()._connection_arguments()
        return arguments if self._tls is None else {**arguments, "ssl": self._tls}

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]
        self.connected_at_s = time.monotonic()


class AgingPool(BlockingConnectionPool):
    """Reconnects a connection that is older than `max_lifetime_s` before giving it out."""

    def __init__(self, *, max_lifetime_s: float, **options: object) -> None:
        super().__init__(connection_class=DatedConnection, **options)  # type: ignore[arg-type]
        self._max_lifetime_s = max_lifetime_s
        self._replaced_at_s = float("-inf")
        self._waiting = 0

    def replace_connections(self) -> None:
        """From now on, every call uses a connection that is opened, and logged in, after this one."""
        self._replaced_at_s = time.monotonic()

    async def get_connection(self, *arguments: Any, **options: Any) -> AbstractConnection:
        """A connection; if one is free, without the library's overhead of waiting for one."""
        if not self.can_get_connection():
            self._waiting += 1
            try:
                return cast("AbstractConnection", await super().get_connection(*arguments, **options))  # type: ignore[no-untyped-call]
            finally:
                self._waiting -= 1
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Take a connection back; if nobody waits for one, without the library's overhead of waking those who do."""
        if self._waiting or connection.should_reconnect():  # type: ignore[no-untyped-call]
            await super().release(connection)
            return
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Called by the pool for each connection it gives out."""
        if isinstance(connection, DatedConnection) and connection.is_connected:
            if connection.connected_at_s <= max(self._replaced_at_s, time.monotonic() - self._max_lifetime_s):
                await connection.disconnect()
            elif await connection.is_clean():
                return
        await super().ensure_connection(connection)


def password_of(settings: RedisSettings) -> Secret:
    """The password of a tier, which may change while we run if it comes from a file."""
    return Secret(f"{settings.name.upper()}_REDIS_PASSWORD", settings.password, settings.password_file)


def connect(settings: RedisSettings, password: Secret | None = None) -> Redis:
    """A client for `settings`; nothing is opened yet. RESP2, so that answers have one shape on every server.

    `password` replaces the one of the settings, and may change. Raises `ConfigurationError` if a certificate file can
    no longer be read.
    """
    pool = AgingPool(
        max_lifetime_s=settings.conn_max_lifetime_s,
        host=settings.host,
        port=settings.port,
        db=settings.db,
        tls=client_context(settings.tls) if settings.use_tls else None,
        redis_connect_func=_login(settings, password or password_of(settings)),
        max_connections=settings.pool_size,
        timeout=REQUEST_TIMEOUT_S,
        socket_timeout=None,  # see DatedConnection
        socket_connect_timeout=REQUEST_TIMEOUT_S,
        socket_keepalive=True,
        protocol=2,
        retry=Retry(
            EqualJitterBackoff(base=settings.retry_backoff_s, cap=1.0),
            settings.max_retries,
            supported_errors=(RedisConnectionError, RedisTimeoutError),
        ),
    )
    return Redis.from_pool(pool)


def _login(settings: RedisSettings, password: Secret) -> Callable[[AbstractConnection], Awaitable[None]]:
    """What a connection does first."""

    async def log_in(connection: AbstractConnection) -> None:
        # Whoever changed it may close our connections before anybody has told us. A small file, and rarely.
        password.look()
        current, *before = password.candidates
        connection.username, connection.password = settings.username or None, current or None
        try:
            await connection.on_connect()
        except AuthenticationError:
            if not before:
                raise
            connection.password = before[0] or None
            await connection.on_connect()
            log.warning(
                "%s: the %s Redis refuses the new password and still takes the one before; going on with that one",
                password.origin,
                settings.name,
                extra=event("secret.refused", tier=settings.name),
            )

    return log_in


async def ask(client: Redis, *commands: Sequence[Any]) -> list[Any]:
    """Send commands in one round trip; returns the server's answers. Retried as the client would.

    Raises redis-py's errors; once everything is answered, the first error among the answers.
    """
    answers = await ask_each(client, *commands)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


async def ask_each(client: Redis, *commands: Sequence[Any]) -> list[Any]:
    """Like `ask`, but a refusal is a `ResponseError` in its place among the answers.

    Straight over a connection: the client's own way does several times as much work that is not needed here.
    """
    pool: Any = client.connection_pool
    connection: Any = await pool.get_connection()
    try:
        answers: list[Any] = await connection.retry.call_with_retry(
            lambda: _answers(connection, commands), lambda _: connection.disconnect()
        )
        return answers
    finally:
        await pool.release(connection)


async def _answers(connection: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    # redis-py packs in Python, argument by argument, and takes several times as long.
    await connection.send_packed_command([hiredis.pack_command(tuple(command)) for command in commands])
    return [await _answer(connection) for _ in commands]


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refusal:  # the answers to the other commands follow
        return refusal


async def open_idle_connections(client: Redis, count: int) -> None:
    """Open `count` connections now, so that the first changes need not wait. Raises redis-py's errors."""
    pool: Any = client.connection_pool
    async with AsyncExitStack() as opened:

        async def open_one() -> None:
            opened.push_async_callback(pool.release, await pool.get_connection())

        await all_to_end([open_one() for _ in range(count)])
