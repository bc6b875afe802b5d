"""Leases in MongoDB: which replica captures, and which owns each partition.

Each replica has one document with a heartbeat, a counter; the update that increments it renews all of its leases.
Invariants:

- A holder believes in its leases for less than LEASE_TTL after the *start* of its last renewal, on its own clock.
- A contender first marks a replica as expired (`failure_detector.py`), and only then takes its leases. An expired
  replica can never renew again. No clock is compared across machines.
- The capture lease is taken sooner, as soon as its holder's heartbeat is quiet: the queue and the epoch document fence
  off the old holder, so its late writes change nothing.
- A lease's fence grows whenever the lease changes hands.
- A replica that cannot reach what others reach holds nothing; nor does one with other settings or routes than its group
  (`membership.py`). A new group takes leases when the one before holds none (`hand_over.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.cluster.assignment import (
    CAPTURE,
    Held,
    LeaseView,
    Seen,
    able_replicas,
    assign,
    describe_leases,
    leases_and_replicas,
    partition_lease,
)
from tsync_stream.cluster.failure_detector import FailureDetector, expire_failed, forget_expired
from tsync_stream.cluster.hand_over import hand_over, waiting_for
from tsync_stream.cluster.identity import Identity
from tsync_stream.cluster.lease_documents import create_leases, give_back, leave, renew, replica_document, settle, take
from tsync_stream.cluster.lease_log import log_changes, log_expired, log_lost, log_missing
from tsync_stream.cluster.membership import Membership, belongs
from tsync_stream.cluster.repeating import repeat
from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.core.log_lines import ThisReplica
from tsync_stream.core.model import BEGINNING_OF_TIME
from tsync_stream.core.tasks import all_to_end
from tsync_stream.core.wake import Wake
from tsync_stream.source.driver import MongoDatabase, MongoHealth, MongoSession
from tsync_stream.source.errors import translated
from tsync_stream.state.database import LEASES

# In LEASE_TTL: how long a heartbeat may be unchanged, and how long a holder believes in its leases.
PATIENCE = 1.5
BELIEF = 0.9
# A third of LEASE_TTL at most, and less than that for long ones: heartbeats that others miss end a capture.
RENEWALS_PER_TTL = 3
MAX_RENEWAL_INTERVAL_S = 2.0
LOOKS_PER_TTL = 15
MAX_LOOK_INTERVAL_S = 0.5
# While leases are handed over to a new group, nobody works.
HAND_OVER_LOOK_INTERVAL_S = 0.1
# After three missed heartbeats the next replica captures.
CAPTURE_PATIENCE_S = 6.0


class LeaseKeeper:
    """Keeps this replica's leases. `keep` runs until cancelled; `stop` gives everything back.

    `before_giving_back(lease)` returns when nothing uses a lease any more, and says whether it is clean: none of its
    writes in doubt. `doubts_s` after a lease was taken, what it came with is in doubt no more. `reach()` names the
    servers that are `unreachable` and `reachable` for this replica (`Reach.report`). `statistics()` goes with every
    renewal, for people who ask how the replica does. While `takes_more` is False it takes nothing new.
    """

    def __init__(
        self,
        database: MongoDatabase,
        identity: Identity,
        partitions: int,
        ttl_s: float,
        doubts_s: float,
        before_giving_back: Callable[[Held], Awaitable[bool]],
        wake: Wake,
        membership: Membership,
        statistics: Callable[[], Mapping[str, Any]] = dict,
        reach: Callable[[], Mapping[str, Sequence[str]]] = dict,
        health: MongoHealth | None = None,
    ) -> None:
        self._client = database.client
        self._collection = database[LEASES]
        self._membership = membership
        self._identity = identity
        self._ttl_s = ttl_s
        self._names = [CAPTURE, *(partition_lease(partition) for partition in range(partitions))]
        self._doubts_s = doubts_s
        self._before_giving_back = before_giving_back
        self._generation = 0
        self._failure_detector = FailureDetector()
        self._reach = reach
        self._believed_until_s = 0.0
        self._taking: asyncio.Future[list[BaseException | None]] | None = None
        self._leaving: dict[str, Held] = {}
        self.held: dict[str, Held] = {}
        self._logged: Mapping[str, int] = {}  # the fences of what the log said is ours
        self.seen: Seen | None = None
        self._handing_over = False
        self.takes_more = True
        self.operation_time = BEGINNING_OF_TIME
        self._statistics = statistics
        self._health = health or MongoHealth(Health(), lambda: None)
        self._wake = wake

    def __repr__(self) -> str:
        left_s = self.time_left_s()
        held = describe_leases(self.held) or "nothing"
        leaving = f", giving back {describe_leases(self._leaving)}" if self._leaving else ""
        belief = f"for {left_s:.1f} s more" if left_s > 0 else "expired"
        return f"<LeaseKeeper {self.replica} holds {held}{leaving}, {belief}>"

    @property
    def live_replicas(self) -> int:
        """How many replicas are live, ourselves included, as last seen."""
        return 0 if self.seen is None else len(self.seen.live)

    @property
    def replica(self) -> str:
        """The name that other replicas see: new at every start, and after every expiry."""
        return f"{self._identity.replica}.{self._generation}"

    def holding(self, name: str) -> Held | None:
        """The lease, if we hold it and still believe in it."""
        return self.held.get(name) if self.time_left_s() > 0 else None

    def keeps(self, name: str) -> bool:
        """Whether a lease counts as ours, believed or not; it does while it waits to be given back."""
        return name in self.held or name in self._leaving

    def still_ours(self, name: str, fence: int) -> bool:
        """Whether work begun under this fence may go on; it may while the lease waits to be given back."""
        held = self.held.get(name) or self._leaving.get(name)
        return held is not None and held.fence == fence and self.time_left_s() > 0

    async def raise_fence(self, name: str) -> Held | None:
        """Increment the fence of a lease of ours, to tell two stretches of work under it apart.

        None if the lease is not ours any more. Raises the errors of `errors.from_mongo`.
        """
        held = self.holding(name)
        if held is None:
            return None
        async with translated():
            result = await self._collection.update_one(
                {"_id": name, "holder": self.replica, "fence": held.fence}, {"$inc": {"fence": 1}}
            )
        if not result.modified_count:
            return None
        self.held[name] = replace(held, fence=held.fence + 1)
        return self.held[name]

    async def confirm(self, name: str, fence: int) -> bool:
        """Ask MongoDB whether a lease is ours under this fence. Raises the errors of `errors.from_mongo`."""
        async with translated():
            found = await self._collection.find_one({"_id": name, "holder": self.replica, "fence": fence})
        return found is not None

    def time_left_s(self) -> float:
        """How long we may still believe in our leases; negative once we may not."""
        return self._believed_until_s - clock.now_s()

    async def start(self) -> None:
        """Create missing leases and announce ourselves. Raises the errors of `errors.from_mongo`."""
        async with translated():
            await create_leases(self._collection, self._names, clean=True)
            await self._announce()

    async def keep(self) -> None:
        """Renew and look around until cancelled. MongoDB's errors are waited out: the leases run out meanwhile.

        Raises `ForeignSettings` if other replicas run with other settings, and did so before we started.
        """
        renewal_interval_s = min(MAX_RENEWAL_INTERVAL_S, self._ttl_s / RENEWALS_PER_TTL)
        renewing = repeat("leases, renewal", self._renew, lambda: renewal_interval_s, self._health)
        looking = repeat("leases, look", self._look, self._look_interval_s, self._health)
        await all_to_end([renewing, looking])

    async def stop(self) -> None:
        """Give all leases back, so that the others need not wait. Nothing may use them any more."""
        if self._taking is not None:  # MongoDB finishes what was sent to it; the driver's deadline bounds the wait
            await asyncio.wait([self._taking])
        ours = {**self.held, **self._leaving}
        clean = [name for name, held in ours.items() if await self._before_giving_back(held)]
        async with translated():
            await leave(self._collection, self.replica, clean)
        self.held.clear()
        self._logged = log_changes(self._logged, self.held)

    def _look_interval_s(self) -> float:
        """Half as often while we are alone: nobody gives anything back, and a newcomer can wait a moment."""
        if self._handing_over:
            return HAND_OVER_LOOK_INTERVAL_S
        shortest_s = min(MAX_LOOK_INTERVAL_S, self._ttl_s / LOOKS_PER_TTL)
        return 2 * shortest_s if self.live_replicas == 1 else shortest_s

    async def _announce(self) -> None:
        """Take a new name, which is ours only once the others can see it."""
        started_s = clock.now_s()
        name = f"{self._identity.replica}.{self._generation + 1}"
        document = replica_document(name, self._identity, self._reach(), self._membership.announced)
        await self._collection.insert_one(document)
        self._generation += 1
        ThisReplica.name = self.replica
        self._believed_until_s = started_s + BELIEF * self._ttl_s

    async def _renew(self) -> None:
        started_s = clock.now_s()
        async with translated(), await self._client.start_session() as session:
            published = {"statistics": dict(self._statistics()), "reach": dict(self._reach())}
            if await renew(self._collection, self.replica, published, session):
                self._believed_until_s = started_s + BELIEF * self._ttl_s
                self._remember(session)
                return
            log_expired(self.replica)
            self._drop_all()
            await self._announce()

    async def _look(self) -> None:
        async with translated():
            documents = await self._read()
            leases, replicas = leases_and_replicas(documents, self._names)
            if missing := [name for name in self._names if name not in documents]:
                log_missing(len(missing))
                # Their holders may still write; a partition's fence in the queue is newer, so that is noticed.
                await create_leases(self._collection, missing, clean=False)
            await self._look_at(documents, leases, replicas)
        self._logged = log_changes(self._logged, self.held)

    async def _read(self) -> dict[str, dict[str, Any]]:
        """All leases and replicas, and their group."""
        async with await self._client.start_session() as session:
            documents = {document["_id"]: document async for document in self._collection.find({}, session=session)}
            self._remember(session)
        return documents

    async def _look_at(
        self,
        documents: Mapping[str, Mapping[str, Any]],
        leases: Mapping[str, LeaseView],
        replicas: Mapping[str, dict[str, Any]],
    ) -> None:
        """Expire what has failed, then take and give back what is assigned to us, if we belong to the group."""
        me = self.replica
        quiet_for_s = self._failure_detector.look({name: document["heartbeat"] for name, document in replicas.items()})
        others = {name: document for name, document in replicas.items() if name != me}
        await expire_failed(self._collection, others, quiet_for_s, PATIENCE * self._ttl_s)
        await forget_expired(self._collection, replicas, {lease.holder for lease in leases.values()})
        if me != self.replica or me not in replicas or replicas[me]["expired"]:
            return
        live = {name: document for name, document in replicas.items() if not document["expired"]}
        quiet = {name for name in live if name != me and quiet_for_s[name] > CAPTURE_PATIENCE_S}
        self.seen = Seen(leases, live, quiet)
        self._correct(me, leases)
        over = [held for held in self.held.values() if self._is_over(held, leases.get(held.name))]
        await settle(self._collection, me, over)
        group = await self._membership.look(me, documents)
        for name in [name for name in self.held if group is None or not _is_of(group, leases.get(name))]:
            await self._give_back(name)
        if group is None:
            return
        waiting = waiting_for(group["number"], documents)
        self._handing_over = bool(waiting)
        if waiting:
            if not await hand_over(self._collection, group["number"], waiting, live):
                return
            self._handing_over = False
            leases, _ = leases_and_replicas(await self._read(), self._names)
        live = {name: document for name, document in live.items() if belongs(document, group)}
        self.seen = Seen(leases, live, quiet)
        able = able_replicas({name: document.get("reach", {}) for name, document in live.items()})
        assignment = assign(me, live, leases, able=able, quiet=quiet)
        if self.takes_more:
            await self._take_all(me, assignment.take, group["number"])
        for name in assignment.give_back:
            await self._give_back(name)

    def _is_over(self, held: Held, lease: LeaseView | None) -> bool:
        """Whether it is to be noted that what the lease came with is in doubt no more."""
        return lease is not None and not lease.settled and held.taken_s + self._doubts_s <= clock.now_s()

    def _correct(self, me: str, leases: Mapping[str, LeaseView]) -> None:
        """Believe MongoDB where it knows more than we do: fences only grow.

        If others took a lease, it is not ours any more. If a reply to us was lost, it is ours, with writes in doubt.
        """
        for lease in leases.values():
            held = self.held.get(lease.name)
            if held is not None and (lease.fence < held.fence or (lease.holder, lease.fence) == (me, held.fence)):
                continue
            if lease.holder == me:
                self.held[lease.name] = Held.adopted(lease, clock.now_s())
            elif held is not None:
                del self.held[lease.name]
                log_lost(lease.name)
            else:
                continue
            self._wake.ring()

    async def _take_all(self, me: str, leases: Sequence[LeaseView], number: int) -> None:
        """Side by side, since each waits for a majority of MongoDB. All come to an end, even if we are cancelled."""
        self._taking = asyncio.gather(*(self._take(me, lease, number) for lease in leases), return_exceptions=True)
        for error in await asyncio.shield(self._taking):
            if error is not None:
                raise error

    async def _take(self, me: str, lease: LeaseView, number: int) -> None:
        """Take it as a member of the group with this number, if it belongs to that still."""
        async with await self._client.start_session() as session:
            held = await take(self._collection, me, lease, number, session)
            if held is not None and me == self.replica:
                self._remember(session)
                self.held[lease.name] = held
                self._wake.ring()

    async def _give_back(self, name: str) -> None:
        held = self.held.pop(name, None)
        if held is None:
            return
        self._leaving[name] = held
        self._wake.ring()
        try:
            clean = await self._before_giving_back(held)
            await give_back(self._collection, self.replica, held, clean=clean)
        except Exception:
            self._leaving.pop(name, None)
            raise
        self._leaving.pop(name, None)  # not after a cancellation: `stop` gives it back

    def _drop_all(self) -> None:
        self.held.clear()
        self._leaving.clear()
        self._believed_until_s = 0.0
        self._wake.ring()

    def _remember(self, session: MongoSession) -> None:
        operation_time: Timestamp | None = session.delegate.operation_time
        if operation_time is not None and operation_time > self.operation_time:
            self.operation_time = operation_time


def _is_of(group: Mapping[str, Any], lease: LeaseView | None) -> bool:
    return lease is None or lease.group == group["number"]
