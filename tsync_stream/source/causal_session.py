"""Causally consistent sessions of MongoDB, opened when they are first needed.

Invariant: a read returns nothing older than the cluster time that its caller names, nor than earlier reads; of several
sessions that are used side by side, nor than what any of them had read when it began.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bson.timestamp import Timestamp
from pymongo.errors import PyMongoError

from tsync_stream.core.model import BEGINNING_OF_TIME
from tsync_stream.source.driver import MongoClient, MongoSession
from tsync_stream.source.errors import from_mongo


class CausalSession:
    """One session of a client. Not for use by two tasks at once."""

    def __init__(self, client: MongoClient) -> None:
        self._client = client
        self._session: MongoSession | None = None

    @property
    def operation_time(self) -> Timestamp:
        """MongoDB's time at the newest read, or `BEGINNING_OF_TIME` before the first: nothing newer was read."""
        newest: Timestamp | None = None if self._session is None else self._session.delegate.operation_time
        return BEGINNING_OF_TIME if newest is None else newest

    async def after(self, not_before: Timestamp) -> MongoSession:
        """The session, whose next read is not older than this. Raises the errors of `errors.from_mongo`."""
        if self._session is None:
            try:
                self._session = await self._client.start_session(causal_consistency=True)
            except PyMongoError as error:
                raise from_mongo(error) from error
        if not_before > BEGINNING_OF_TIME:
            self._session.advance_operation_time(not_before)
        return self._session

    async def close(self) -> None:
        """End the session; the next read opens another one."""
        if self._session is not None:
            await self._session.end_session()
            self._session = None


class CausalSessions:
    """The sessions of one client for reads that may overlap, as many as overlapped at most."""

    def __init__(self, client: MongoClient) -> None:
        self._client = client
        self._opened: list[CausalSession] = []
        self._idle: list[CausalSession] = []

    def __repr__(self) -> str:
        return f"<CausalSessions: {len(self._opened)} opened, {len(self._idle)} idle>"

    @property
    def operation_time(self) -> Timestamp:
        """MongoDB's time at the newest read of all, or `BEGINNING_OF_TIME` before the first: nothing newer was read."""
        return max((session.operation_time for session in self._opened), default=BEGINNING_OF_TIME)

    @asynccontextmanager
    async def after(self, not_before: Timestamp) -> AsyncIterator[MongoSession]:
        """A session for one read, which is not older than this. Raises the errors of `errors.from_mongo`."""
        if not self._idle:
            self._idle.append(CausalSession(self._client))
            self._opened.append(self._idle[-1])
        session = self._idle.pop()
        # A session never reads anything older than it has read before, so only the others are asked.
        others = [each.operation_time for each in self._opened if each is not session]
        try:
            yield await session.after(max([not_before, *others]))
        finally:
            self._idle.append(session)

    async def close(self) -> None:
        """End the sessions; the next read opens another one."""
        for session in self._opened:
            await session.close()
