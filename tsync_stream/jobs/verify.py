"""Verify: a comparison of both sides that a person filed; it queues what differs if asked to (`comparing.py`).

Invariant: the cursor, with the numbers that belong to it, travels through the queue with the barriers.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.events import event
from tsync_stream.core.model import Key
from tsync_stream.jobs.compare import Difference
from tsync_stream.jobs.comparing import Comparing
from tsync_stream.jobs.control import JobPaused
from tsync_stream.jobs.judge import Judge
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.scan import Sides
from tsync_stream.state.jobs import DONE, Job

log = logging.getLogger(__name__)

MOST_PAGES = 50
# While one is compared here, the servers are read for the others.
PAGES_AT_ONCE = 3


class Verify:
    """One verification under one capture term; `run` goes on from the term's cursor and ends when all is compared.

    The arguments are those of `Comparing`. `wanted` is False once a person has cancelled the job, and `may_go_on` also
    from the first time that it was paused. Raises `LookupError` or `TypeError` if its arguments are not understood.
    """

    def __init__(
        self,
        job: Job,
        producer: Producer,
        sides: Sides,
        judge_without: Callable[[frozenset[str]], Judge],
        mass_delete_share: float,
        wanted: Callable[[], bool],
        may_go_on: Callable[[], bool],
    ) -> None:
        self.producer = producer
        self._wanted = wanted
        way = _ThroughTheQueue(producer, sides, repair=bool(job.arguments["repair"]))
        self._repair = way.repair
        self._comparing = Comparing(sides, way, judge_without, mass_delete_share, may_go_on)

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises `JobPaused`, and the errors of MongoDB and Typesense calls."""
        await self._comparing.run()
        if self._comparing.phase != DONE and self._wanted():
            raise JobPaused(self.producer.job)

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""
        return {"phase": self._comparing.phase, **self._comparing.tally.to_bson()}

    async def result(self) -> Mapping[str, Any]:
        """What was found in the end."""
        tally = self._comparing.tally
        if tally.differences and not self._repair:
            job, route = self.producer.job, self.producer.route.name
            text = "verify %s: %d documents of the route %s differ; `verify --repair` has them synced"
            log.warning(text, job, tally.differences, route, extra=event("verify.differs", job=job, route=route))
        return tally.to_bson()


class _ThroughTheQueue:
    """The way of a filed verification: as fast as it can, or a person lets it, each step a batch of its producer."""

    def __init__(self, producer: Producer, sides: Sides, *, repair: bool) -> None:
        self.repair = repair
        self.most_pages = MOST_PAGES
        self.pages_at_once = PAGES_AT_ONCE
        self._producer = producer
        self._sides = sides

    @property
    def cursor(self) -> Mapping[str, Any] | None:
        return self._producer.cursor

    @property
    def captured_time(self) -> Timestamp:
        return self._producer.captured_time

    async def before_page(self, documents: int) -> None:
        """As soon as its own rate allows: that counts what is compared, not the few that are queued."""
        control = self._producer.control
        await control.turn()
        control.took(documents)

    async def advance(self, found: Sequence[Difference], repairs: Sequence[Key], cursor: Mapping[str, Any]) -> None:
        # With the time of the last look: sync reads nothing older than what was seen here.
        entries = self._producer.entries(repairs, self._sides.source.operation_time)
        async with self._producer.turn() if entries.count else nullcontext():
            await self._producer.queue(entries, cursor)
