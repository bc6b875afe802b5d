"""Which replicas belong together: those that share the settings which decide what is written where, and by whom.

One document beside the leases holds the settings of the *group* that may take leases. Invariants:

- Only members take leases: a replica announces itself first, and then joins by a compare-and-set.
- Replicas with other settings replace the group only when no live replica belongs to it, by a compare-and-set that
  fails if anybody has joined since they looked. So members of two groups never hold leases at the same time.
- Before that they wait, on their own clock, for as long as a restart may take: a group whose only replica is being
  restarted is not over.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.health import Health
from tsync_stream.settings.common import differences, digest
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.database import LEASES

log = logging.getLogger(__name__)

GROUP = "settings"
CHECK = "settings"


class ForeignSettings(ConfigurationError):
    """Live replicas of this pipeline run with other settings, and this process never was one of them."""


def belongs(replica: Mapping[str, Any], group: Mapping[str, Any]) -> bool:
    """Whether a replica is a member, or may soon be one (pure). One without settings is of an old version."""
    return replica.get("settings") in {None, *group["digests"]}


class Membership:
    """Whether this replica belongs to the group, by the settings in `common`. A restart takes at most `patience_s`."""

    def __init__(self, database: MongoDatabase, common: Mapping[str, str], patience_s: float, health: Health) -> None:
        self._collection = database[LEASES]
        self._common = dict(common)
        self._patience_s = patience_s
        self._health = health
        self.digest = digest(common)
        self._joined_as = ""
        self._was_member = False
        self._member_seen_s = clock.now_s()
        self._heartbeats: dict[str, int] = {}

    def __repr__(self) -> str:
        state = f"member as {self._joined_as}" if self._joined_as else "no member"
        return f"<Membership {self.digest}, {state}>"

    async def look(self, me: str, documents: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """The group, if we may hold leases by the `documents` just read; None if not. Joins or replaces it when due.

        Raises `ForeignSettings` if live replicas have other settings and we never were a member.
        """
        group = documents.get(GROUP)
        if group is None:
            group = await self._found(me)
        elif differing := differences(group["settings"], self._common):
            self._joined_as = ""
            await self._wait(me, "; ".join(differing), group, documents)
            return None
        elif self._joined_as != me or self.digest not in group["digests"]:
            group = await self._join(me, group)
        if group is not None:
            self._was_member = True
            self._health.green(CHECK)
        return group

    async def _wait(
        self, me: str, differing: str, group: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]
    ) -> None:
        now_s = clock.now_s()
        members = _live_members(me, group, documents)
        heartbeats = {name: documents[name]["heartbeat"] for name in members}
        alive = any(self._heartbeats.get(name, heartbeat) != heartbeat for name, heartbeat in heartbeats.items())
        self._heartbeats = heartbeats
        if members:
            self._member_seen_s = now_s
            if alive and not self._was_member:
                await self._collection.delete_one({"_id": f"replica:{me}"})
                raise ForeignSettings(_foreign(differing, len(members)))
            self._health.red(CHECK, _foreign(differing, len(members)), needs_person=True)
            return
        if now_s < self._member_seen_s + self._patience_s:
            self._health.red(
                CHECK,
                f"the pipeline's last replicas had other settings: {differing}; none of them runs now. If none starts "
                f"within {self._patience_s:g} s (LEASE_TTL), this replica continues with its own",
            )
            return
        await self._take_over(me, differing)

    async def _found(self, me: str) -> Mapping[str, Any] | None:
        """The group we have founded; None if another replica was quicker, which the next look shows."""
        group = {"_id": GROUP, "joins": 1, "settings": self._common, "digests": [self.digest]}
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
                "$addToSet": {"digests": self.digest},
                "$set": {"settings": {**self._common, **group["settings"]}},
            },
            return_document=ReturnDocument.AFTER,
        )
        if joined is not None:
            self._joined_as = me
        return joined

    async def _take_over(self, me: str, differing: str) -> None:
        """The group is read before its members: a replica that joins in between makes the compare-and-set fail."""
        async with await self._collection.database.client.start_session(causal_consistency=True) as session:
            group = await self._collection.find_one({"_id": GROUP}, session=session)
            documents = {document["_id"]: document async for document in self._collection.find({}, session=session)}
            if group is None or _live_members(me, group, documents):
                return
            # Documents may be divided otherwise now: what any owner left in doubt, every new owner inherits.
            leases = [document for document in documents.values() if "fence" in document]
            if any(lease["holder"] is not None or not lease["clean"] for lease in leases):
                await self._collection.update_many(
                    {"_id": {"$in": [lease["_id"] for lease in leases]}}, {"$set": {"clean": False}}, session=session
                )
            result = await self._collection.update_one(
                {"_id": GROUP, "joins": group["joins"]},
                {"$inc": {"joins": 1}, "$set": {"settings": self._common, "digests": [self.digest]}},
                session=session,
            )
        if result.modified_count:
            self._joined_as = me
            log.warning("settings: the pipeline continues with other settings than before: %s", differing)


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
