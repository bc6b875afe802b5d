"""Which replicas belong together: those that share the settings which decide what is written where, and by whom, and
that have the same table of routes.

One document beside the leases says which *group* may take leases: its settings, the version of its table, its number.
Invariants:

- Only members take leases: a replica announces itself first, and then joins by a compare-and-set.
- Replicas with other settings, or with a table that was in force before, replace the group only when no live replica
  belongs to it, by a compare-and-set that fails if anybody has joined since they looked.
- Before that they wait, on their own clock, for as long as a restart may take: a group whose only replica is being
  restarted is not over.
- A replica with a table that was never in force replaces the group at once. Each version does so once, so two of them
  do not replace each other in turn. A running process whose file is changed to a version of before does so once, too.
- A reindex changes the table as well, and what comes from an old file stays old. A replica that has not seen that
  change yet merely waits: it sees it within a second or two.
- Whoever replaces a group waits until all leases are handed over (`hand_over.py`). So members of two groups never hold
  leases at the same time.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tsync_stream.cluster.tables import as_stored, differing_routes, is_older, older_after, same_file
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.common import differences, digest
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import LEASES

log = logging.getLogger(__name__)

GROUP = "settings"
CHECK = "settings"
TABLE_CHECK = "routes"


class ForeignSettings(ConfigurationError):
    """Live replicas of this pipeline run with other settings, and this process never was one of them."""


def belongs(replica: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """Whether a replica is a member, or may soon be one (pure)."""
    return replica["settings"] in group["digests"] and replica["table"] == group["table"]["version"]


class Membership:
    """Whether this replica belongs to the group, by its settings in `common` and its `table` of routes.

    A restart takes at most `patience_s`. `instead_of` is the version of the table that this process had before, if
    it has changed while running: whoever changed it meant to replace that one, even by one of before.
    """

    def __init__(
        self,
        database: MongoDatabase,
        common: Mapping[str, str],
        table: RouteTable,
        patience_s: float,
        health: Health,
        instead_of: str = "",
    ) -> None:
        self._collection = database[LEASES]
        self._common = dict(common)
        self._table = table
        self._patience_s = patience_s
        self._health = health
        self._instead_of = instead_of
        self._digest = digest(common)
        self._joined_as = ""
        self._was_member = False
        self._member_seen_s = clock.now_s()
        self._heartbeats: dict[str, int] = {}

    def __repr__(self) -> str:
        state = f"member as {self._joined_as}" if self._joined_as else "no member"
        return f"<Membership {self._digest}, table {self._table.version}, {state}>"

    @property
    def joined(self) -> bool:
        """Whether we were a member when we last looked."""
        return bool(self._joined_as)

    @property
    def announced(self) -> dict[str, str]:
        """What a replica's document says of its membership."""
        return {"settings": self._digest, "table": self._table.version}

    async def version_in_force(self) -> str:
        """The version of the group's table as stored now; "" if there is no group. Raises `errors.from_mongo`'s."""
        async with translated():
            group = await self._collection.find_one({"_id": GROUP}, {"table.version": 1})
        return "" if group is None else str(group["table"]["version"])

    async def look(self, me: str, documents: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The group, if we belong to it by the `documents` just read; None if not. Joins or replaces it when due.

        Raises `ForeignSettings` if live replicas have other settings and we never were a member.
        """
        group = documents.get(GROUP)
        if group is None:
            group = await self._found(me)
        elif differing := differences(group["settings"], self._common):
            self._joined_as = ""
            await self._wait_with_other_settings(me, "; ".join(differing), group, documents)
            return None
        elif group["table"]["version"] != self._table.version:
            self._joined_as = ""
            group = await self._with_other_table(me, group, documents)
        elif self._joined_as != me or self._digest not in group["digests"]:
            group = await self._join(me, group)
        if group is not None:
            self._was_member, self._instead_of = True, ""
            self._health.green(CHECK)
            self._health.green(TABLE_CHECK)
        return group

    # ---- while others are in charge ----

    async def _wait_with_other_settings(
        self, me: str, differing: str, group: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]
    ) -> None:
        members = _live_members(me, group, documents)
        heartbeats = {name: documents[name]["heartbeat"] for name in members}
        alive = any(self._heartbeats.get(name, heartbeat) != heartbeat for name, heartbeat in heartbeats.items())
        self._heartbeats = heartbeats
        if members and alive and not self._was_member:
            await self._collection.delete_one({"_id": f"replica:{me}"})
            raise ForeignSettings(_foreign(differing, len(members)))
        if members:
            self._member_seen_s = clock.now_s()
            self._health.red(CHECK, _foreign(differing, len(members)), needs_person=True)
        elif self._is_over():
            await self._take_over(me, f"settings: the pipeline continues with other settings than before: {differing}")
        else:
            self._health.fault(
                CHECK,
                f"the pipeline's last replicas had other settings: {differing}; none of them runs now. If none starts "
                f"within {self._patience_s:g} s (LEASE_TTL), this replica continues with its own",
            )

    async def _with_other_table(
        self, me: str, group: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Any] | None:
        """Our table replaces that of the group if it was never in force, was put in its place, or if nobody is left."""
        differing = differing_routes(group["table"], self._table)
        if not is_older(group, self._table) or self._instead_of == group["table"]["version"]:
            return await self._replace(me, group, f"routes: this table replaces another one: {differing}")
        if _live_members(me, group, documents):
            self._member_seen_s = clock.now_s()
            # The work goes on, and a rolling restart must not stop at a replica that merely waits.
            if not same_file(group, self._table):
                self._health.degraded(TABLE_CHECK, _behind(differing), needs_person=True)
        elif self._is_over():
            await self._take_over(me, f"routes: the pipeline continues with a table of before: {differing}")
        else:
            self._health.fault(
                TABLE_CHECK,
                f"the pipeline's last replicas had a newer table of routes: {differing}; none of them runs now. If "
                f"none starts within {self._patience_s:g} s (LEASE_TTL), this replica continues with its own",
            )
        return None

    def _is_over(self) -> bool:
        """Whether no member has been live for as long as a restart may take."""
        return clock.now_s() >= self._member_seen_s + self._patience_s

    # ---- changes of the group ----

    async def _found(self, me: str) -> Mapping[str, Any] | None:
        """The group we have founded; None if another replica was quicker, which the next look shows."""
        table = as_stored(self._table)
        older: dict[str, list[str]] = {"older": [], "older_declared": []}
        group = {"_id": GROUP, "joins": 1, "number": 1, **self._membership(), "table": table, **older}
        try:
            await self._collection.insert_one(group)
        except DuplicateKeyError:
            return None
        self._joined_as = me
        return group

    async def _join(self, me: str, group: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """We are announced already, so replicas that want to replace the group see us, or see that somebody joined."""
        joined: Mapping[str, Any] | None = await self._collection.find_one_and_update(
            {"_id": GROUP, "joins": group["joins"]},
            {
                "$inc": {"joins": 1},
                "$addToSet": {"digests": self._digest},
                "$set": {"settings": {**self._common, **group["settings"]}},
            },
            return_document=ReturnDocument.AFTER,
        )
        if joined is not None:
            self._joined_as = me
        return joined

    async def _replace(self, me: str, group: Mapping[str, Any], why: str) -> Mapping[str, Any] | None:
        """Replace this very group by ours; None if it has changed."""
        replaced: Mapping[str, Any] | None = await self._collection.find_one_and_update(
            {"_id": GROUP, "joins": group["joins"]},
            {
                "$inc": {"joins": 1, "number": 1},
                "$set": {**self._membership(), "table": as_stored(self._table), **older_after(group, self._table)},
            },
            return_document=ReturnDocument.AFTER,
        )
        if replaced is not None:
            self._joined_as = me
            log.warning(
                "%s. Replicas of before finish what they have in hand; then their leases are taken over",
                why,
                extra=event("settings.replaced"),
            )
        return replaced

    async def _take_over(self, me: str, why: str) -> None:
        """The group is read before its members: a replica that joins in between makes the compare-and-set fail."""
        async with await self._collection.database.client.start_session(causal_consistency=True) as session:
            group = await self._collection.find_one({"_id": GROUP}, session=session)
            documents = {document["_id"]: document async for document in self._collection.find({}, session=session)}
        if group is not None and not _live_members(me, group, documents):
            await self._replace(me, group, why)

    def _membership(self) -> dict[str, Any]:
        return {"settings": self._common, "digests": [self._digest]}


def _live_members(me: str, group: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        name
        for name, document in documents.items()
        if name.startswith("replica:")
        and name != f"replica:{me}"
        and not document["expired"]
        and belongs(document, group)
    ]


def _foreign(differing: str, members: int) -> str:
    others = (
        f"{members} live replicas of this pipeline (STATE_DATABASE) run"
        if members > 1
        else "a live replica of this pipeline (STATE_DATABASE) runs"
    )
    return (
        f"{others} with other settings: {differing}; this replica takes no work until it has the same settings, or "
        "the others are stopped. Another deployment needs a STATE_DATABASE of its own"
    )


def _behind(differing: str) -> str:
    return (
        f"a live replica has a newer table of routes: {differing}; this replica takes no work until it is started with "
        "the same routes file (ROUTES_FILE). To go back to its table, stop all replicas with the newer one"
    )
