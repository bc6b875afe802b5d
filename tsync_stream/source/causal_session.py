"""A causally consistent session of MongoDB, opened when it is first needed.

Invariant: a read in it returns nothing older than the cluster time that its caller names, nor than earlier reads.
"""

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
