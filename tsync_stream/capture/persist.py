"""The persist agent: appends batches to the queue, each all or nothing per partition, with barriers between.

Invariants: a batch is appended only where the last one ended, so that none is jumped over; whatever goes wrong
ends the term, and capture begins again from a position that is known to be durable.
"""

import logging
from collections.abc import Awaitable, Callable

from faust.types import StreamT

from tsync_stream.capture.term import BatchLost, EntryBatch
from tsync_stream.core.errors import TsyncError, unforeseen
from tsync_stream.observe.metrics import Metrics

log = logging.getLogger(__name__)


def persist_agent(metrics: Metrics) -> Callable[[StreamT[EntryBatch]], Awaitable[None]]:
    """The agent's function."""

    async def persist(batches: StreamT[EntryBatch]) -> None:
        async for batch in batches:
            if batch.term.failed:
                batch.term.in_flight -= 1
                continue
            try:
                await append_batch(batch)
                metrics.entries_appended.inc(batch.count)
            except TsyncError as error:
                batch.term.fail(error)
            except Exception as error:  # noqa: BLE001 - it is told, and the batch is not lost
                log.error("persist: unforeseen %s; capture begins again from what is durable", unforeseen(error))  # noqa: TRY400
                batch.term.fail(BatchLost(f"the persist agent failed with a batch in hand ({type(error).__name__})"))
            finally:
                batch.term.in_flight -= 1

    return persist


async def append_batch(batch: EntryBatch) -> None:
    """Append one batch, and a barrier if one is due. Raises the tier's errors and `BatchLost`."""
    term = batch.term
    position = batch.progress.advance(term.appended)
    barrier = term.barrier_due(position, batch.count)
    appends = term.appends(batch.entries, barrier)
    if appends:
        await term.tier.append(term.pipeline.epoch, term.fence, position.token, appends)
    term.done(appends, position, barrier, batch.count)
