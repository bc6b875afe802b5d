"""What a reindex is decided by: how the new and the old collection are, and what the alias shows. Pure values."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from tsync_stream.sink.aliases import Shown
from tsync_stream.state.generations import StoredDeclaration
from tsync_stream.state.jobs import Job


@dataclass(frozen=True, slots=True)
class Side:
    """One generation as a look found it.

    `written`: the capturing term writes it, and its state is stored. `suspended` and `need` say why it is suspended and
    why it must be reconciled, or are empty; `asked`: a person asked for that reconcile, whose `job` may queue
    `rate_per_s` documents a second at most (None: no limit of its own). `exists`: its collection does.
    """

    written: bool = True
    suspended: str = ""
    need: str = ""
    asked: bool = False
    exists: bool = True
    job: str = ""
    rate_per_s: int | None = None

    @property
    def filled(self) -> bool:
        """Whether everything was synced into it, and later changes are."""
        return self.written and not self.suspended and not self.need

    @property
    def trouble(self) -> str:
        """Why it should not be shown; "" if nothing is wrong with it."""
        if not self.exists:
            return "its Typesense collection is gone"
        if self.suspended:
            return f"it is suspended: {self.suspended}"
        if self.need and not self.asked:
            return f"it has to be reconciled: {self.need}"
        return ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at an open reindex. `now` is MongoDB's time; `term` holds the routes that the capturing term writes.

    `verification` is the job that was filed last; None: it is not stored. `only_new` counts the documents that the new
    collection refuses and the old one does not; None: that is not known yet. `lease_lasts`: the capture lease outlives
    a request. After `late_s` no request that was sent before can arrive any more. `old_declaration` is what the old one
    is written by now. `documents` and `refused` count those of the live collection.
    """

    now: datetime
    shown: Shown
    new: Side = Side()
    old: Side = Side()
    term: Collection[str] = ()
    verification: Job | None = None
    only_new: int | None = 0
    lease_lasts: bool = True
    late_s: float = 0.0
    old_declaration: StoredDeclaration | None = None
    documents: int = 0
    refused: int = 0
