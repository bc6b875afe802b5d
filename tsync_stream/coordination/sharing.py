"""Who should hold which lease: a pure decision over what one replica has seen.

Invariants: a lease is taken only if nobody holds it or its holder is expired; partitions are shared out evenly
among live replicas, and a replica gives back only what is above its share.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

CAPTURE = "capture"


def partition_lease(partition: int) -> str:
    """The name of a partition's lease."""
    return f"partition:{partition}"


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A lease as last read: `holder` is None when it was given back, `clean` if nothing of it was in doubt then."""

    name: str
    holder: str | None
    fence: int
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: leases to take, and names of our own to give back."""

    take: Sequence[LeaseView]
    give_back: Sequence[str]


def decide(me: str, live: Collection[str], leases: Mapping[str, LeaseView], *, capable: bool = True) -> Decision:
    """Share out. `live` are the unexpired replicas (with `me`); `capable` is False when we should stand aside."""
    mine = sorted(name for name, lease in leases.items() if lease.holder == me)
    if not capable:
        return Decision([], mine)
    free = [lease for _, lease in sorted(leases.items()) if lease.holder not in live]
    take = [lease for lease in free if lease.name == CAPTURE]
    partitions_mine = [name for name in mine if name != CAPTURE]
    share = _share(me, live, sum(name != CAPTURE for name in leases))
    room = share - len(partitions_mine)
    if room > 0:
        take += [lease for lease in free if lease.name != CAPTURE][:room]
    give_back = partitions_mine[share:] if room < 0 else []
    return Decision(take, give_back)


def _share(me: str, live: Collection[str], partitions: int) -> int:
    ordered = sorted(live)
    base, extra = divmod(partitions, len(ordered))
    return base + (ordered.index(me) < extra)
