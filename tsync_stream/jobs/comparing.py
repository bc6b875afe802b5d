"""Compares all of Typesense with all of MongoDB while both change: a scan of the source, then a sweep of Typesense.

A filed verification and the background one both run it, each in its own way: `Way` says how fast it goes, where its
cursor is, and what becomes of what it finds. `judge.py` decides what counts as a difference.

Invariants: the scan goes on from its cursor after any interruption, with the numbers that belong to it; the sweep
begins again. Pages may be looked at side by side, but the cursor passes them in their order. Nothing is written here:
what is to be repaired is queued, and sync decides by looking.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from bson.timestamp import Timestamp

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.model import Key
from tsync_stream.core.tasks import in_order
from tsync_stream.jobs.compare import Difference, Findings, Tally
from tsync_stream.jobs.judge import Judge, keys_of
from tsync_stream.jobs.scan import Sides
from tsync_stream.routes.declared import of_route
from tsync_stream.sink.comparable import fields_of_its_own
from tsync_stream.state.dead_letters import can_be_queued
from tsync_stream.state.jobs import DONE, SCAN, SWEEP

# Documents that are read together. Only their digests are kept.
MAX_PAGE = 1_000
# Ids that only Typesense has. If there are more, single documents are not the problem.
MOST_SUSPECTS = 10_000


class Way(Protocol):
    """How a comparison proceeds. `repair`: what differs is to be queued.

    From the first page that differs on, `most_pages` are looked at before their differences are: one wait serves all.
    `pages_at_once` are looked at side by side.
    """

    repair: bool
    most_pages: int
    pages_at_once: int

    @property
    def cursor(self) -> Mapping[str, Any] | None:
        """Where it stands, with its `tally`; None: at the beginning."""

    @property
    def captured_time(self) -> Timestamp:
        """The cluster time up to which changes are in the queue: what is read must not be older."""

    async def before_page(self, documents: int) -> None:
        """Wait until so many documents may be compared."""

    async def advance(self, found: Sequence[Difference], repairs: Sequence[Key], cursor: Mapping[str, Any]) -> None:
        """What was found up to the cursor; queue the repairs. Then it stands there."""


@dataclass(frozen=True, slots=True)
class _Page:
    """What one look at a page showed, and the cursor behind that page."""

    cursor: Mapping[str, Any]
    compared: int
    excepted: int
    suspects: Sequence[Difference]


@dataclass(slots=True)
class _Window:
    """Pages that were looked at and that the cursor has not passed yet."""

    pages: int = 0
    compared: int = 0
    suspects: list[Difference] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def add(self, page: _Page) -> None:
        """The page that follows."""
        self.pages += 1
        self.compared += page.compared
        self.findings.excepted += page.excepted
        self.suspects += page.suspects


class Comparing:
    """One comparison; `run` goes on from the way's cursor.

    `judge_without` makes the judge, given the fields that are not compared. `wanted` is False once it has to stop.
    """

    def __init__(
        self,
        sides: Sides,
        way: Way,
        judge_without: Callable[[frozenset[str]], Judge],
        mass_delete_share: float,
        wanted: Callable[[], bool],
    ) -> None:
        self._sides = sides
        self._way = way
        self._judge_without = judge_without
        self._mass_delete_share = mass_delete_share
        self._wanted = wanted
        self._most_deletes = 0.0
        self.tally = self._tally_of_cursor()

    @property
    def phase(self) -> str:
        """SCAN, SWEEP or DONE."""
        cursor = self._way.cursor
        return SCAN if cursor is None else str(cursor["phase"])

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises the errors of MongoDB and Typesense calls."""
        self.tally = self._tally_of_cursor()
        if self.phase == DONE or not self._wanted():
            return
        judge = await self._judge()
        if self.phase == SCAN:
            await self._scan(judge)
        if self.phase == SWEEP:
            await self._sweep(judge)

    def _tally_of_cursor(self) -> Tally:
        return Tally() if self._way.cursor is None else Tally(**self._way.cursor["tally"])

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
        looks = in_order(self._keys_in_turns(), partial(self._look_at_page, judge), self._way.pages_at_once)
        async with aclosing(looks) as pages:
            async for page in pages:
                window.add(page)
                if not window.suspects or window.pages >= self._way.most_pages:
                    await self._pass(judge, window, {"phase": SCAN, **page.cursor})
                    window = _Window()
                if not self._wanted():
                    return
        await self._pass(judge, window, {"phase": SWEEP})

    async def _keys_in_turns(self) -> AsyncGenerator[tuple[list[Key], Mapping[str, Any]], None]:
        async with aclosing(self._sides.keys(self._way.cursor, self._way.captured_time)) as scan:
            async for keys, cursor in scan:
                await self._way.before_page(len(keys))
                yield keys, cursor

    async def _look_at_page(self, judge: Judge, scanned: tuple[list[Key], Mapping[str, Any]]) -> _Page:
        keys, cursor = scanned
        usable = [key for key in keys if can_be_queued(key)]
        findings = Findings(excepted=len(keys) - len(usable))  # these are dead letters in any case
        suspects = await judge.look(usable, findings)
        return _Page(cursor, len(keys), findings.excepted, suspects)

    async def _pass(self, judge: Judge, window: _Window, cursor: Mapping[str, Any]) -> None:
        """Find out what becomes of a window's suspects, and move the cursor past it."""
        await judge.settle(window.suspects, window.findings)
        if not self._wanted():
            return
        found = window.findings.differences
        repairs = keys_of(found) if self._way.repair else []
        tally = self.tally.plus(window.findings)
        self.tally = replace(tally, compared=tally.compared + window.compared, queued=tally.queued + len(repairs))
        await self._advance(found, repairs, cursor, self.tally)

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
        self.tally = replace(self.tally.plus(findings), foreign=foreign, unseen=unseen)
        left: Sequence[Difference] = findings.differences
        if self._way.repair:
            left = await self._repair_extra(findings.differences)
        await self._advance(left, [], {"phase": DONE}, self.tally)

    async def _suspects(self) -> tuple[list[Key], int]:
        """Keys for the ids that the source lacks now, and how many of these ids no key can have."""
        suspects: list[Key] = []
        foreign = 0
        await self._sides.until_settled(self._wanted)
        # All are collected before any is looked into: an export that has to wait for us would break.
        async with aclosing(self._sides.orphans(self._way.captured_time)) as sweep:
            async for _, ids in sweep:
                keys = [next(filter(can_be_queued, candidate_keys(document_id)), None) for document_id in ids]
                usable = [key for key in keys if key is not None]
                suspects += usable
                foreign += len(ids) - len(usable)
                if len(suspects) > MOST_SUSPECTS or not self._wanted():
                    break
        return suspects, foreign

    async def _repair_extra(self, found: Sequence[Difference]) -> Sequence[Difference]:
        """Queue all of them, or none if that would delete too many: a person has to allow that. Returns the others."""
        if self.tally.unseen or len(found) > self._most_deletes:
            self.tally = replace(self.tally, left=len(found))
            return found
        size = self._sides.page_size
        for first in range(0, len(found), size):
            page = found[first : first + size]
            self.tally = replace(self.tally, queued=self.tally.queued + len(page))
            # If the sweep begins again, these are gone or found again: until it ends, only what the scan found counts.
            await self._advance(page, keys_of(page), {"phase": SWEEP}, self._tally_of_cursor())
        return []

    async def _advance(
        self, found: Sequence[Difference], repairs: Sequence[Key], cursor: Mapping[str, Any], tally: Tally
    ) -> None:
        """Move the cursor; the numbers travel with it."""
        await self._way.advance(found, repairs, {**cursor, "tally": tally.to_bson()})
