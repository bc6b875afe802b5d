"""The persist agent: appends batches to the queue, each all or nothing per partition, with barriers between them.

Invariants: a batch is appended only where the last one ended, so none is skipped; whatever goes wrong ends the term,
and capture begins again from a position that is known to be durable.
"""

import time
from collections.abc import Awaitable, Callable

from faust.types import StreamT

from tsync_stream.capture.term import EntryBatch
from tsync_stream.observe.metrics import Metrics


def persist_agent(metrics: Metrics) -> Callable[[StreamT[EntryBatch]], Awaitable[None]]:
    """The agent's function."""
    stage_seconds = metrics.stage_seconds.labels("persist")
    batch_entries = metrics.batch_entries.labels("persist")

    async def persist(batches: StreamT[EntryBatch]) -> None:
        async for batch in batches:
            with batch.delivery.handled_by("persist"):
                if not batch.delivery.term.closed:
                    began_s = time.monotonic()
                    await append_batch(batch)
                    if batch.count:
                        stage_seconds.observe(time.monotonic() - began_s)
                        batch_entries.observe(batch.count)
                    for route, count in batch.counts.items():
                        metrics.entries_appended.labels(route, batch.reason).inc(count)
                batch.delivery.settle()

    return persist


async def append_batch(batch: EntryBatch) -> None:
    """Append one batch, and a barrier if one is due. Raises the tier's errors and `BatchLost`."""
    term = batch.delivery.term
    position = batch.progress.advance(term.appended)
    barrier = term.barrier_due(position, batch.count, at_once=batch.stored_need)
    appends = term.appends(batch.entries, barrier)
    if appends:
        await term.tier.append(term.pipeline.epoch, term.fence, position.token, appends)
    term.done(appends, position, barrier, batch.count)
