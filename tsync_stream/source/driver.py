"""Clients of MongoDB, and how long their calls may take. The one module that names the driver, Motor.

Invariants: whoever needs a client, or the type of a driver's object, takes it from here, so that another driver means
changes in this file alone. A call ends when its server is dead or frozen. A change stream's call may rightly take long,
so it has no time-out of its own: the driver's heartbeat, on another connection, ends it when the server is silent.
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
from tsync_stream.core.health import Health
from tsync_stream.settings.load import Settings

log = logging.getLogger(__name__)

# What the driver calls its asynchronous objects.
MongoClient: TypeAlias = AsyncIOMotorClient[Any]
MongoDatabase: TypeAlias = AsyncIOMotorDatabase[Any]
MongoCollection: TypeAlias = AsyncIOMotorCollection[Any]
MongoSession: TypeAlias = AsyncIOMotorClientSession

_APP_NAME = "tsync-stream"
TIMEOUT_MS = 5_000
# To resume a change stream the server reads the oplog from the old position on, at some 150,000 entries a second,
# whatever they are about. Who has more behind him than it reads in this time is better off with a reconcile.
LONGEST_OPENING_S = 3_600.0
# Two silent heartbeats, and a frozen server is noticed.
_HEARTBEAT_MS = 5_000
# How soon it is connected anew after a refusal: each time later, and from the beginning after a quiet while.
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
    """A client whose calls end: a dead server is noticed after its timeouts, not after half a minute."""
    return command_client(settings.mongo.uri, TIMEOUT_MS, 2 * TIMEOUT_MS)


def stream_client(settings: Settings) -> MongoClient:
    """A client for one change stream, whose calls may take as long as the server reads."""
    return open_client(
        settings.mongo.uri,
        serverSelectionTimeoutMS=TIMEOUT_MS,
        connectTimeoutMS=TIMEOUT_MS,
        heartbeatFrequencyMS=_HEARTBEAT_MS,
        # The last resort, should the server's own limit (`maxTimeMS`) and the heartbeat both fail.
        socketTimeoutMS=int(LONGEST_OPENING_S * 1_000) + 12 * TIMEOUT_MS,
    )


def connect_anew(client: MongoClient) -> None:
    """From now on every call takes a connection that is made, and logged in, after this one."""
    for pool in _pools(client):
        pool.reset_without_pause()


class MongoHealth:
    """What health says of calls to MongoDB, and the cure for one kind of failure: `anew` is to connect anew.

    A user that was dropped and made again is another one to MongoDB, whatever its name and password: connections that
    were logged in before may do nothing any more, and neither the server nor the driver closes them.
    """

    def __init__(self, health: Health, anew: Callable[[], None]) -> None:
        self.health = health
        self._anew = anew
        self._pause_s = FIRST_PAUSE_S
        self._last_s = float("-inf")

    def worked(self, check: str) -> None:
        """A call of this kind did what it should."""
        self.health.green(check)

    def failed(self, check: str, error: TsyncError, meanwhile: str) -> None:
        """A call of this kind failed; `meanwhile` says what that means until it works again."""
        self.health.red(check, f"{error}; {meanwhile}", needs_person=isinstance(error, ConfigurationError))
        self.note(error)

    def note(self, error: TsyncError) -> None:
        """Connect anew if MongoDB refuses us, and it is time to try that again."""
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
        log.info("mongodb: connecting anew after a refusal: the user may be another one by now")
        self._anew()


def end_client(client: MongoClient) -> None:
    """Close the client, and break off what is under way on it: the server then ends it, too. It may block a moment.

    The driver's own `close` waits for nobody, but leaves a call that waits for its answer, and its thread, to go on.
    """
    for pool in _pools(client):
        pool.reset(interrupt_connections=True)
    client.close()


def _pools(client: MongoClient) -> list[Any]:
    """The driver's connection pools. They are private: `tests/integration/test_mongo_driver.py` tells if they move."""
    return [server.pool for server in client.delegate._topology._servers.values()]  # noqa: SLF001
