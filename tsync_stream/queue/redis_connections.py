"""Connections to one Redis: a bounded pool whose connections are opened early, aged out, and retried.

Every call but a read may be repeated (append, ack and own check what they find), so the client's own retry is safe.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tsync_stream.config import RedisSettings

REQUEST_TIMEOUT_S = 2.0


class DatedConnection(Connection):
    """Remembers when it was connected."""

    connected_at_s: float = 0.0

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]
        self.connected_at_s = time.monotonic()


class AgingPool(BlockingConnectionPool):
    """Reconnects a connection that is older than `max_lifetime_s` before giving it out."""

    def __init__(self, *, max_lifetime_s: float, **options: object) -> None:
        super().__init__(connection_class=DatedConnection, **options)  # type: ignore[arg-type]
        self._max_lifetime_s = max_lifetime_s

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Called by the pool for every connection it gives out."""
        aged = (
            isinstance(connection, DatedConnection)
            and connection.is_connected
            and time.monotonic() - connection.connected_at_s > self._max_lifetime_s
        )
        if aged:
            await connection.disconnect()
        await super().ensure_connection(connection)


def connect(settings: RedisSettings) -> Redis:
    """A client for `settings`; nothing is opened yet. RESP2, so that answers have one shape on every server."""
    pool = AgingPool(
        max_lifetime_s=settings.conn_max_lifetime_s,
        host=settings.host,
        port=settings.port,
        db=settings.db,
        password=settings.password or None,
        max_connections=settings.pool_size,
        timeout=REQUEST_TIMEOUT_S,
        socket_timeout=REQUEST_TIMEOUT_S,
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


async def open_idle_connections(client: Redis, count: int) -> None:
    """Open `count` connections now, so that the first changes do not wait for them. Raises redis-py's errors."""
    pool: Any = client.connection_pool
    async with AsyncExitStack() as stack:
        for connection in await asyncio.gather(*(pool.get_connection() for _ in range(count))):
            stack.push_async_callback(pool.release, connection)
