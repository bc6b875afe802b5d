"""What a verification may look at while a reconcile still fills the collection: the keys that are synced already.

A key that the synced cursor of the reconcile's scan has passed is as good as one of a collection that is filled: it is
in Typesense as it was when it was scanned, and later changes of it follow.

Invariant: what was compared counts for one fill alone. Where another reconcile is needed since, all is compared anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from tsync_stream.core.keys import canonical_key
from tsync_stream.jobs.term import LOOK_INTERVAL_S, JobTerm
from tsync_stream.state.jobs import SCAN


class Filling:
    """The reconcile that a route needs as a term begins, if it does. A need that comes later ends the term."""

    def __init__(self, term: JobTerm, route: str) -> None:
        need = term.need(route)
        self._term = term
        self._route = route
        self.job = "" if need is None else need.job

    def __repr__(self) -> str:
        return f"<Filling by {self.job if self.is_open else 'nobody any more'}>"

    @property
    def is_open(self) -> bool:
        """Whether the reconcile is still needed."""
        return self._term.need(self._route) is not None

    def has_begun_since(self, job: str) -> bool:
        """Whether another reconcile is needed than when `job` was."""
        return self.is_open and job != self.job

    async def begun(self, wanted: Callable[[], bool]) -> None:
        """Return once the collection exists and something can be compared, or this is not wanted any more."""
        while wanted() and self.is_open and self._term.synced_cursor(self.job) is None:
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def filled_up_to(self, after: Mapping[str, Any] | None, wanted: Callable[[], bool]) -> dict[str, Any] | None:
        """How far keys may be compared: a cursor beyond `after`, or None once that is all of them.

        Waits until there is such a cursor, or until this is not wanted any more.
        """
        while wanted() and self.is_open:
            cursor = self._term.synced_cursor(self.job) or {"phase": SCAN}
            if cursor["phase"] != SCAN:
                return None
            if "_id" in cursor and (after is None or canonical_key(cursor["_id"]) != canonical_key(after["_id"])):
                return {"_id": cursor["_id"]}
            await asyncio.sleep(LOOK_INTERVAL_S)
        return None

    async def met(self, wanted: Callable[[], bool]) -> None:
        """Return once everything is synced, or this is not wanted any more."""
        while wanted() and self.is_open:
            await asyncio.sleep(LOOK_INTERVAL_S)
