"""The capture agent: turns raw change events into entries, each in the partition of its Typesense document.

Invariants: every document that an event names gets an entry or, if its `_id` can never be one, a dead letter (which a
delete closes); several events of one document in a batch become one entry; entries hold keys, never documents.
"""

from collections.abc import AsyncIterator, Callable

from faust.types import StreamT

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.term import CapturedChanges, ChangeProgress, EntryBatch
from tsync_stream.core.errors import PositionLost
from tsync_stream.core.model import Operation, Reason
from tsync_stream.observe.metrics import Metrics
from tsync_stream.source.change_stream import ENDING_OPERATIONS
from tsync_stream.state.dead_letters import DeadLetters

_OPERATIONS = {
    "insert": Operation.INSERT,
    "update": Operation.UPDATE,
    "replace": Operation.REPLACE,
    "delete": Operation.DELETE,
}


def capture_agent(
    dead_letters: Callable[[], DeadLetters], metrics: Metrics
) -> Callable[[StreamT[CapturedChanges]], AsyncIterator[EntryBatch]]:
    """The agent's function; what it yields goes to the persist agent's channel."""

    async def capture(batches: StreamT[CapturedChanges]) -> AsyncIterator[EntryBatch]:
        async for changes in batches:
            delivery = changes.delivery
            with delivery.handled_by("capture"):
                entries = entries_of(changes)
                if entries.rejected:
                    await dead_letters().add(entries.rejected)
                if entries.gone:
                    await dead_letters().close(delivery.term.route.name, entries.gone)
            if not delivery.settled:
                metrics.changes_captured.labels(delivery.term.route.name).inc(len(changes.batch.changes))
                progress = ChangeProgress(changes.from_token, changes.batch.token, changes.batch.cluster_time)
                yield EntryBatch(delivery, progress, entries.by_partition, entries.count, entries.reason)

    return capture


def entries_of(changes: CapturedChanges) -> Entries:
    """The entries of a batch. Raises `PositionLost` at an event that ends the stream."""
    term, batch = changes.delivery.term, changes.batch
    try:
        operations = [change["operation"] for change in batch.changes]
        if not _OPERATIONS.keys() >= set(operations):
            raise _position_lost(next(operation for operation in operations if operation not in _OPERATIONS))
        letters = [_OPERATIONS[operation] for operation in operations]
        keys = [change["key"] for change in batch.changes]
        times = [change["time"] for change in batch.changes]
    except (LookupError, TypeError) as error:
        raise PositionLost("the change stream sent an event of an unknown form") from error
    # All get the time of the last change: reading later than asked is correct, and a shared time is stored once.
    entries = Entries(term.route, term.partitions, Reason.CHANGE, batch.cluster_time)
    ids = entries.add(keys, letters)
    term.note_written(zip(ids, times, strict=True))
    return entries


def _position_lost(operation: str) -> PositionLost:
    if operation in ENDING_OPERATIONS:
        return PositionLost(f"the source collection saw {operation}")
    return PositionLost(f"the change stream sent {operation}, and what that means for documents is unknown")
