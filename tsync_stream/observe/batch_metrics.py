"""What a lane's batch adds to the metrics, once it is acked.

Invariant: the work is per batch, per partition and per route, never per entry, except to count several routes.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tsync_stream.core.model import Entry, Operation, PartitionBatches
from tsync_stream.observe.metrics import Metrics


class BatchMetrics:
    """One lane's view of the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Looked up once: that takes longer than to observe.
        self._batch_entries = metrics.batch_entries.labels("sync")
        self._ack_seconds = metrics.stage_seconds.labels("ack")

    def count_acked(
        self,
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
            self._metrics.entries_acked.labels(route).inc(count - without_write)
            if without_write:
                self._metrics.entries_dropped.labels(route).inc(without_write)
        if entries:
            self._batch_entries.observe(len(entries))

    def observe(self, batch: PartitionBatches, refused: Collection[int], took_s: float, ack_s: float) -> None:
        """Observe what a batch took from the read to the ack, the ack alone, and how old its changes are now."""
        self._metrics.batch_seconds.observe(took_s)
        self._ack_seconds.observe(ack_s)
        now_s = time.time()
        for partition, found in batch.items():
            oldest = found[0].items[0]
            # Neither barriers nor what a job queued stand for a change.
            if partition not in refused and isinstance(oldest, Entry) and oldest.operation != Operation.CHECK:
                age_s = max(0.0, now_s - oldest.cluster_time.time)
                self._metrics.visible_seconds.labels(oldest.route).observe(age_s)
