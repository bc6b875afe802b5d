"""A partial reconcile: queue the keys of documents that match a query, or those that a person has listed.

Invariants: it only queues; sync decides by looking, so a listed key without a document has what Typesense shows of it
deleted. Nothing is queued before few enough of the listed keys lack a document, or a person has allowed more. A query
is asked of MongoDB for one page of the source's keys after another, so it passes every type of `_id`, and one that
matches little makes short pages instead of long queries. It goes on from its cursor after any interruption.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from tsync_stream.core.errors import RouteUnusable
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import Key
from tsync_stream.jobs.control import JobFailed
from tsync_stream.jobs.mass_delete import is_small
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.scan import Sides, pages_matching
from tsync_stream.state.dead_letters import can_be_queued
from tsync_stream.state.job_keys import PAGE, JobKeys
from tsync_stream.state.jobs import DONE, Job
from tsync_stream.state.partial_reconciles import chosen_from_bson

QUEUEING = "queueing"
# Keys that are looked at together.
MAX_PAGE = 1_000
# So few deletions need no permission, however small the collection is: each was named by its id.
FEW_DELETIONS = 100


class PartialReconcile:
    """One partial reconcile under one capture term; `run` goes on from the term's cursor and ends when all is queued.

    `job_keys` has the keys of a list. `wanted` is False once a person has cancelled it. Raises `LookupError` or
    `TypeError` if the job's arguments are not understood.
    """

    def __init__(
        self,
        job: Job,
        producer: Producer,
        sides: Sides,
        job_keys: JobKeys,
        mass_delete_share: float,
        wanted: Callable[[], bool],
    ) -> None:
        self.producer = producer
        self._job = job.id
        self._chosen = chosen_from_bson(job.arguments)
        self._sides = sides
        self._job_keys = job_keys
        self._mass_delete_share = mass_delete_share
        self._wanted = wanted

    async def run(self) -> None:
        """Queue everything. Raises `JobPaused`, `JobFailed`, and the errors of MongoDB and Typesense calls."""
        self.producer.control.check()
        if self._counts(self.producer.cursor)["phase"] == DONE:
            return
        if self._chosen.query is None:
            await self._queue_the_listed()
        else:
            await self._queue_what_matches(self._chosen.query)
        if self._wanted():
            await self._queue([], {**self._counts(self.producer.cursor), "phase": DONE})

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        cursor = self.producer.appended_cursor
        return {} if cursor is None else self._counts(cursor)

    async def result(self) -> Mapping[str, Any]:
        """What was looked at and queued in the end."""
        counts = self._counts(self.producer.cursor)
        return {"looked_at": counts["looked_at"], "queued": counts["queued"]}

    @staticmethod
    def _counts(cursor: Mapping[str, Any] | None) -> dict[str, Any]:
        found = cursor or {"phase": QUEUEING, "looked_at": 0, "queued": 0}
        return {name: found[name] for name in ("phase", "looked_at", "queued")}

    # ---- what matches a query ----

    async def _queue_what_matches(self, query: Mapping[str, Any]) -> None:
        producer, sides = self.producer, self._sides
        size = min(MAX_PAGE, sides.page_size)
        scan = pages_matching(sides.source, sides.route, query, producer.cursor, producer.captured_time, size)
        try:
            async with aclosing(scan) as found:
                async for page, keys, after in found:
                    producer.control.check()
                    looked_at = self._counts(producer.cursor)["looked_at"]
                    await self._queue_in_turns(keys, _places(page, keys, after, looked_at))
                    if not self._wanted():
                        return
        except RouteUnusable as error:
            raise JobFailed("MongoDB refuses its filter; nothing further is queued") from error

    # ---- what is listed ----

    async def _queue_the_listed(self) -> None:
        if self.producer.cursor is None and not self._chosen.allow_mass_delete:
            await self._require_few_deletions()
        cursor = self.producer.cursor or {"page": 0, "at": 0}
        page, at = int(cursor["page"]), int(cursor["at"])
        while self._wanted() and (keys := await self._page(page)):
            before = page * PAGE
            places = [{"page": page, "at": each, "looked_at": before + each} for each in range(at + 1, len(keys) + 1)]
            await self._queue_in_turns(keys[at:], places)
            page, at = page + 1, 0

    async def _page(self, number: int) -> list[Key]:
        """One page of the list; empty behind the last one."""
        if number * PAGE >= self._chosen.count:
            return []
        keys = await self._job_keys.page(self._job, number)
        if keys is None:
            raise JobFailed("its ids are not in the state database, which was restored without them; file it again")
        return keys

    async def _require_few_deletions(self) -> None:
        """Count the listed keys without a document: Typesense shows at most so many of them."""
        sides, lacking, number = self._sides, 0, 0
        while keys := await self._page(number):
            ids = {typesense_id(key) for key in keys}
            sharing = [key for document_id in ids for key in candidate_keys(document_id)]
            existing = await sides.source.existing_ids(sides.route, sharing, self.producer.captured_time)
            lacking += len(ids - existing)
            number += 1
        live = await sides.target.collection(sides.route.target) if lacking > FEW_DELETIONS else None
        total = 0 if live is None else int(live["num_documents"])
        if live is not None and not is_small(lacking, total, 0, self._mass_delete_share):
            raise JobFailed(
                f"MongoDB has no document for {lacking} of its {self._chosen.count} ids, and deleting so many of the "
                f"{total} documents in Typesense is more than MASS_DELETE_SHARE allows; nothing was queued. File it "
                "again with --allow-mass-delete if that is meant"
            )

    # ---- the queue ----

    async def _queue_in_turns(self, keys: Sequence[Key], places: Sequence[Mapping[str, Any]]) -> None:
        """Queue keys; behind each of them the job stands at its place. Without keys there is one place."""
        counts = self._counts(self.producer.cursor)
        done = 0
        while done < len(keys) and self._wanted():
            async with self.producer.turn():
                count = self.producer.page(len(keys) - done)
                done += count
                now = {**counts, "queued": counts["queued"] + done, **places[done - 1]}
                await self._queue(keys[done - count : done], now)
        if not keys and places:
            await self._queue([], {**counts, **places[-1]})

    async def _queue(self, keys: Sequence[Key], cursor: Mapping[str, Any]) -> None:
        # With the time of our read, if there was one: sync reads nothing older than what was seen here.
        as_of = max(self._sides.source.operation_time, self.producer.captured_time)
        await self.producer.queue(self.producer.entries(keys, as_of), cursor)


def _places(page: Sequence[Key], keys: Sequence[Key], after: Mapping[str, Key], looked_at: int) -> list[dict[str, Any]]:
    """Where a scan stands behind each of the keys, which are among those of its page; behind the last one: at its end.

    `looked_at`: how many were before this page.
    """
    number_of = {canonical_key(key): number for number, key in enumerate(page, looked_at + 1) if can_be_queued(key)}
    # A collation may have the server find keys that are not of this page.
    places = [{"_id": key, "looked_at": number_of.get(canonical_key(key), looked_at)} for key in keys[:-1]]
    return [*places, {**after, "looked_at": looked_at + len(page)}]
