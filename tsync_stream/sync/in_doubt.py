"""Which writes of a lane's partitions are in doubt: a request for them may still be on its way to Typesense.

In doubt are: a write of ours that timed out or broke; what was pending when we took an expired lease, since its last
holder may have sent it; and, if the pending entries do not show what that holder had in hand, every entry that is
synced before the holder's requests are surely dead. Invariant: a partition stays in doubt until the keys are stored as
rechecks, or until twice the request deadline has passed; neither a fault nor a new epoch ends that earlier.
"""

from collections.abc import Collection, Iterable, Sequence

from tsync_stream.cluster.assignment import Held
from tsync_stream.core import clock
from tsync_stream.core.model import Entry


def doubts_s(longest_request_s: float) -> float:
    """How long after a lease was taken something that it came with may be in doubt.

    Twice as long as any key is: a new epoch begins that anew for what is still being claimed (`begin_epoch`).
    """
    return 4 * longest_request_s


class InDoubt:
    """The in-doubt writes of one lane, by partition. `longest_request_s` is the longest deadline of a request."""

    def __init__(self, longest_request_s: float) -> None:
        self._dead_after_s = 2 * longest_request_s
        # Pending entries that may have been sent, and for which no rechecks are stored yet.
        self._pending: set[int] = set()
        # Until when any key of a partition may be the one that its last holder wrote.
        self._any_key_until_s: dict[int, float] = {}
        self._fences: dict[int, int] = {}
        # When a lease was taken whose last holder did not end in order.
        self._expired_s: dict[int, float] = {}

    def __repr__(self) -> str:
        now_s = clock.now_s()
        any_key = {partition: until_s - now_s for partition, until_s in self._any_key_until_s.items()}
        left = ", ".join(f"{partition} for {left_s:.1f} s" for partition, left_s in any_key.items() if left_s > 0)
        return f"InDoubt(pending: {sorted(self._pending)}, any key: {left or 'none'})"

    def take_over(self, partition: int, lease: Held, found_fence: int) -> None:
        """Note that our fence was just put beside the partition, where `found_fence` was.

        If the last holder had put its fence there, what it had in hand is pending and will be claimed. Otherwise it
        worked in an older epoch, and may have had any key in hand. The same goes for one before it, whose doubts were
        not over when the last holder ended.
        """
        if lease.after_expiry and self._fences.get(partition) != lease.fence:
            self._pending.add(partition)
            self._expired_s[partition] = lease.taken_s
            if found_fence != lease.fence - 1 or lease.doubted_before:
                self._doubt_any_key(partition, lease.taken_s + self._dead_after_s)
        self._fences[partition] = lease.fence

    def begin_epoch(self) -> None:
        """Note that a new epoch has begun.

        Pending entries stay behind in the old one, and their keys come again among all others. Or a dead owner had
        them in hand in the new epoch already, of which we did not know when we took its lease.
        """
        for partition, taken_s in self._expired_s.items():
            self._doubt_any_key(partition, taken_s + self._dead_after_s)
        for partition in self._pending:
            self._doubt_any_key(partition, clock.now_s() + self._dead_after_s)

    def _doubt_any_key(self, partition: int, until_s: float) -> None:
        self._any_key_until_s[partition] = max(until_s, self._any_key_until_s.get(partition, until_s))

    def forget_others(self, partitions: Collection[int]) -> None:
        """Keep these partitions alone: all others have owners that keep track by themselves."""
        self._pending &= set(partitions)
        self._any_key_until_s = {key: until_s for key, until_s in self._any_key_until_s.items() if key in partitions}
        self._expired_s = {key: taken_s for key, taken_s in self._expired_s.items() if key in partitions}

    def add(self, partitions: Iterable[int]) -> None:
        """Note that a request of ours for entries of these partitions timed out or broke."""
        self._pending |= set(partitions)

    def stored(self, partitions: Iterable[int]) -> None:
        """Note that every pending key of these partitions that is in doubt is stored as a recheck."""
        self._pending -= set(partitions)

    def is_clean(self, partition: int, lease: Held) -> bool:
        """Whether the next owner has nothing to doubt: no write of ours, nor what the lease came with.

        What it came with counts as long as `take_over` was not called.
        """
        if partition in self._pending or clock.now_s() < self._any_key_until_s.get(partition, float("-inf")):
            return False
        return not lease.after_expiry or self._fences.get(partition) == lease.fence

    def among(self, entries: Sequence[tuple[int, Entry]], *, claimed: bool) -> list[tuple[int, Entry]]:
        """Those entries, with their partitions, that an older request may overwrite. `claimed`: they were pending."""
        now_s = clock.now_s()
        in_doubt = {partition for partition, until_s in self._any_key_until_s.items() if now_s < until_s}
        if claimed:
            in_doubt |= self._pending
        return [item for item in entries if item[0] in in_doubt]
