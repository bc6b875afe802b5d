"""Which replica should hold which lease: what leases are, and a pure decision over what one replica has seen.

Invariants: a lease is taken only if nobody holds it or its holder has expired; the capture lease also if its holder is
quiet. Partitions are shared out evenly among the replicas that reach what is needed, and each gives back only what
exceeds its share.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

CAPTURE = "capture"
PARTITION_PREFIX = "partition:"
REPLICA_PREFIX = "replica:"


def partition_lease(partition: int) -> str:
    """The name of a partition's lease."""
    return f"{PARTITION_PREFIX}{partition}"


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A lease as last read. `holder` is None once it was given back, `clean` if no write of it was in doubt then.

    `settled`: nothing that it came with, when its holder or the last one took it, is in doubt any more. `group` is the
    number of the group of replicas that may take it (`hand_over.py`).
    """

    name: str
    holder: str | None
    fence: int
    clean: bool = True
    settled: bool = True
    group: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A lease of ours, taken at `taken_s` of our clock.

    `after_expiry`: its last holder did not give it back, or not clean, so its last writes are in doubt.
    `doubted_before`: and so may be those of holders before that one.
    """

    name: str
    fence: int
    after_expiry: bool
    taken_s: float
    doubted_before: bool = False

    @classmethod
    def adopted(cls, lease: LeaseView, taken_s: float) -> "Held":
        """What we hold if the reply to our taking was lost: whatever was done under it before is in doubt."""
        return cls(lease.name, lease.fence, after_expiry=True, taken_s=taken_s, doubted_before=not lease.settled)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: every lease, and the documents of the live replicas, both by name.

    `quiet` are the live ones, other than ourselves, whose heartbeats stand still.
    """

    leases: Mapping[str, LeaseView]
    live: Mapping[str, Mapping[str, Any]]
    quiet: Collection[str] = ()

    @property
    def nobody_captures(self) -> bool:
        """Whether the capture lease is free to be taken: given back, or its holder is gone or quiet."""
        lease = self.leases.get(CAPTURE)
        return lease is not None and _is_free(lease, self.live, self.quiet)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a replica should do now: leases to take, and names of its own leases to give back."""

    take: Sequence[LeaseView]
    give_back: Sequence[str]


def leases_and_replicas(
    documents: Mapping[str, dict[str, Any]], names: Iterable[str]
) -> tuple[dict[str, LeaseView], dict[str, dict[str, Any]]]:
    """Those of the leases `names` that exist, and the documents of the replicas, both by name (pure)."""
    found = {name: documents[name] for name in names if name in documents}
    leases = {
        # In a state that was restored by hand, fences may be of BSON's own type, which is no number to Redis' client.
        name: LeaseView(name, lease["holder"], int(lease["fence"]), lease["clean"], lease["settled"], lease["group"])
        for name, lease in found.items()
    }
    replicas = {
        name.removeprefix(REPLICA_PREFIX): document
        for name, document in documents.items()
        if name.startswith(REPLICA_PREFIX)
    }
    return leases, replicas


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
    """What `me` should take and give back when the `live` replicas that are `able` (None: all) share the leases.

    A replica that is not able gives its leases back by itself, and keeps them until then. Only the capture lease is
    taken from a holder that is live but `quiet`.
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


def describe_leases(leases: Iterable[str]) -> str:
    """`capture, partitions 0-3 and 6` for people (pure)."""
    names = set(leases)
    partitions = sorted(int(name.removeprefix(PARTITION_PREFIX)) for name in names if name.startswith(PARTITION_PREFIX))
    # In a run of consecutive numbers, number and place grow alike.
    runs = [[number for _, number in run] for _, run in groupby(enumerate(partitions), lambda pair: pair[1] - pair[0])]
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    others = sorted(name for name in names if not name.startswith(PARTITION_PREFIX))
    if texts:
        *first, last = texts
        others.append(
            f"partition{'s' * (len(partitions) > 1)} " + (f"{', '.join(first)} and {last}" if first else last)
        )
    return ", ".join(others)
