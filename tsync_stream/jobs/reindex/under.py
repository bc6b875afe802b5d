"""What the reindexes of a capture term are made of."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tsync_stream.core.health import Health
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.reindex.acting import Acting
from tsync_stream.jobs.reindex.controller import Reindexes
from tsync_stream.jobs.reindex.further_aliases import FurtherAliases
from tsync_stream.jobs.reindex.look import Look, OnlyNew
from tsync_stream.jobs.term import JobTerm
from tsync_stream.observe.metrics import Metrics
from tsync_stream.sink.carry_over import carry_over_and_compare
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.artefacts import ArtefactMemory
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.remains import Remains


@dataclass(frozen=True, slots=True)
class Reindexing:
    """Makes the reindexes of one term after another. `database` is the state database.

    `lease_left_s` returns for how long the capture lease is surely ours.
    """

    database: MongoDatabase
    target: TypesenseTarget
    lease_left_s: Callable[[], float]
    health: Health
    metrics: Metrics

    def under(self, term: JobTerm, kinds: Mapping[str, JobKinds]) -> Reindexes:
        """Those of a term, whose routes are the keys of `kinds`."""

        def count(route: str) -> Awaitable[int]:
            return kinds[route].count_documents()

        store, jobs = GenerationStore(self.database), JobStore(self.database)
        records = DeadLetterRecords(self.database)
        only_new = OnlyNew(term, records, DeadLetters(self.database))
        positions = PositionStore(self.database)
        look = Look(term, positions, jobs, records, only_new, self.target, self.lease_left_s)
        acting = Acting(
            store,
            positions,
            jobs,
            Remains(self.database),
            self.target,
            FurtherAliases(self.target, ArtefactMemory(self.database)),
            carry_over_and_compare,
            count,
            look.lease_lasts,
        )
        return Reindexes(store, look, acting, term.capture.table, self.health, self.metrics)
