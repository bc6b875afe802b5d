"""What is left to sync of a batch, in pieces, and which of its entries are in doubt (pure).

Invariants: an entry is left until its route's part of a piece was synced or dropped; one that was in doubt once stays
so, because a later success does not end an earlier request. Changes come before what a job queued, if that is much:
nobody waits for it. After a write in doubt the pieces are halved, since the same request would perhaps time out again,
and they grow again with each success.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from tsync_stream.core.model import Entry, Operation
from tsync_stream.sync.batch import PartsFailed, SyncFailed
from tsync_stream.sync.portion import Portion

Item: TypeAlias = tuple[int, Entry]  # an entry with its partition

# A piece of its own costs two requests. From so many entries of jobs on, the others would wait longer than that takes.
MANY_OF_JOBS = 50


class Remaining:
    """The rest of one batch. `dropped` counts by route what was dropped of it.

    `documents` counts by route the documents of a piece that was cut to a portion.
    """

    def __init__(self, entries: Sequence[Item]) -> None:
        self.dropped: Mapping[str, int] = {}
        self._entries = entries
        self._first = _changes_among_jobs(entries)
        self._left: Sequence[int] = range(len(entries))
        if self._first:
            self._left = [*sorted(self._first), *(number for number in self._left if number not in self._first)]
        self._size = len(entries)
        self._in_doubt: set[int] = set()
        self._portion: Sequence[int] = ()  # the numbers of a piece that was cut to a portion
        self.documents: Mapping[str, int] = {}

    def __repr__(self) -> str:
        return f"Remaining({len(self._left)} of {len(self._entries)}, {len(self._in_doubt)} in doubt)"

    def piece(self, portion: Portion | None = None) -> Sequence[Item]:
        """What to sync next, no more than a portion; empty when nothing is left."""
        self.documents = {}
        if portion is not None:
            self._portion, self.documents = portion.of(self._entries, self._piece())
        numbers = self._piece()
        return self._entries if len(numbers) == len(self._entries) else [self._entries[number] for number in numbers]

    def routes(self) -> set[str]:
        """The routes of what is left."""
        return {self._entries[number][1].route for number in self._left}

    @property
    def in_doubt(self) -> list[Item]:
        """The entries of which a write may still reach Typesense later."""
        return [self._entries[number] for number in sorted(self._in_doubt)]

    def in_doubt_or_of(self, partitions: Collection[int]) -> list[Item]:
        """The same, and all entries of these partitions."""
        return [item for number, item in enumerate(self._entries) if number in self._in_doubt or item[0] in partitions]

    def synced(self, in_doubt: Collection[str] = ()) -> None:
        """The piece is synced; a write of these of its routes is in doubt all the same."""
        if in_doubt:
            self._in_doubt.update(self._of(self._piece(), in_doubt))
        self._left, self.documents = self._rest(), {}
        self._size *= 2

    def failed(self, error: SyncFailed) -> None:
        """An attempt at the piece failed, or at some routes' parts of it."""
        piece = self._piece()
        if isinstance(error, PartsFailed):
            in_doubt = {route for route, failure in error.failed.items() if failure.in_doubt}
            self._in_doubt.update(self._of(piece, in_doubt.union(error.in_doubt_but_synced)))
            self._left = [*self._of(piece, error.failed), *self._rest()]
            self.documents = {}
        elif error.in_doubt:
            self._in_doubt.update(piece)
        if error.in_doubt:
            self._size = max(1, len(piece) // 2)

    def drop(self, routes: Collection[str]) -> None:
        """What is left of these routes is not synced."""
        dropped = self._of(self._left, routes)
        self.dropped = Counter(self.dropped) + Counter(self._entries[number][1].route for number in dropped)
        gone = set(dropped)
        self._left = [number for number in self._left if number not in gone]

    def _rest(self) -> Sequence[int]:
        """What is left without the piece."""
        if not self.documents:
            return self._left[len(self._piece()) :]
        piece = set(self._portion)
        return [number for number in self._left if number not in piece]

    def _piece(self) -> Sequence[int]:
        if self.documents:
            return self._portion
        size = self._size
        if self._first and (ahead := sum(number in self._first for number in self._left)):
            size = min(size, ahead)
        return self._left[:size]

    def _of(self, numbers: Sequence[int], routes: Collection[str]) -> list[int]:
        return [number for number in numbers if self._entries[number][1].route in routes]


def _changes_among_jobs(entries: Sequence[Item]) -> frozenset[int]:
    """The numbers of the entries to be synced first; none if all of them may as well be synced at once."""
    if len(entries) < MANY_OF_JOBS:
        return frozenset()
    changes = frozenset(number for number, (_, entry) in enumerate(entries) if entry.operation != Operation.CHECK)
    return changes if len(entries) - len(changes) >= MANY_OF_JOBS else frozenset()
