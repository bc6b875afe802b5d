"""redis-py's inner parts that `queue/redis_client.py` overrides or calls: are they what we read when we did so?"""

import inspect
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection, ConnectionPool
from redis.asyncio.retry import Retry

from tsync_stream.queue.redis_client import DatedConnection, connect
from tsync_stream.settings.load import load_settings

# As of redis-py 8.1.0.
PARTS: Mapping[str, tuple[Callable[..., Any], str]] = {
    "AbstractConnection.is_connected": (AbstractConnection.is_connected.fget, "a3b3b056f688d210"),  # type: ignore[attr-defined]
    "AbstractConnection.connect": (AbstractConnection.connect, "08c5daf33e6e52ef"),
    "AbstractConnection.disconnect": (AbstractConnection.disconnect, "11194f01c2f6d3c2"),
    "AbstractConnection.can_read": (AbstractConnection.can_read, "5b4db260091b4029"),
    "AbstractConnection.should_reconnect": (AbstractConnection.should_reconnect, "0fa2142effe06284"),
    "AbstractConnection.send_packed_command": (AbstractConnection.send_packed_command, "baaeabd916209157"),
    "AbstractConnection.read_response": (AbstractConnection.read_response, "c1b374bc1a30d0b4"),
    "Connection._connect": (Connection._connect, "24cd655d5f27ddbb"),
    "BlockingConnectionPool.get_connection": (BlockingConnectionPool.get_connection, "6382c8e6cc2841e4"),
    "BlockingConnectionPool.release": (BlockingConnectionPool.release, "8432b41b6823a7d5"),
    "ConnectionPool.can_get_connection": (ConnectionPool.can_get_connection, "158730a68e0a01be"),
    "ConnectionPool.ensure_connection": (ConnectionPool.ensure_connection, "d144a7b72ed399c2"),
    "ConnectionPool.get_available_connection": (ConnectionPool.get_available_connection, "5777614ddec0cef1"),
    "ConnectionPool.release": (ConnectionPool.release, "e7d317be9fa6b3a1"),
    "Retry.call_with_retry": (Retry.call_with_retry, "70823e304bc67f4a"),
}
WHAT_TO_DO = (
    "redis-py {version} has other inner parts than those that tsync_stream/queue/redis_client.py was written for: "
    "{moved}. Read what changed there, adapt that module, run tests/contract/test_redis_connections.py, and then put "
    "the new digests here; until then, keep the release that the lock names."
)


def digest(part: Callable[..., Any]) -> str:
    """Of the source as it stands."""
    return sha256(inspect.getsource(part).encode()).hexdigest()[:16]


def moved(parts: Mapping[str, tuple[Callable[..., Any], str]] = PARTS) -> list[str]:
    """The parts that are not what they were."""
    return [name for name, (part, known) in parts.items() if digest(part) != known]


def test_what_we_override_in_redis_py_is_unchanged() -> None:
    found = moved()
    assert not found, WHAT_TO_DO.format(version=redis.__version__, moved=", ".join(found))


def test_a_part_that_changed_is_named() -> None:
    async def release(self: Any, connection: Any) -> None:
        """Something else."""

    assert moved({**PARTS, "ConnectionPool.release": (release, PARTS["ConnectionPool.release"][1])}) == [
        "ConnectionPool.release"
    ]


async def test_connections_are_ours_and_speak_resp2(tmp_path: Path) -> None:
    pool: Any = connect(load_settings(tmp_path, {}).primary_redis).connection_pool
    connection = pool.make_connection()
    assert isinstance(connection, DatedConnection)
    assert int(connection.protocol) == 2, "with RESP3, redis-py's default, answers have other shapes"
    assert connection.retry is not None
