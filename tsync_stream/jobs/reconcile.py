"""Reconcile: queue every key of the source, then every id in Typesense that the source no longer has.

It is the one repair, and the first load. At the end it also queues the keys of open dead letters whose documents are
gone, so that every dead letter left is about a document that exists.

Invariants: it only queues; sync decides by looking, so a sweep cannot delete what was just inserted. It goes on from
its cursor after any interruption, a pause among them: `run` raises `JobPaused` then. Nothing is swept before
`may_sweep` returns.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import BEGINNING_OF_TIME, Key
from tsync_stream.core.tasks import one_ahead
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.scan import Sides
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.jobs import DONE, SCAN, SWEEP, queued_of

# Dead letters of one read. Their keys are at most 1 KB each.
MAX_PAGE = 1_000


class Reconcile:
    """One reconcile under one capture term; `run` goes on from the term's cursor and ends when all is queued.

    `may_sweep` returns when what the scan queued is in Typesense, and as much as the sweep finds may be deleted: the
    ids that it found, or None where the sweep has to look for them.
    `not_before`: the source is read as it was then, or later.
    """

    def __init__(
        self,
        producer: Producer,
        sides: Sides,
        dead_letters: DeadLetters,
        records: DeadLetterRecords,
        count_documents: Callable[[], Awaitable[int]],
        may_sweep: Callable[[], Awaitable[Sequence[str] | None]],
        not_before: Timestamp = BEGINNING_OF_TIME,
    ) -> None:
        self.producer = producer
        self._sides = sides
        self._dead_letters = dead_letters
        self._records = records
        self._count_documents = count_documents
        self._may_sweep = may_sweep
        self._not_before = not_before
        # Documents queued so far, and about how many there are; they travel with the cursor.
        self._queued, self._documents = queued_of(producer.cursor)

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises `JobPaused`, and the errors of MongoDB and Typesense calls."""
        self.producer.control.check()
        self._queued, self._documents = queued_of(self.producer.cursor)
        if self._phase() == SCAN:
            await self._scan()
        if self._phase() == SWEEP:
            await self._sweep()

    @property
    def _read_from(self) -> Timestamp:
        return max(self._not_before, self.producer.captured_time)

    def _phase(self) -> str:
        return SCAN if self.producer.cursor is None else str(self.producer.cursor["phase"])

    async def _scan(self) -> None:
        producer, route = self.producer, self.producer.route.name
        if producer.cursor is None:
            await self._dead_letters.mark_unqueueable(route, producer.job)
            self._documents = await self._count_documents()
        # The next page is read while this one waits for its turn.
        pages = self._sides.keys(producer.cursor, self._read_from, producer.page)
        async with aclosing(one_ahead(pages)) as scan:
            async for keys, cursor in scan:
                async with producer.turn():
                    self._queued += len(keys)
                    await self._queue(keys, {"phase": SCAN, **cursor})
        await self._dead_letters.close_marked(route, producer.job)
        await self._queue([], {"phase": SWEEP})

    async def _sweep(self) -> None:
        # A string key is its own Typesense id, so it leads to the id's partition and to every key behind it.
        known = await self._may_sweep()
        if known is not None:
            await self._queue_in_turns(known)
        else:
            async with aclosing(self._sides.orphans(self._read_from)) as sweep:
                async for _, found in sweep:
                    self.producer.control.check()
                    await self._queue_in_turns(found)
        await self._queue_stale_letters()
        await self._queue([], {"phase": DONE})

    async def _queue_stale_letters(self) -> None:
        """Keys of dead letters whose documents are gone, with a dropped collection say: nobody else would look at them.

        Not before the sweep is allowed, because sync may delete what these keys show in Typesense.
        """
        sides = self._sides
        after = ""
        while True:
            page = await self._records.page(Selection(), sides.route.name, after, min(MAX_PAGE, sides.page_size))
            if not page.ids:
                return
            existing = await sides.source.existing_keys(sides.route, page.keys, page.operation_time)
            known = {canonical_key(key) for key in existing}
            gone = [key for key in page.keys if canonical_key(key) not in known]
            await self._queue_in_turns(gone)
            after = page.ids[-1]

    async def _queue_in_turns(self, keys: Sequence[Key]) -> None:
        while keys:
            async with self.producer.turn():
                count = self.producer.page(len(keys))
                await self._queue(keys[:count], {"phase": SWEEP})
            keys = keys[count:]

    async def _queue(self, keys: Sequence[Key], cursor: Mapping[str, Any]) -> None:
        # With the time of our read: sync reads nothing older than what was seen here.
        entries = self.producer.entries(keys, self._sides.source.operation_time)
        if entries.rejected:
            await self._dead_letters.add(entries.rejected)
        await self.producer.queue(entries, {**cursor, "queued": self._queued, "documents": self._documents})
