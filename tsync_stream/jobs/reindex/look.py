"""Looks at the servers for an open reindex: what `decision.py` decides by.

Invariants: a look changes nothing. Whether only the new collection refuses a document is known once everything that was
captured before is synced into both: until then, a letter of the old one may be on its way.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from bson.timestamp import Timestamp

from tsync_stream.jobs.reindex.facts import Facts, Side
from tsync_stream.jobs.term import JobTerm
from tsync_stream.routes.declaration_bson import declaration_to_bson
from tsync_stream.routes.generations import generation_name
from tsync_stream.sink.aliases import shown_by
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.dead_letters import DeadLetters, record_id
from tsync_stream.state.generations import Generation, Generations, Phase
from tsync_stream.state.jobs import ASKED_FOR, Job, JobStore
from tsync_stream.state.pipeline import Pipeline, PositionStore

# A write that nobody waits for any more can arrive within so many deadlines.
LATE_IN_DEADLINES = 2
_PAGE = 1_000
# Letters that are compared; of more than this, the others are not told apart.
MOST_LETTERS = 10_000

# The phases in which the collections are looked at.
_SHOWN: frozenset[Phase] = frozenset({"swapping", "watching", "kept", "rolling back", "cleaning"})
_REFUSED: frozenset[Phase] = frozenset({"verifying", "swapping", "watching"})

LeaseLeft: TypeAlias = Callable[[], float]


class OnlyNew:
    """Counts the documents that one generation refuses and another does not. One for each term."""

    def __init__(self, term: JobTerm, records: DeadLetterRecords, letters: DeadLetters) -> None:
        self._term = term
        self._records = records
        self._letters = letters
        self._suspects: dict[str, tuple[Timestamp, set[str]]] = {}

    def __repr__(self) -> str:
        return f"<OnlyNew, unsure about {', '.join(self._suspects) or 'nothing'}>"

    async def count(self, new: str, old: str) -> int | None:
        """How many documents the route `new` refuses and `old` does not; None: not known yet.

        Raises the errors of MongoDB calls.
        """
        captured = self._term.capture.appended.cluster_time
        found = await self._refused_by_one(new, old)
        if not found:
            self._suspects.pop(new, None)
            return 0
        since, before = self._suspects.setdefault(new, (captured, found))
        if self._term.synced.cluster_time < since:
            self._term.capture.await_barrier(since)
            return None
        self._suspects[new] = (captured, found)
        return len(found & before)

    async def _refused_by_one(self, new: str, old: str) -> set[str]:
        found: set[str] = set()
        after = ""
        for _ in range(MOST_LETTERS // _PAGE):
            page = await self._records.page(Selection(), new, after, _PAGE)
            if not page.ids:
                break
            others = await self._letters.open_among(old, page.keys)
            pairs = zip(page.ids, page.keys, strict=True)
            found.update(name for name, key in pairs if record_id(old, key) not in others)
            after = page.ids[-1]
        return found


class Look:
    """Reads the facts of one reindex after another, under one capture term.

    `lease_left_s` returns for how long the capture lease is surely ours. Calls raise the errors of both servers.
    """

    def __init__(
        self,
        term: JobTerm,
        positions: PositionStore,
        jobs: JobStore,
        records: DeadLetterRecords,
        only_new: OnlyNew,
        target: TypesenseTarget,
        lease_left_s: LeaseLeft,
    ) -> None:
        self._term = term
        self._positions = positions
        self._jobs = jobs
        self._records = records
        self._only_new = only_new
        self._target = target
        self._lease_left_s = lease_left_s

    def __repr__(self) -> str:
        return f"<Look under {self._term.capture}>"

    @property
    def deadline_s(self) -> float:
        """How long a request to Typesense may take."""
        return self._target.deadline_s

    def lease_lasts(self) -> bool:
        """Whether the capture lease is ours for longer than a request can take."""
        return self._lease_left_s() > self.deadline_s

    async def facts(self, document: Generations) -> Facts | None:
        """What is known now; None if this capture term is over."""
        reindex = document.reindex
        assert reindex is not None
        capture = self._term.capture
        stored = await self._positions.load()
        if stored is None or (stored.epoch, stored.capture_fence) != (capture.pipeline.epoch, capture.fence):
            return None
        new, old = (generation_name(document.route, number) for number in (reindex.number, reindex.before))
        looks = reindex.phase in _SHOWN
        live = generation_name(document.route, document.live)
        return Facts(
            now=await self._now(),
            shown=await shown_by(self._target, document.target),
            new=await self._side(document.generation(reindex.number), new, stored, looks=looks),
            old=await self._side(document.generation(reindex.before), old, stored, looks=looks),
            term=frozenset(capture.table),
            verification=await self._verification(reindex.verify_job),
            only_new=await self._only_new.count(new, old) if reindex.phase in _REFUSED else 0,
            lease_lasts=self.lease_lasts(),
            late_s=LATE_IN_DEADLINES * self.deadline_s,
            old_declaration=declaration_to_bson(capture.table[old]) if old in capture.table else None,
            documents=await self._documents(document) if reindex.phase == "cleaning" else 0,
            refused=await self._records.count(Selection(route=live), "open") if reindex.phase == "cleaning" else 0,
        )

    async def _now(self) -> datetime:
        return await self._records.now()

    async def _side(self, generation: Generation | None, name: str, stored: Pipeline, *, looks: bool) -> Side:
        state = stored.routes.get(name)
        if generation is None or state is None or name not in self._term.capture.table:
            return Side(written=False)
        exists = not looks or await self._target.collection(generation.collection) is not None
        need = state.reconcile
        return Side(
            suspended="" if state.suspended is None else state.suspended.reason,
            need="" if need is None else need.reason,
            asked=need is not None and need.reason == ASKED_FOR,
            exists=exists,
            job="" if need is None else need.job,
            rate_per_s=None if need is None else need.rate_per_s,
        )

    async def _verification(self, job: str | None) -> Job | None:
        return None if job is None else await self._jobs.load(job)

    async def _documents(self, document: Generations) -> int:
        live = await self._target.collection(document.shown.collection)
        return 0 if live is None else int(live["num_documents"])
