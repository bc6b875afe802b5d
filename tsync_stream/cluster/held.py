"""The leases of one replica, and the one line in the log about each change of them."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from tsync_stream.cluster.assignment import PARTITION_PREFIX

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease of ours, taken at `taken_s` of our clock.

    `after_expiry`: its last holder did not give it back, or not in a clean state: its last writes are doubtful.
    """

    name: str
    fence: int
    after_expiry: bool
    taken_s: float


def tell_change(told: Mapping[str, int], held: Mapping[str, Held]) -> Mapping[str, int]:
    """Log what is ours since the fences in `told`, and what is not any more; returns the fences of today."""
    taken = [lease for name, lease in held.items() if told.get(name) != lease.fence]
    gone = told.keys() - held.keys()
    if taken:
        doubtful = sum(lease.after_expiry for lease in taken)
        words = f" ({doubtful} after their holder expired or did not finish)" if doubtful else ""
        log.info("leases: now ours: %s%s", named(lease.name for lease in taken), words)
    if gone:
        log.info("leases: no longer ours: %s", named(gone))
    return {name: lease.fence for name, lease in held.items()}


def named(leases: Iterable[str]) -> str:
    """`capture, partitions 0-3 and 6` for people (pure)."""
    names = set(leases)
    partitions = sorted(int(name.removeprefix(PARTITION_PREFIX)) for name in names if name.startswith(PARTITION_PREFIX))
    # Numbers in a row are as far from the first as their places are.
    rows = [[number for _, number in row] for _, row in groupby(enumerate(partitions), lambda pair: pair[1] - pair[0])]
    texts = [str(row[0]) if len(row) == 1 else f"{row[0]}-{row[-1]}" for row in rows]
    others = sorted(name for name in names if not name.startswith(PARTITION_PREFIX))
    if texts:
        *first, last = texts
        others.append(
            f"partition{'s' * (len(partitions) > 1)} " + (f"{', '.join(first)} and {last}" if first else last)
        )
    return ", ".join(others)
