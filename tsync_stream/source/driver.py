"""Clients of MongoDB, and how long their calls may take. The one module that names the driver, Motor.

Invariants: clients and the types of the driver's objects come from here, so another driver would change only this file.
A call ends if its server is dead or frozen. A call of the change stream may rightly take long, so it has no time-out of
its own: the driver's heartbeat, on another connection, ends it if the server is silent.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, MongoRefused, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.settings.load import Settings

log = logging.getLogger(__name__)

# The driver's names for its asynchronous objects.
MongoClient: TypeAlias = AsyncIOMotorClient[Any]
MongoDatabase: TypeAlias = AsyncIOMotorDatabase[Any]
MongoCollection: TypeAlias = AsyncIOMotorCollection[Any]
MongoSession: TypeAlias = AsyncIOMotorClientSession

_APP_NAME = "tsync-stream"
TIMEOUT_MS = 5_000
# To resume a change stream, the server reads the oplog from the old position on, at about 150,000 entries a second,
# whatever they are about. If there is more to read than fits into this time, a reconcile is faster.
LONGEST_OPENING_S = 3_600.0
# A frozen server is noticed after two silent heartbeats.
_HEARTBEAT_MS = 5_000
# Pauses between reconnections after refusals: they grow, and start again after a quiet period.
FIRST_PAUSE_S = 2.0
MAX_PAUSE_S = 30.0
QUIET_S = 300.0


def open_client(uri: str, **options: Any) -> MongoClient:
    """A client with the driver's own options; nothing is connected yet. Raises `PyMongoError` for a URI it refuses."""
    return AsyncIOMotorClient(uri, **{"appname": _APP_NAME, **options})


def command_client(uri: str, connect_ms: int, answer_ms: int, **options: Any) -> MongoClient:
    """A client for one look or one command: it finds a server within `connect_ms`, or its calls fail."""
    return open_client(
        uri,
        serverSelectionTimeoutMS=connect_ms,
        connectTimeoutMS=connect_ms,
        socketTimeoutMS=answer_ms,
        **options,
    )


def mongo_client(settings: Settings) -> MongoClient:
    """A client whose calls end: a dead server is noticed after these timeouts, not after half a minute."""
    return command_client(settings.mongo.uri, TIMEOUT_MS, 2 * TIMEOUT_MS)


def stream_client(settings: Settings) -> MongoClient:
    """A client for one change stream, whose calls may take as long as the server reads."""
    return open_client(
        settings.mongo.uri,
        serverSelectionTimeoutMS=TIMEOUT_MS,
        connectTimeoutMS=TIMEOUT_MS,
        heartbeatFrequencyMS=_HEARTBEAT_MS,
        # The last resort, if the server's own limit (`maxTimeMS`) and the heartbeat both fail.
        socketTimeoutMS=int(LONGEST_OPENING_S * 1_000) + 12 * TIMEOUT_MS,
    )


def connect_anew(client: MongoClient) -> None:
    """From now on, every call uses a connection that is opened, and logged in, after this one."""
    for pool in _pools(client):
        pool.reset_without_pause()


class MongoHealth:
    """Reports calls to MongoDB to health, and cures one kind of failure: `anew` reconnects.

    To MongoDB, a user that was dropped and created again is another one, whatever its name and password: connections
    that were logged in before are refused everything, and neither the server nor the driver closes them.
    """

    def __init__(self, health: Health, anew: Callable[[], None]) -> None:
        self.health = health
        self._anew = anew
        self._pause_s = FIRST_PAUSE_S
        self._last_s = float("-inf")

    def worked(self, check: str) -> None:
        """Note that a call of this kind succeeded."""
        self.health.green(check)

    def failed(self, check: str, error: TsyncError, meanwhile: str) -> None:
        """Note that a call of this kind failed; `meanwhile` says what that means until one succeeds."""
        self.health.fault(check, f"{error}; {meanwhile}", needs_person=isinstance(error, ConfigurationError))
        self.note(error)

    def note(self, error: TsyncError) -> None:
        """Reconnect if MongoDB refuses us and the pause is over."""
        if not isinstance(error, MongoRefused):
            return
        now_s = clock.now_s()
        if now_s - self._last_s > QUIET_S:
            self._pause_s = FIRST_PAUSE_S
        elif now_s - self._last_s < self._pause_s:
            return
        else:
            self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s)
        self._last_s = now_s
        log.info(
            "mongodb: reconnecting after a refusal, since the user may have been dropped and created again",
            extra=event("mongodb.reconnecting"),
        )
        self._anew()


def end_client(client: MongoClient) -> None:
    """Close the client and interrupt its calls, which the server then ends too. This may block for a moment.

    The driver's own `close` returns at once, but leaves calls that wait for an answer, and their threads, running.
    """
    for pool in _pools(client):
        pool.reset(interrupt_connections=True)
    client.close()


def _pools(client: MongoClient) -> list[Any]:
    """The driver's connection pools. They are private: `tests/integration/test_mongo_driver.py` fails if they move."""
    return [server.pool for server in client.delegate._topology._servers.values()]  # noqa: SLF001
