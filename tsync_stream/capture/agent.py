"""The capture agent: turns raw change events into entries, each in the partition of its Typesense document.

Invariants: every document that an event names gets an entry in each route of its collection or, if its `_id` can never
be one, a dead letter (which a delete closes); several events of one document in a batch become one entry; entries hold
keys, never documents. A collection that was dropped, renamed or replaced has its routes reconciled: that need is stored
before the batch's token passes, so no crash can lose it.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson.timestamp import Timestamp
from faust.types import StreamT

from tsync_stream.capture.entries import Entries, joined
from tsync_stream.capture.fan_out import FanOut, Shown
from tsync_stream.capture.term import CapturedChanges, CaptureTerm, ChangeProgress, EntryBatch
from tsync_stream.core.errors import Fenced, PositionLost
from tsync_stream.core.model import Key, Operation, Reason
from tsync_stream.observe.metrics import Metrics
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.pipeline import PositionStore

_OPERATIONS = {
    "insert": Operation.INSERT,
    "update": Operation.UPDATE,
    "replace": Operation.REPLACE,
    "delete": Operation.DELETE,
}


@dataclass(frozen=True, slots=True)
class Captured:
    """What a batch of changes means: each route's entries and number of changes, and why which must be reconciled.

    `irrelevant` counts the changes of each route that cannot change what it shows, and that have no entry.
    """

    entries: Sequence[Entries]
    changes: Mapping[str, int]
    irrelevant: Mapping[str, int]
    needs: Mapping[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """How many entries there are of each route."""
        counts: dict[str, int] = {}
        for entries in self.entries:
            name = entries.route.name
            counts[name] = counts.get(name, 0) + entries.count
        return counts

    def with_shown(self, shown: Shown) -> "Captured":
        """With what changes of looked-up documents mean."""
        needs = {**shown.needs, **self.needs}
        return replace(self, entries=[*self.entries, *shown.entries], needs=needs)


def capture_agent(
    dead_letters: Callable[[], DeadLetters],
    positions: Callable[[], PositionStore],
    fan_out: Callable[[], FanOut],
    metrics: Metrics,
) -> Callable[[StreamT[CapturedChanges]], AsyncIterator[EntryBatch]]:
    """The agent's function; what it yields goes to the persist agent's channel."""
    stage_seconds = metrics.stage_seconds.labels("capture")

    async def capture(batches: StreamT[CapturedChanges]) -> AsyncIterator[EntryBatch]:
        async for changes in batches:
            delivery = changes.delivery
            began_s = time.monotonic()
            with delivery.handled_by("capture"):
                captured = captured_of(changes)
                if (lookups := fan_out()).any:
                    shown = await lookups.follow(delivery.term, changes.batch.changes, changes.batch.cluster_time)
                    captured = captured.with_shown(shown)
                await _store_letters(captured.entries, dead_letters())
                if captured.needs:
                    await _store_needs(delivery.term, captured.needs, positions())
            if not delivery.settled:
                if captured.changes:
                    stage_seconds.observe(time.monotonic() - began_s)
                for route, count in captured.changes.items():
                    metrics.changes_captured.labels(route).inc(count)
                for route, count in captured.irrelevant.items():
                    metrics.changes_irrelevant.labels(route).inc(count)
                progress = ChangeProgress(changes.from_token, changes.batch.token, changes.batch.cluster_time)
                entries, needed = joined(captured.entries), bool(captured.needs)
                yield EntryBatch(delivery, progress, entries, captured.counts, Reason.CHANGE, stored_need=needed)

    return capture


def captured_of(changes: CapturedChanges) -> Captured:
    """What a batch means. Raises `PositionLost` at an event that ends the stream."""
    term, batch = changes.delivery.term, changes.batch
    entries: list[Entries] = []
    counts: dict[str, int] = {}
    irrelevant: dict[str, int] = {}
    try:
        events = batch.changes
        others = [change for change in events if change["operation"] not in _OPERATIONS]
        needs = term.sources.needs(others) if others else {}
        if needs:
            events = [change for change in events if change["operation"] in _OPERATIONS]
        for routes, of_collection in term.sources.by_collection(events):
            columns = _columns(of_collection)
            for route in routes:
                relevant = term.sources.relevant(route.name, of_collection)
                counts[route.name] = len(of_collection)
                if len(relevant) < len(of_collection):
                    irrelevant[route.name] = len(of_collection) - len(relevant)
                keys, letters, times = columns if relevant is of_collection else _columns(relevant)
                # All get the time of the batch's last change: reading later than asked is correct, and a shared time
                # is stored once.
                entries.append(Entries(route, term.partitions, Reason.CHANGE, batch.cluster_time))
                ids = entries[-1].add(keys, letters)
                term.note_written(route.name, zip(ids, times, strict=True))
    except (LookupError, TypeError) as error:
        raise PositionLost("the change stream sent an event of an unknown form") from error
    return Captured(entries, counts, irrelevant, needs)


def _columns(events: Sequence[Mapping[str, Any]]) -> tuple[list[Key], list[str], list[Timestamp]]:
    """The keys, the operations as letters, and the cluster times of some events."""
    return (
        [event["key"] for event in events],
        [_OPERATIONS[event["operation"]] for event in events],
        [event["time"] for event in events],
    )


async def _store_letters(entries: Sequence[Entries], dead_letters: DeadLetters) -> None:
    for of_route in entries:
        if of_route.rejected:
            await dead_letters.add(of_route.rejected)
        if of_route.gone:
            await dead_letters.close(of_route.route.name, of_route.gone)


async def _store_needs(term: CaptureTerm, needs: Mapping[str, str], positions: PositionStore) -> None:
    """The next look of the term's monitor finds them, and a new term begins with them, where this one stood."""
    if not await positions.need_reconciles(term.pipeline, needs):
        raise Fenced("another term has begun")
