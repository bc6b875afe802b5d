"""Clients of MongoDB, and how long their calls may take.

Invariants: a call ends when its server is dead or frozen. That of the change stream may take long for a good reason, so
it has no time-out of its own: the driver's heartbeat, on another connection, ends it when the server is silent.
"""

from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from tsync_stream.config import Settings

TIMEOUT_MS = 5_000
# To resume a change stream the server reads the oplog from the old position on, at some 150,000 entries a second,
# whatever they are about. Who has more behind him than it reads in this time is better off with a reconcile.
LONGEST_OPENING_S = 3_600.0
# Two silent heartbeats, and a frozen server is noticed.
_HEARTBEAT_MS = 5_000


def mongo_client(settings: Settings) -> AsyncIOMotorClient[Any]:
    """A client whose calls end: a dead server is noticed after its timeouts, not after half a minute."""
    return AsyncIOMotorClient(
        settings.mongo.uri,
        serverSelectionTimeoutMS=TIMEOUT_MS,
        connectTimeoutMS=TIMEOUT_MS,
        socketTimeoutMS=2 * TIMEOUT_MS,
        appname="tsync-stream",
    )


def stream_client(settings: Settings) -> AsyncIOMotorClient[Any]:
    """A client for one change stream, whose calls may take as long as the server reads."""
    return AsyncIOMotorClient(
        settings.mongo.uri,
        serverSelectionTimeoutMS=TIMEOUT_MS,
        connectTimeoutMS=TIMEOUT_MS,
        heartbeatFrequencyMS=_HEARTBEAT_MS,
        # The last resort, should the server's own limit (`maxTimeMS`) and the heartbeat both fail.
        socketTimeoutMS=int(LONGEST_OPENING_S * 1_000) + 12 * TIMEOUT_MS,
        appname="tsync-stream",
    )


def end_client(client: AsyncIOMotorClient[Any]) -> None:
    """Close the client, and break off what is under way on it: the server then ends it, too. It may block a moment.

    The driver's own `close` waits for nobody, but leaves a call that waits for its answer, and its thread, to go on.
    """
    for pool in _pools(client):
        pool.reset(interrupt_connections=True)
    client.close()


def _pools(client: AsyncIOMotorClient[Any]) -> list[Any]:
    """The driver's connection pools. They are private: `tests/integration/test_mongo_client.py` tells if they move."""
    return [server.pool for server in client.delegate._topology._servers.values()]  # noqa: SLF001
