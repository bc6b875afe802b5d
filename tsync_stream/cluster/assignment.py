"""Who should hold which lease: a pure decision over what one replica has seen.

Invariants: a lease is taken only if nobody holds it or its holder is expired (the capture lease also if its holder is
quiet); partitions are shared out evenly among the replicas that reach what is needed, and each of them gives back only
what is above its share.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CAPTURE = "capture"
PARTITION_PREFIX = "partition:"


def partition_lease(partition: int) -> str:
    """The name of a partition's lease."""
    return f"{PARTITION_PREFIX}{partition}"


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A lease as last read: `holder` is None when it was given back, `clean` if nothing of it was in doubt then."""

    name: str
    holder: str | None
    fence: int
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: every lease, and the documents of the live replicas by name."""

    leases: Mapping[str, LeaseView]
    live: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to do now: leases to take, and names of our own to give back."""

    take: Sequence[LeaseView]
    give_back: Sequence[str]


def able_replicas(reach: Mapping[str, Mapping[str, Collection[str]]]) -> set[str]:
    """The live replicas that should hold leases, by what is `unreachable` and `reachable` for each.

    A replica that cannot reach what another can is not able. What no replica reaches is an outage, and no reason to
    stand aside. If every replica misses something that another reaches, all carry on as well as they can.
    """
    reachable = {server for report in reach.values() for server in report.get("reachable", ())}
    return {name for name, report in reach.items() if reachable.isdisjoint(report.get("unreachable", ()))} or set(reach)


def assign(
    me: str,
    live: Collection[str],
    leases: Mapping[str, LeaseView],
    *,
    able: Collection[str] | None = None,
    quiet: Collection[str] = (),
) -> Assignment:
    """Share out among those of the `live` replicas that are `able` (None: all).

    Who is not able gives back by itself; until then its leases are its own. Only the capture lease is taken from a
    holder that is `quiet`, though it is live yet.
    """
    sharers = live if able is None else able
    mine = sorted(name for name, lease in leases.items() if lease.holder == me)
    if me not in sharers:
        return Assignment([], mine)
    take = [lease for lease in leases.values() if lease.name == CAPTURE and _is_free(lease, live, quiet)]
    free = [lease for _, lease in sorted(leases.items()) if lease.name != CAPTURE and _is_free(lease, live)]
    partitions_mine = [name for name in mine if name != CAPTURE]
    share = _share(me, sharers, sum(name != CAPTURE for name in leases))
    room = share - len(partitions_mine)
    give_back = partitions_mine[share:] if room < 0 else []
    return Assignment([*take, *free[: max(0, room)]], give_back)


def _is_free(lease: LeaseView, live: Collection[str], quiet: Collection[str] = ()) -> bool:
    return lease.holder not in live or lease.holder in quiet


def _share(me: str, sharers: Collection[str], partitions: int) -> int:
    ordered = sorted(sharers)
    base, extra = divmod(partitions, len(ordered))
    return base + (ordered.index(me) < extra)
