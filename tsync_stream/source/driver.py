"""Clients of MongoDB, and how long their calls may take.

Invariants: a call ends when its server is dead or frozen. That of the change stream may take long for a good reason, so
it has no time-out of its own: the driver's heartbeat, on another connection, ends it when the server is silent.
"""

import logging
from collections.abc import Callable
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, MongoRefused, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.settings.load import Settings

log = logging.getLogger(__name__)

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


def connect_anew(client: AsyncIOMotorClient[Any]) -> None:
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
