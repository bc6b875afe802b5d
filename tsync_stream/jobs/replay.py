"""Replay: queue the keys of open dead letters once more, so that sync tries today's documents.

Safe at any time: it only queues keys, and sync reads what they are now. Invariants: a record is marked before its key
is queued, so that a failure after the mark is a failure of this replay or of a later change; only sync closes a
record. It goes on from its cursor after any interruption; what is queued twice does no harm.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Reason
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.jobs import DONE, Job

QUEUEING = "queueing"
# Records of one read. Their keys are at most 1 KB long each.
MAX_PAGE = 1_000


@dataclass(slots=True)
class ReplayTools:
    """What the job works with. `wanted` is False once a person has cancelled it."""

    records: DeadLetterRecords
    send: Callable[[EntryBatch], Awaitable[object]]
    wait_for_room: Callable[[], Awaitable[None]]
    wanted: Callable[[], bool]
    batch_size: int


class Replay:
    """One replay under one capture term; `run` goes on from the term's cursor and ends when all is queued.

    Raises `LookupError` or `TypeError` if the job's arguments are not understood.
    """

    def __init__(self, job: Job, term: CaptureTerm, tools: ReplayTools) -> None:
        self.name = job.id
        self._selection = Selection(**job.arguments["selection"])
        self._term = term
        self._tools = tools
        self.cursor: Mapping[str, Any] | None = term.appended.cursors.get(job.id)

    async def run(self) -> None:
        """Queue page after page. Raises the errors of MongoDB calls."""
        tools, route = self._tools, self._term.route.name
        page_size = min(MAX_PAGE, tools.batch_size)
        while tools.wanted() and (self.cursor is None or self.cursor["phase"] != DONE):
            await tools.wait_for_room()
            after, queued = ("", 0) if self.cursor is None else (self.cursor["after"], self.cursor["queued"])
            page = await tools.records.page(self._selection, route, after, page_size)
            if not page.ids:
                await self._queue([], BEGINNING_OF_TIME, {"phase": DONE, "after": after, "queued": queued})
                return
            await tools.records.mark(self.name, page.ids)
            cursor = {"phase": QUEUEING, "after": page.ids[-1], "queued": queued + len(page.ids)}
            await self._queue(page.keys, page.operation_time, cursor)

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        cursor = self._term.appended.cursors.get(self.name)
        return {} if cursor is None else {"phase": cursor["phase"], "queued": cursor["queued"]}

    async def result(self) -> Mapping[str, Any]:
        """What became of everything, once all is synced. Raises the errors of MongoDB calls."""
        outcome = await self._tools.records.outcome(self.name)
        # The cursor does not count again what was resolved before it was gone back to; a later replay takes marks over.
        found = outcome.resolved + outcome.pending + outcome.failed_again
        queued = found if self.cursor is None else max(self.cursor["queued"], found)
        return {"queued": queued, **outcome.to_bson()}

    async def _queue(self, keys: Sequence[Key], as_of: Timestamp, cursor: Mapping[str, Any]) -> None:
        term = self._term
        # With the time of our read: whoever mended the document before asking for a replay is not read past.
        entries = Entries(term.route, term.partitions, Reason.REPLAY, as_of)
        entries.add_keys(keys)
        progress = JobProgress(self.name, self.cursor, cursor)
        with term.sending() as delivery:
            await self._tools.send(EntryBatch(delivery, progress, entries.by_partition, entries.count))
        self.cursor = cursor
