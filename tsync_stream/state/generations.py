"""The generations of a declared route and its reindex: values and how they change (pure).

`generation_store.py` keeps them.

A *generation* is one Typesense collection of a declared route, and what it is written by. Each is an ordinary route of
the pipeline, called `listings` or `listings@2`. Only a route that was ever reindexed has a document.

Invariants:

- A number is never given twice, so neither the name of a generation nor that of its collection comes back.
- The live generation, whose collection the alias shows, is always in the list; it cannot be removed.
- `layout` grows with every change of what is written where, and with nothing else. It is part of the version of the
  table of routes: a table of now is never mistaken for one of before. To show another generation restarts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.model import FIRST_GENERATION

Phase: TypeAlias = Literal[
    "building", "verifying", "carrying", "swapping", "watching", "kept", "rolling back", "cleaning", "failed"
]
Wish: TypeAlias = Literal["cancel", "rollback", "finish", "retry"]
Result: TypeAlias = Literal["done", "cancelled", "rolled back", "failed"]
StoredDeclaration: TypeAlias = Mapping[str, Any]  # `routes/declaration_bson.py` reads and writes it


class ReindexOpen(TsyncError):
    """A reindex of the route is open already; there is one at a time."""


class UnreadableGenerations(ConfigurationError):
    """A document is not as this version writes it: somebody has changed it, or a newer version has."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One collection of a route. `declaration` None: it is written as the routes file declares the route now."""

    number: int
    collection: str
    declaration: StoredDeclaration | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    """A generation that is not written any more; its collection and its state are yet to be deleted."""

    number: int
    collection: str


@dataclass(frozen=True, slots=True)
class ReindexOptions:
    """What a person asked for. `rate` is in documents a second; 0: no limit of its own."""

    watch_s: float = 600.0
    keep_s: float = 86_400.0
    rate: int = 0
    accept_refused: bool = False
    accept_gap: bool = False


@dataclass(frozen=True, slots=True)
class Reindex:
    """An open reindex: generation `number` is to take the place of generation `before`.

    `since` is when its phase began. `wish` is what a person asks for and has not got yet. `verify_job` is the last
    verification that was filed, the `rounds`th one; `error` says why it failed. `carried` is what was carried over.
    """

    id: str
    number: int
    before: int
    phase: Phase
    since: datetime
    filed_at: datetime
    reason: str = ""
    options: ReindexOptions = field(default_factory=ReindexOptions)
    wish: Wish | None = None
    verify_job: str | None = None
    rounds: int = 0
    error: str = ""
    carried: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LastReindex:
    """How the last reindex ended. `documents` and `refused` are those of its generation at the end."""

    id: str
    number: int
    result: Result
    reason: str
    began: datetime
    ended: datetime
    documents: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Generations:
    """The document of one declared route. `revision` 0: it is not stored yet.

    `target` is the alias that searches ask for. Transitions return another value, and leave the revision to the store.
    """

    route: str
    target: str
    live: int
    next_number: int
    generations: Sequence[Generation]
    layout: int = 0
    revision: int = 0
    reindex: Reindex | None = None
    removing: Sequence[Leaving] = ()
    last: LastReindex | None = None

    @classmethod
    def first(cls, route: str, target: str, collection: str) -> Self:
        """A route that was never reindexed; the alias `target` shows `collection`."""
        return cls(route, target, FIRST_GENERATION, FIRST_GENERATION + 1, (Generation(FIRST_GENERATION, collection),))

    def generation(self, number: int) -> Generation | None:
        """The generation with this number; None if it is not in the list."""
        return next((each for each in self.generations if each.number == number), None)

    @property
    def shown(self) -> Generation:
        """The live generation."""
        found = self.generation(self.live)
        assert found is not None, "the live generation is always in the list"
        return found

    def filed(self, reindex: Reindex, declaration: StoredDeclaration, shows: str) -> Self:
        """With a reindex, and with its generation `reindex.number` at the end of the list, written by `declaration`.

        `shows` is the collection behind the alias now, which is the live generation's. The new one's is TARGET_NUMBER:
        choose a number of at least `next_number` whose collection does not exist. Raises `ReindexOpen`.
        """
        if self.reindex is not None:
            raise ReindexOpen(f"a reindex of route {self.route} is open already, in its phase `{self.reindex.phase}`")
        if reindex.number < self.next_number or reindex.before != self.live:
            raise ValueError(f"{reindex.number} after {reindex.before} does not follow {self}")
        added = Generation(reindex.number, f"{self.target}_{reindex.number}", declaration)
        live = replace(self.shown, collection=shows)
        listed = tuple(live if each.number == live.number else each for each in self.generations)
        return self._laid_out((*listed, added), next_number=reindex.number + 1, reindex=reindex)

    def with_reindex(self, **changes: Any) -> Self:
        """With these fields of the open reindex changed."""
        return replace(self, reindex=replace(self._open, **changes))

    def in_phase(self, phase: Phase, now: datetime, **changes: Any) -> Self:
        """With the open reindex in another phase since `now`."""
        return self.with_reindex(phase=phase, since=now, **changes)

    def showing(self, number: int) -> Self:
        """The alias shows another generation of the list now."""
        if self.generation(number) is None:
            raise ValueError(f"{number} is no generation of {self}")
        return replace(self, live=number)

    def written_by(self, number: int, declaration: StoredDeclaration | None) -> Self:
        """A generation is written by another declaration from now on; None: by that of the routes file."""
        other = {each.number: each for each in self.generations}
        other[number] = replace(other[number], declaration=declaration)
        return self._laid_out(tuple(other.values()))

    def without(self, number: int) -> Self:
        """A generation is not written any more, and is to be deleted. It must not be the live one."""
        gone = self.generation(number)
        if gone is None or number == self.live:
            raise ValueError(f"{number} cannot be removed from {self}")
        listed = tuple(each for each in self.generations if each is not gone)
        return self._laid_out(listed, removing=(*self.removing, Leaving(gone.number, gone.collection)))

    def deleted(self, number: int) -> Self:
        """Nothing is left of a generation that was not written any more."""
        return replace(self, removing=tuple(each for each in self.removing if each.number != number))

    def ended(self, result: Result, now: datetime, *, reason: str = "", documents: int = 0, refused: int = 0) -> Self:
        """The open reindex is over; what is known of it stays until the next one ends."""
        reindex = self._open
        last = LastReindex(reindex.id, reindex.number, result, reason, reindex.filed_at, now, documents, refused)
        return replace(self, reindex=None, last=last)

    @property
    def _open(self) -> Reindex:
        if self.reindex is None:
            raise ValueError(f"no reindex is open in {self}")
        return self.reindex

    def _laid_out(self, listed: Sequence[Generation], **changes: Any) -> Self:
        return replace(self, generations=listed, layout=self.layout + 1, **changes)
