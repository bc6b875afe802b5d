"""Lease keepers for tests: a pipeline of eight partitions, and replicas that take single steps."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from tsync_stream.cluster.assignment import CAPTURE, Held, partition_lease
from tsync_stream.cluster.identity import Identity
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.cluster.membership import Membership
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.core.wake import Wake
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.driver import MongoDatabase

TTL_S = 10.0
DOUBTS_S = 30.0
PARTITIONS = 8
COMMON = {"DATE_UNIT": "s", "TYPESENSE_COLLECTION_NAME": "listings"}
TABLE = RouteTable([Declaration(Route("listings", "shop", "listings", "listings"))])
ALL = {CAPTURE, *(partition_lease(partition) for partition in range(PARTITIONS))}

Make: TypeAlias = Callable[..., Awaitable[LeaseKeeper]]


async def _clean(_lease: Held) -> bool:
    """The answer of a replica without batches, asked before it gives a lease back."""
    return True


def maker(state: MongoDatabase) -> Make:
    """Starts lease keepers of one pipeline, on machines that do not see each other's processes."""

    async def made(
        name: str,
        *,
        identity: Identity | None = None,
        before_giving_back: Callable[[Held], Awaitable[bool]] = _clean,
        ttl_s: float = TTL_S,
        wake: Wake | None = None,
        reach: Callable[[], Mapping[str, Sequence[str]]] = dict,
        common: Mapping[str, str] = COMMON,
        table: RouteTable = TABLE,
        health: Health | None = None,
        instead_of: str = "",
    ) -> LeaseKeeper:
        who = identity or Identity(name, f"kernel of {name}", 1, "1")
        member = Membership(state, common, table, ttl_s, health or Health(), instead_of)
        keeper = LeaseKeeper(
            state, who, PARTITIONS, ttl_s, DOUBTS_S, before_giving_back, wake or Wake(), member, reach=reach
        )
        await keeper.start()
        return keeper

    return made


async def step(*keepers: LeaseKeeper) -> None:
    """One round: all renew, then all look at the leases."""
    for keeper in keepers:
        await keeper._renew()
    for keeper in keepers:
        await keeper._look()


def believed(keeper: LeaseKeeper) -> set[str]:
    """The leases that a replica trusts."""
    return {name for name in ALL if keeper.holding(name) is not None}


def shares(*keepers: LeaseKeeper) -> list[int]:
    """How many partitions each owns."""
    return [len(believed(keeper) - {CAPTURE}) for keeper in keepers]


def fences(keeper: LeaseKeeper) -> dict[str, int]:
    """The fence of each lease that a replica holds."""
    return {name: held.fence for name, held in keeper.held.items()}
