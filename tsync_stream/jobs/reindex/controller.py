"""Brings the open reindexes forward, one step after another: beside the feed of whoever captures.

Invariants: an outage is waited out, and ends neither the term nor a reindex. What one reindex waits for holds up no
other. Every replica that takes over goes on from what is stored (`decision.py`).
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import NoReturn

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, TsyncError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.jobs.reindex.acting import Acting
from tsync_stream.jobs.reindex.decision import next_step
from tsync_stream.jobs.reindex.look import Look
from tsync_stream.jobs.reindex.steps import Wait
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.reindex_text import describe_last, describe_reindex, needs_person
from tsync_stream.routes.generations import generation_name
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
# While the old collection is only kept, there is less to see.
KEPT_INTERVAL_LOOKS = 3
UNFORESEEN_PAUSE_S = 30.0
# Steps that follow each other without a pause.
MOST_STEPS = 8


class Reindexes:
    """The reindexes of all routes, under one capture term."""

    def __init__(
        self,
        store: GenerationStore,
        look: Look,
        acting: Acting,
        table: RouteTable,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._look = look
        self._acting = acting
        self._table = table
        self._health = health
        self._metrics = metrics
        self._open: dict[str, Generations] = {}
        self._looks = 0
        self._not_before_s: dict[str, float] = {}  # of those that ended in something unforeseen

    def __repr__(self) -> str:
        phases = (f"{name}: {each.reindex.phase}" for name, each in self._open.items() if each.reindex is not None)
        return f"<Reindexes {', '.join(phases) or 'none open'}>"

    async def run(self) -> NoReturn:
        """Look every second; raises nothing."""
        try:
            while True:
                await asyncio.sleep(LOOK_INTERVAL_S)
                await self.look()
        finally:
            for route in self._open:
                self._health.green(check_of(route))

    async def look(self) -> None:
        """Bring each as far forward as it can go now."""
        try:
            self._note((await self._store.all()).values())
        except TsyncError:  # MongoDB's, which has a check of its own
            return
        self._looks += 1
        for route, document in list(self._open.items()):
            reindex = document.reindex
            assert reindex is not None
            if clock.now_s() < self._not_before_s.get(route, 0.0):
                continue
            if reindex.phase == "kept" and reindex.wish is None and self._looks % KEPT_INTERVAL_LOOKS:
                continue
            try:
                await self._advance(document)
            except TsyncError as error:
                text = f"{error}; the reindex goes on where it stopped once this is repaired"
                self._health.fault(check_of(route), text, needs_person=isinstance(error, ConfigurationError))
            except Exception as error:  # noqa: BLE001 - a reindex must not end capture
                text, what = "reindex %s: unforeseen %s; it is tried again", unforeseen(error)
                log.error(text, route, what, extra=event("reindex.unforeseen", route=route))  # noqa: TRY400
                self._not_before_s[route] = clock.now_s() + UNFORESEEN_PAUSE_S

    async def _advance(self, document: Generations) -> None:
        """Do what can be done now. Raises the errors of MongoDB and Typesense calls."""
        if self._is_removed(document):
            text = f"the routes file declares no route {document.route} any more; its reindex waits, and searches go on"
            self._health.degraded(check_of(document.route), text, needs_person=True)
            return
        for _ in range(MOST_STEPS):
            facts = await self._look.facts(document)
            if facts is None:
                return
            step = next_step(document, facts)
            after = await self._acting.do(document, step, facts.now)
            if after is None:
                return  # a person has changed it: the next look finds that
            self._tell(document, after)
            document = self._open[document.route] = after
            self._show()
            if document.reindex is None:
                self._close(document)
                return
            self._report(document, step.trouble if isinstance(step, Wait) else "")
            if isinstance(step, Wait):
                return

    def _is_removed(self, document: Generations) -> bool:
        names = [generation_name(document.route, each.number) for each in document.generations]
        return not any(name in self._table for name in names)

    # ---- telling ----

    def _note(self, found: Iterable[Generations]) -> None:
        now_open = {each.route: each for each in found if each.reindex is not None}
        for route in self._open.keys() - now_open.keys():
            self._health.green(check_of(route))
            self._not_before_s.pop(route, None)
        self._open = now_open
        self._show()

    def _show(self) -> None:
        self._metrics.reindex_phase.clear()
        for route, each in self._open.items():
            if each.reindex is not None:
                self._metrics.reindex_phase.labels(route, each.reindex.phase).set(1)

    def _report(self, document: Generations, trouble: str) -> None:
        reindex, check = document.reindex, check_of(document.route)
        assert reindex is not None
        if needs_person(reindex):
            self._health.red(check, describe_reindex(document), needs_person=True)
        elif trouble:
            self._health.red(check, trouble, needs_person=True)
        elif reindex.phase == "kept":
            self._health.green(check)
        else:
            self._health.working(check, describe_reindex(document))

    def _tell(self, before: Generations, after: Generations) -> None:
        old, new = before.reindex, after.reindex
        if old is None or new is None or old.phase == new.phase:
            return
        log.log(
            logging.WARNING if new.phase in ("failed", "rolling back") else logging.INFO,
            "reindex %s: %s: %s",
            after.route,
            new.phase,
            describe_reindex(after),
            extra=event("reindex.phase", route=after.route, job=new.id, phase=new.phase),
        )

    def _close(self, document: Generations) -> None:
        last = document.last
        assert last is not None
        self._health.green(check_of(document.route))
        self._metrics.reindexes.labels(document.route, last.result).inc()
        log.info(
            "reindex %s: %s",
            document.route,
            describe_last(document),
            extra=event("reindex.ended", route=document.route, job=last.id, result=last.result),
        )


def check_of(route: str) -> str:
    """The health check of a route's reindex."""
    return f"reindex {route}"
