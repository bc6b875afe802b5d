"""What a lane's batch adds to the metrics, once it is acked.

Invariant: the work is per batch, per partition and per route, never per entry, except to count several routes.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from tsync_stream.core.model import Entry, Operation, PartitionBatches
from tsync_stream.observe.metrics import Metrics


def count_acked(
    metrics: Metrics,
    routes: Collection[str],
    entries: Sequence[tuple[int, Entry]],
    refused: Collection[int],
    dropped: Mapping[str, int],
) -> None:
    """Count the entries of a batch, each with its partition. The acks of `refused` partitions were refused.

    `dropped` counts by route those of suspended routes, which were not synced.
    """
    acked = entries if not refused else [item for item in entries if item[0] not in refused]
    counts = {next(iter(routes)): len(acked)} if len(routes) == 1 else Counter(entry.route for _, entry in acked)
    for route, count in counts.items():
        # Of those dropped, some may have been of refused partitions.
        without_write = min(count, dropped.get(route, 0))
        metrics.entries_acked.labels(route).inc(count - without_write)
        if without_write:
            metrics.entries_dropped.labels(route).inc(without_write)
    if entries:
        metrics.batch_entries.labels("sync").observe(len(entries))


def observe_batch(
    metrics: Metrics, batch: PartitionBatches, refused: Collection[int], took_s: float, ack_s: float
) -> None:
    """Observe what a batch took from the read to the ack, the ack alone, and how old its changes are now."""
    metrics.batch_seconds.observe(took_s)
    metrics.stage_seconds.labels("ack").observe(ack_s)
    now_s = time.time()
    for entry in oldest_changes(found[0].items[0] for partition, found in batch.items() if partition not in refused):
        metrics.visible_seconds.labels(entry.route).observe(max(0.0, now_s - entry.cluster_time.time))


def oldest_changes(first_items: Iterable[object]) -> Iterable[Entry]:
    """Those that stand for a change: neither barriers nor what a job queued (pure)."""
    return (item for item in first_items if isinstance(item, Entry) and item.operation != Operation.CHECK)
