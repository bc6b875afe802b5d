"""Verify: compare all of Typesense with all of MongoDB while both keep changing, and queue what differs if asked to.

Invariants: it only queues, and sync decides by looking. The scan goes on from its cursor after any interruption, with
the numbers that belong to it; the sweep begins again. `judge.py` decides what counts as a difference.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.model import Key
from tsync_stream.jobs.compare import Difference, Findings, Tally
from tsync_stream.jobs.judge import Judge, keys_of
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.scan import Sides
from tsync_stream.routes.declared import of_route
from tsync_stream.sink.comparable import fields_of_its_own
from tsync_stream.state.dead_letters import can_be_queued
from tsync_stream.state.jobs import DONE, SCAN, SWEEP, Job

log = logging.getLogger(__name__)

# Documents that are read together. Only their digests are kept.
MAX_PAGE = 1_000
# From the first page that differs on, so many are looked at before their differences are: one wait serves them all.
MOST_PAGES = 50
# Ids that only Typesense has. If there are more, single documents are not the problem.
MOST_SUSPECTS = 10_000


@dataclass(slots=True)
class _Window:
    """Pages that were looked at and that the cursor has not passed yet."""

    pages: int = 0
    compared: int = 0
    suspects: list[Difference] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


class Verify:
    """One verification under one capture term; `run` goes on from the term's cursor and ends when all is compared.

    `judge_without` makes the judge, given the fields that are not compared. `wanted` is False once a person has
    cancelled the job. Raises `LookupError` or `TypeError` if the job's arguments are not understood.
    """

    def __init__(
        self,
        job: Job,
        producer: Producer,
        sides: Sides,
        judge_without: Callable[[frozenset[str]], Judge],
        mass_delete_share: float,
        wanted: Callable[[], bool],
    ) -> None:
        self.producer = producer
        self._repair = bool(job.arguments["repair"])
        self._sides = sides
        self._judge_without = judge_without
        self._mass_delete_share = mass_delete_share
        self._wanted = wanted
        self._most_deletes = 0.0
        self._tally = self._tally_of_cursor()

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises the errors of MongoDB and Typesense calls."""
        self._tally = self._tally_of_cursor()
        if self._phase() == DONE or not self._wanted():
            return
        judge = await self._judge()
        if self._phase() == SCAN:
            await self._scan(judge)
        if self._phase() == SWEEP:
            await self._sweep(judge)

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        return {"phase": self._phase(), **self._tally.to_bson()}

    async def result(self) -> Mapping[str, Any]:
        """What was found in the end."""
        differences = self._tally.differences
        if differences and not self._repair:
            job, route = self.producer.job, self.producer.route.name
            text = "verify %s: %d documents of the route %s differ; `verify --repair` has them synced"
            log.warning(text, job, differences, route)
        return self._tally.to_bson()

    def _phase(self) -> str:
        return SCAN if self.producer.cursor is None else str(self.producer.cursor["phase"])

    def _tally_of_cursor(self) -> Tally:
        return Tally() if self.producer.cursor is None else Tally(**self.producer.cursor["tally"])

    async def _judge(self) -> Judge:
        sides = self._sides
        await sides.until_settled(self._wanted)
        live = await sides.target.collection(sides.route.target)
        if live is None:
            setting = of_route("TYPESENSE_COLLECTION_NAME", sides.route)
            raise ConfigurationError(f"{setting}: Typesense has no such collection (404)")
        self._most_deletes = self._mass_delete_share * live["num_documents"]
        return self._judge_without(fields_of_its_own(live))

    # ---- the scan ----

    async def _scan(self, judge: Judge) -> None:
        window = _Window()
        async with aclosing(self._sides.keys(self.producer.cursor, self.producer.captured_time)) as scan:
            async for keys, cursor in scan:
                await self._look_at_page(judge, keys, window)
                if not window.suspects or window.pages >= MOST_PAGES:
                    await self._pass(judge, window, {"phase": SCAN, **cursor})
                    window = _Window()
                if not self._wanted():
                    return
        await self._pass(judge, window, {"phase": SWEEP})

    async def _look_at_page(self, judge: Judge, keys: Sequence[Key], window: _Window) -> None:
        usable = [key for key in keys if can_be_queued(key)]
        window.pages += 1
        window.compared += len(keys)
        window.findings.excepted += len(keys) - len(usable)  # these are dead letters in any case
        window.suspects += await judge.look(usable, window.findings)

    async def _pass(self, judge: Judge, window: _Window, cursor: Mapping[str, Any]) -> None:
        """Find out what becomes of a window's suspects, and move the cursor past it."""
        await judge.settle(window.suspects, window.findings)
        if not self._wanted():
            return
        repairs = keys_of(window.findings.differences) if self._repair else []
        tally = self._tally.plus(window.findings)
        self._tally = replace(tally, compared=tally.compared + window.compared, queued=tally.queued + len(repairs))
        await self._advance(repairs, cursor, self._tally)

    # ---- the sweep ----

    async def _sweep(self, judge: Judge) -> None:
        suspects, foreign = await self._suspects()
        if len(suspects) > MOST_SUSPECTS:
            # So many may have been deleted just now.
            await judge.until_seen_is_synced()
            suspects, foreign = await self._suspects()
        unseen = len(suspects) > MOST_SUSPECTS
        findings = Findings()
        await judge.settle(await judge.look(suspects[:MOST_SUSPECTS], findings), findings)
        if not self._wanted():
            return
        self._tally = replace(self._tally.plus(findings), foreign=foreign, unseen=unseen)
        await self._repair_extra(keys_of(findings.differences))
        await self._advance([], {"phase": DONE}, self._tally)

    async def _suspects(self) -> tuple[list[Key], int]:
        """Keys for the ids that the source lacks now, and how many of these ids no key can have."""
        suspects: list[Key] = []
        foreign = 0
        await self._sides.until_settled(self._wanted)
        # All are collected before any is looked into: an export that has to wait for us would break.
        async with aclosing(self._sides.orphans(self.producer.captured_time)) as sweep:
            async for _, ids in sweep:
                keys = [next(filter(can_be_queued, candidate_keys(document_id)), None) for document_id in ids]
                usable = [key for key in keys if key is not None]
                suspects += usable
                foreign += len(ids) - len(usable)
                if len(suspects) > MOST_SUSPECTS or not self._wanted():
                    break
        return suspects, foreign

    async def _repair_extra(self, keys: Sequence[Key]) -> None:
        """Queue all of them, or none if that would delete too many: a person has to allow that."""
        if not self._repair:
            return
        if self._tally.unseen or len(keys) > self._most_deletes:
            self._tally = replace(self._tally, left=len(keys))
            return
        size = self._sides.page_size
        for first in range(0, len(keys), size):
            page = keys[first : first + size]
            self._tally = replace(self._tally, queued=self._tally.queued + len(page))
            # If the sweep begins again, these are gone or found again: until it ends, only what the scan found counts.
            await self._advance(page, {"phase": SWEEP}, self._tally_of_cursor())

    async def _advance(self, repairs: Collection[Key], cursor: Mapping[str, Any], tally: Tally) -> None:
        """Queue what is to be repaired; the numbers travel with the cursor."""
        # With the time of the last look: sync reads nothing older than what was seen here.
        entries = self.producer.entries(repairs, self._sides.source.operation_time)
        async with self.producer.turn() if entries.count else nullcontext():
            await self.producer.queue(entries, {**cursor, "tally": tally.to_bson()})
