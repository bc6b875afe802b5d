"""Verify: compare all of Typesense with all of MongoDB while both go on changing, and queue what differs if asked to.

Invariants: what is merely on its way is no difference: one is counted if it is still there when everything that was
written before it was seen is synced, and if its document was not written meanwhile. Documents with an open dead letter
are excepted. It only queues, and sync decides by looking. The scan goes on from its cursor after any interruption, with
the numbers that belong to it; the sweep begins again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.model import Key, Reason
from tsync_stream.jobs.compare import BothSides, Difference, fields_of_its_own
from tsync_stream.jobs.scan import orphans, pages
from tsync_stream.jobs.tally import Findings, Tally
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letters import DeadLetters, can_be_queued, record_id
from tsync_stream.state.jobs import DONE, SCAN, SWEEP, Job

log = logging.getLogger(__name__)

# Documents that are read at once. Only their digests are kept.
MAX_PAGE = 1_000
# From the first page that differs on, so many are looked at before the differences are: most waits are for all of them.
MOST_PAGES = 50
# Most of what differs at a first look is on its way, and arrives within these pauses.
PAUSES_S = (0.2, 1.0)
# How often a document that is written again and again is looked at, each time when all before is synced.
MOST_LOOKS = 3
# Ids that only Typesense has. Where there are more, that is no matter of single documents.
MOST_SUSPECTS = 10_000
ASK_AGAIN_INTERVAL_S = 1.0


@dataclass(slots=True)
class VerifyTools:
    """What the job works with. `wanted` is False once a person has cancelled it.

    `synced_up_to` returns when every change up to a cluster time is synced, or when it is not wanted any more.
    """

    open_source: Callable[[], DocumentReader]
    target: TypesenseTarget
    dead_letters: DeadLetters
    schema: LiveSchema
    send: Callable[[EntryBatch], Awaitable[object]]
    wait_for_room: Callable[[], Awaitable[None]]
    synced_up_to: Callable[[Timestamp], Awaitable[None]]
    wanted: Callable[[], bool]
    mass_delete_share: float
    batch_size: int


@dataclass(slots=True)
class _Window:
    """Pages that were looked at and that the cursor has not passed yet."""

    pages: int = 0
    compared: int = 0
    suspects: list[Difference] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


class Verify:
    """One verification under one capture term; `run` goes on from the term's cursor and ends when all is compared.

    Raises `LookupError` or `TypeError` if the job's arguments are not understood.
    """

    def __init__(self, job: Job, term: CaptureTerm, tools: VerifyTools) -> None:
        self.name = job.id
        self._repair = bool(job.arguments["repair"])
        self._term = term
        self._tools = tools
        self._page_size = min(MAX_PAGE, tools.batch_size)
        self._most_deletes = 0.0
        self.cursor: Mapping[str, Any] | None = term.appended.cursors.get(job.id)
        self._tally = self._tally_of_cursor()

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises the errors of MongoDB and Typesense calls."""
        self._tally = self._tally_of_cursor()
        if self._phase() == DONE or not self._tools.wanted():
            return
        source = self._tools.open_source()
        try:
            sides = await self._both_sides(source)
            if self._phase() == SCAN:
                await self._scan(sides)
            if self._phase() == SWEEP:
                await self._sweep(sides)
        finally:
            await source.close()

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        return {"phase": self._phase(), **self._tally.to_bson()}

    async def result(self) -> Mapping[str, Any]:
        """What was found in the end."""
        differences = self._tally.differences
        if differences and not self._repair:
            log.warning("verify %s: %d documents differ; `verify --repair` has them synced", self.name, differences)
        return self._tally.to_bson()

    def _phase(self) -> str:
        return SCAN if self.cursor is None else str(self.cursor["phase"])

    def _tally_of_cursor(self) -> Tally:
        return Tally() if self.cursor is None else Tally(**self.cursor["tally"])

    async def _both_sides(self, source: DocumentReader) -> BothSides:
        tools, route = self._tools, self._term.route
        await self._until_settled()
        live = await tools.target.collection(route.target)
        if live is None:
            raise ConfigurationError("TYPESENSE_COLLECTION_NAME: Typesense has no such collection (404)")
        self._most_deletes = tools.mass_delete_share * live["num_documents"]
        return BothSides(route, source, tools.target, tools.schema, fields_of_its_own(live))

    async def _until_settled(self) -> None:
        """While Typesense replays its log after a restart, it shows only part of what it holds."""
        while self._tools.wanted() and not await self._tools.target.settled():
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)

    # ---- the scan ----

    async def _scan(self, sides: BothSides) -> None:
        since = self._term.appended.cluster_time
        window = _Window()
        async with aclosing(pages(sides.source, self._term.route, self.cursor, since, self._page_size)) as scan:
            async for keys, cursor in scan:
                await self._look_at_page(sides, keys, window)
                if not window.suspects or window.pages >= MOST_PAGES:
                    await self._pass(sides, window, {"phase": SCAN, **cursor})
                    window = _Window()
                if not self._tools.wanted():
                    return
        await self._pass(sides, window, {"phase": SWEEP})

    async def _look_at_page(self, sides: BothSides, keys: Sequence[Key], window: _Window) -> None:
        usable = [key for key in keys if can_be_queued(key)]
        window.pages += 1
        window.compared += len(keys)
        window.findings.excepted += len(keys) - len(usable)  # they are dead letters by themselves
        window.suspects += await self._look(sides, usable, window.findings)

    async def _pass(self, sides: BothSides, window: _Window, cursor: Mapping[str, Any]) -> None:
        """Find out what becomes of a window's suspects, and let the cursor pass."""
        await self._settle(sides, window.suspects, window.findings)
        if not self._tools.wanted():
            return
        repairs = [item.key for item in window.findings.differences] if self._repair else []
        tally = self._tally.plus(window.findings)
        self._tally = replace(tally, compared=tally.compared + window.compared, queued=tally.queued + len(repairs))
        await self._advance(sides, repairs, cursor, self._tally)

    # ---- the sweep ----

    async def _sweep(self, sides: BothSides) -> None:
        suspects, foreign = await self._suspects(sides)
        if len(suspects) > MOST_SUSPECTS:
            # So many may have been deleted just now.
            await self._tools.synced_up_to(sides.source.operation_time)
            suspects, foreign = await self._suspects(sides)
        unseen = len(suspects) > MOST_SUSPECTS
        findings = Findings()
        await self._settle(sides, await self._look(sides, suspects[:MOST_SUSPECTS], findings), findings)
        if not self._tools.wanted():
            return
        self._tally = replace(self._tally.plus(findings), foreign=foreign, unseen=unseen)
        await self._repair_extra(sides, _keys(findings.differences))
        await self._advance(sides, [], {"phase": DONE}, self._tally)

    async def _suspects(self, sides: BothSides) -> tuple[list[Key], int]:
        """Keys for the ids that the source lacks, as they are now, and how many ids there are that no key can have."""
        suspects: list[Key] = []
        foreign = 0
        since, size = self._term.appended.cluster_time, self._page_size
        await self._until_settled()
        # Nothing is looked into before it is over: an export that has to wait for us would break.
        async with aclosing(orphans(sides.source, self._tools.target, self._term.route, since, size)) as sweep:
            async for _, ids in sweep:
                keys = [next(filter(can_be_queued, candidate_keys(document_id)), None) for document_id in ids]
                usable = [key for key in keys if key is not None]
                suspects += usable
                foreign += len(ids) - len(usable)
                if len(suspects) > MOST_SUSPECTS or not self._tools.wanted():
                    break
        return suspects, foreign

    async def _repair_extra(self, sides: BothSides, keys: Sequence[Key]) -> None:
        """All of them, or none if that would be too many: a person has to allow that."""
        if not self._repair:
            return
        if self._tally.unseen or len(keys) > self._most_deletes:
            self._tally = replace(self._tally, left=len(keys))
            return
        for first in range(0, len(keys), self._page_size):
            page = keys[first : first + self._page_size]
            self._tally = replace(self._tally, queued=self._tally.queued + len(page))
            # If the sweep has to begin again, these are gone, or found again: what the scan found is all that counts.
            await self._advance(sides, page, {"phase": SWEEP}, self._tally_of_cursor())

    # ---- what they share ----

    async def _settle(self, sides: BothSides, found: Sequence[Difference], findings: Findings) -> None:
        """Look until what is only on its way has arrived, and note what stays."""
        with self._term.watching(item.document_id for item in found) as written:
            for pause_s in PAUSES_S:
                if found:
                    await asyncio.sleep(pause_s)
                    found = await self._look(sides, _keys(found), findings)
            for _ in range(MOST_LOOKS):
                if not found or not self._tools.wanted():
                    break
                since = sides.source.operation_time
                await self._tools.synced_up_to(since)
                await self._until_settled()
                found = await self._look(sides, _keys(found), findings)
                # Whatever was written before this look is captured then, and so in `written`.
                await self._tools.synced_up_to(sides.source.operation_time)
                moved = {name for name, cluster_time in written.items() if cluster_time > since}
                findings.differences += [item for item in found if item.document_id not in moved]
                found = [item for item in found if item.document_id in moved]
        findings.unsettled += len(found)

    async def _look(self, sides: BothSides, keys: Sequence[Key], findings: Findings) -> list[Difference]:
        """One look; those with an open dead letter are counted, and not returned."""
        found: list[Difference] = []
        for first in range(0, len(keys), self._page_size):
            page = keys[first : first + self._page_size]
            found += await sides.look(page, self._term.appended.cluster_time)
        if not found:
            return []
        route = self._term.route.name
        letters = await self._tools.dead_letters.open_among(route, _keys(found))
        kept = [item for item in found if record_id(route, item.key) not in letters]
        findings.excepted += len(found) - len(kept)
        return kept

    async def _advance(
        self, sides: BothSides, repairs: Collection[Key], cursor: Mapping[str, Any], tally: Tally
    ) -> None:
        """Queue what is to be repaired; the numbers travel with the cursor."""
        term, tools = self._term, self._tools
        # With the time of the last look: what sync then reads is not older than what was seen here.
        entries = Entries(term.route, term.partitions, Reason.VERIFY, sides.source.operation_time)
        entries.add_keys(repairs)
        cursor = {**cursor, "tally": tally.to_bson()}
        if entries.count:
            await tools.wait_for_room()
        progress = JobProgress(self.name, self.cursor, cursor)
        with term.sending() as delivery:
            await tools.send(EntryBatch(delivery, progress, entries.by_partition, entries.count))
        self.cursor = cursor


def _keys(found: Iterable[Difference]) -> list[Key]:
    return [item.key for item in found]
