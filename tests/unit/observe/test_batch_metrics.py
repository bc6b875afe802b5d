"""What a batch adds to the metrics: per batch, and only of what was acked."""

import time

import pytest
from bson.timestamp import Timestamp

from tests.support.lanes import START
from tsync_stream.cluster.assignment import Held
from tsync_stream.core.model import Barrier, BarrierOrder, Entry, Operation, RecordBatch
from tsync_stream.observe.batch_metrics import BatchMetrics
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.process_watch import ProcessWatch


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"tsync_{name}", labels)


def entry(route: str, age_s: int, operation: str = Operation.INSERT) -> Entry:
    return Entry(route, 1, operation, Timestamp(int(time.time()) - age_s, 1))


def test_changes_are_as_old_as_the_first_of_each_partition_and_what_jobs_queued_does_not_count() -> None:
    metrics = Metrics()
    barrier = Barrier(BarrierOrder(1, 1, 1), START)
    batch = {
        0: [RecordBatch(b"2-1", 1, [entry("orders", 50), entry("orders", 9)]), RecordBatch(b"3-1", 3, [entry("x", 1)])],
        1: [RecordBatch(b"1-1", 1, [entry("orders", 9_000, Operation.CHECK)])],
        2: [RecordBatch(b"1-1", 1, [barrier])],
        3: [RecordBatch(b"1-1", 1, [entry("orders", 9_000)])],
    }
    BatchMetrics(metrics).observe(batch, refused=[3], took_s=0.2, ack_s=0.01)
    assert value(metrics, "visible_seconds_count", route="orders") == 1
    assert value(metrics, "visible_seconds_sum", route="orders") == pytest.approx(50, abs=2)
    assert value(metrics, "batch_seconds_sum") == pytest.approx(0.2)
    assert value(metrics, "stage_seconds_sum", stage="ack") == pytest.approx(0.01)


def test_only_what_was_acked_is_counted_and_what_was_dropped_apart() -> None:
    metrics = Metrics()
    entries = [(0, entry("a", 1)), (0, entry("b", 1)), (1, entry("b", 1)), (2, entry("b", 1))]
    BatchMetrics(metrics).count_acked(["a", "b"], entries, refused=[2], dropped={"b": 1})
    assert value(metrics, "entries_acked_total", route="a") == 1
    assert value(metrics, "entries_acked_total", route="b") == 1
    assert value(metrics, "entries_dropped_total", route="b") == 1
    assert value(metrics, "batch_entries_sum", stage="sync") == 4


def test_a_lease_that_changes_hands_counts_and_one_that_only_has_a_new_fence_does_not() -> None:
    metrics, held = Metrics(), dict[str, Held]()
    watch = ProcessWatch(lambda: held, metrics)
    held["a"], held["b"] = (Held(name, 1, after_expiry=False, taken_s=5.0) for name in "ab")
    watch.look(0.002)
    held["a"] = Held("a", 2, after_expiry=False, taken_s=5.0)
    held["b"] = Held("b", 3, after_expiry=False, taken_s=9.0)
    watch.look(-0.001)
    assert value(metrics, "lease_changes_total", change="taken") == 3
    assert value(metrics, "lease_changes_total", change="gone") == 1
    assert value(metrics, "event_loop_delay_seconds_count") == 2
