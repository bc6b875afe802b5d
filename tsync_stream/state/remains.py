"""What is kept in the state database under a route's name, for a route that is gone and will not come back.

Invariant: only the capturing replica calls this, in a term whose table lacks the route, so nobody adds to it meanwhile.
"""

from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import DEAD_LETTERS, JOBS, RECHECKS, REFRESHES, VERIFICATIONS

_BY_ROUTE = (DEAD_LETTERS, RECHECKS, REFRESHES, JOBS)


class Remains:
    """Everything but the state of the route in the epoch document, which a term without the route leaves out.

    Every call raises the errors of `errors.from_mongo`.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<Remains in {self._database.name}>"

    async def delete(self, route: str) -> None:
        """Delete its dead letters, rechecks, refreshes and jobs, and how far its verification is."""
        async with translated():
            for name in _BY_ROUTE:
                await self._database[name].delete_many({"route": route})
            await self._database[VERIFICATIONS].delete_one({"_id": route})
