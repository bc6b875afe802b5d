"""Replay: queue the keys of open dead letters again, so that sync tries today's documents.

It is safe at any time: it only queues keys, and sync reads what they are now. Invariants: a record is marked before its
key is queued, so a failure after the mark belongs to this replay or to a later change; only sync closes a record. It
goes on from its cursor after any interruption; queueing a key twice does no harm.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.model import BEGINNING_OF_TIME, Key
from tsync_stream.jobs.producer import Producer
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.jobs import DONE, Job

QUEUEING = "queueing"
# Records of one read. Their keys are at most 1 KB each.
MAX_PAGE = 1_000


class Replay:
    """One replay under one capture term; `run` goes on from the term's cursor and ends when all is queued.

    `wanted` is False once a person has cancelled it. Raises `LookupError` or `TypeError` if the job's arguments are not
    understood.
    """

    def __init__(
        self, job: Job, producer: Producer, records: DeadLetterRecords, page_size: int, wanted: Callable[[], bool]
    ) -> None:
        self.producer = producer
        self._selection = Selection(**job.arguments["selection"])
        self._records = records
        self._page_size = min(MAX_PAGE, page_size)
        self._wanted = wanted

    async def run(self) -> None:
        """Queue page after page. Raises `JobPaused`, and the errors of MongoDB calls."""
        producer = self.producer
        while self._wanted() and (producer.cursor is None or producer.cursor["phase"] != DONE):
            async with producer.turn():  # before the mark: what fails while a page waits has not failed again
                await self._queue_page()

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        cursor = self.producer.appended_cursor
        return {} if cursor is None else {"phase": cursor["phase"], "queued": cursor["queued"]}

    async def result(self) -> Mapping[str, Any]:
        """What became of everything, once all is synced. Raises the errors of MongoDB calls."""
        outcome = await self._records.outcome(self.producer.job)
        # After an interruption the cursor does not count what was resolved before; a later replay takes marks over.
        found = outcome.resolved + outcome.pending + outcome.failed_again
        queued = found if self.producer.cursor is None else max(self.producer.cursor["queued"], found)
        return {"queued": queued, **outcome.to_bson()}

    async def _queue_page(self) -> None:
        producer = self.producer
        after, queued = ("", 0) if producer.cursor is None else (producer.cursor["after"], producer.cursor["queued"])
        page = await self._records.page(self._selection, producer.route.name, after, producer.page(self._page_size))
        if not page.ids:
            await self._queue([], BEGINNING_OF_TIME, {"phase": DONE, "after": after, "queued": queued})
            return
        await self._records.mark(producer.job, page.ids)
        cursor = {"phase": QUEUEING, "after": page.ids[-1], "queued": queued + len(page.ids)}
        await self._queue(page.keys, page.operation_time, cursor)

    async def _queue(self, keys: Sequence[Key], as_of: Timestamp, cursor: Mapping[str, Any]) -> None:
        # With the time of our read: sync sees what somebody repaired before asking for this replay.
        await self.producer.queue(self.producer.entries(keys, as_of), cursor)
