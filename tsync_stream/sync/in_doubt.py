"""Which writes of a lane's partitions are in doubt: somebody's request for them may still be on its way to Typesense.

Doubtful are: a write of ours that timed out or broke; what was pending when an expired lease was taken, since its last
holder may have sent it; and, where the pending entries do not tell what that holder had in hand, every entry that
is synced before its requests are surely dead. Invariant: a doubt lasts until its keys are stored as rechecks, or until
twice the request deadline has passed; neither a fault nor a new epoch ends it.
"""

from collections.abc import Collection, Iterable, Sequence

from tsync_stream.cluster.held import Held
from tsync_stream.core import clock
from tsync_stream.core.model import Entry


class Doubts:
    """The doubts of one lane, by partition. `longest_request_s` is the longest deadline of a request."""

    def __init__(self, longest_request_s: float) -> None:
        self._longest_request_s = 2 * longest_request_s
        # Pending entries that may have been sent, and for which no rechecks are stored yet.
        self._pending: set[int] = set()
        # Until when any key of a partition may be the one that its last holder wrote.
        self._any_key_until_s: dict[int, float] = {}
        self._fences: dict[int, int] = {}
        # When a lease was taken whose last holder did not end in order.
        self._expired_s: dict[int, float] = {}

    def take_over(self, partition: int, lease: Held, found_fence: int) -> None:
        """Our fence was just put beside the partition, where `found_fence` was.

        If the last holder had put its fence there, what it had in hand is pending, and will be claimed. Otherwise it
        worked in an older epoch, and any key may be the one.
        """
        if lease.after_expiry and self._fences.get(partition) != lease.fence:
            self._pending.add(partition)
            self._expired_s[partition] = lease.taken_s
            if found_fence != lease.fence - 1:
                self._doubt_any_key(partition, lease.taken_s + self._longest_request_s)
        self._fences[partition] = lease.fence

    def begin_epoch(self) -> None:
        """Pending entries stay behind in the old epoch; their keys come again among all others.

        Or a dead owner had them in hand in this epoch already, of which we did not know when we took its lease.
        """
        for partition, taken_s in self._expired_s.items():
            self._doubt_any_key(partition, taken_s + self._longest_request_s)
        for partition in self._pending:
            self._doubt_any_key(partition, clock.now_s() + self._longest_request_s)

    def _doubt_any_key(self, partition: int, until_s: float) -> None:
        self._any_key_until_s[partition] = max(until_s, self._any_key_until_s.get(partition, until_s))

    def forget_others(self, partitions: Collection[int]) -> None:
        """All but these have other owners, who have doubts of their own."""
        self._pending &= set(partitions)
        self._any_key_until_s = {key: until_s for key, until_s in self._any_key_until_s.items() if key in partitions}
        self._expired_s = {key: taken_s for key, taken_s in self._expired_s.items() if key in partitions}

    def add(self, partitions: Iterable[int]) -> None:
        """A request of ours for entries of these timed out or broke."""
        self._pending |= set(partitions)

    def stored(self, partitions: Iterable[int]) -> None:
        """Every pending key of these that is in doubt is stored as a recheck."""
        self._pending -= set(partitions)

    def about(self, partition: int) -> bool:
        """Whether a write of the partition is in doubt, without a recheck that is stored."""
        return partition in self._pending or clock.now_s() < self._any_key_until_s.get(partition, float("-inf"))

    def among(self, entries: Sequence[tuple[int, Entry]], *, claimed: bool) -> list[tuple[int, Entry]]:
        """Those entries, by partition, that an older request may write over. `claimed`: they were pending."""
        now_s = clock.now_s()
        doubtful = {partition for partition, until_s in self._any_key_until_s.items() if now_s < until_s}
        if claimed:
            doubtful |= self._pending
        return [item for item in entries if item[0] in doubtful]
