"""Every metric, in one place, with its unit and meaning.

Invariant: a value that is not known is absent, not 0: one that only the capturing replica measures, or one that our
MongoDB user may not read.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tsync_stream.core.model import DeadLetter, Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Measured(Collector):
    """A gauge that is absent while its value is None."""

    def __init__(self, name: str, meaning: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._meaning = meaning
        self.value: float | None = None
        registry.register(self)

    def set(self, value: float | None) -> None:
        """Set the value; None: not known."""
        self.value = value

    def collect(self) -> Iterator[Metric]:
        """What Prometheus sees."""
        family = GaugeMetricFamily(self._name, self._meaning)
        if self.value is not None:
            family.add_metric([], self.value)
        yield family


class Metrics:
    """One replica's instruments, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"tsync_{name}", meaning, labels, registry=self.registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"tsync_{name}", meaning, labels, registry=self.registry)

        def measured(name: str, meaning: str) -> Measured:
            return Measured(f"tsync_{name}", f"{meaning} On the capturing replica.", self.registry)

        self.changes_captured = counter("changes_captured", "Changes read from the change stream.", "route")
        self.changes_irrelevant = counter(
            "changes_irrelevant", "Of these, updates of fields that the route does not depend on: no entry.", "route"
        )
        self.entries_appended = counter(
            "entries_appended", "Entries appended to the queue, barriers not counted.", "route", "reason"
        )
        self.entries_acked = counter("entries_acked", "Entries synced and removed from the queue.", "route")
        self.entries_dropped = counter(
            "entries_dropped", "Entries of a suspended route that were removed without being synced.", "route"
        )
        self.documents_written = counter("documents_written", "Documents upserted into Typesense.", "route")
        self.documents_deleted = counter("documents_deleted", "Ids deleted from Typesense, there or not.", "route")
        self.rechecks_synced = counter("rechecks_synced", "Keys of in-doubt writes that were synced again.", "route")
        self.dead_letters = counter(
            "dead_letters", "Dead letters written, including those of repeated failures.", "route", "reason"
        )
        self.dead_letters_open = gauge(
            "dead_letters_open", "Open dead letters of the route, as this replica last saw them.", "route", "reason"
        )
        self._open_reasons: dict[str, set[str]] = {}
        self.batches_retried = counter("batches_retried", "Batches that had to be retried.")
        self.epochs_opened = counter("epochs_opened", "Epochs that this replica opened.")
        self.batch_seconds = Histogram(
            "tsync_batch_seconds",
            "From reading a batch from the queue to its ack, in seconds.",
            buckets=_BATCH_SECONDS,
            registry=self.registry,
        )
        self.lag_seconds = measured("lag_seconds", "Now minus the cluster time of the oldest unsynced change.")
        self.route_lag_seconds = gauge(
            "route_lag_seconds",
            "The lag of one route; absent while it must be reconciled, since it is not known then. On the capturing "
            "replica.",
            "route",
        )
        self.oplog_left_seconds = measured(
            "oplog_left_seconds",
            "How long the oplog still holds what is not synced, at the present rate. Needs the right to read it.",
        )
        self.backlog_entries = gauge("backlog_entries", "Unacked entries. On the capturing replica.", "partition")
        self.epoch = measured("epoch", "The current epoch.")
        self.tier = gauge("tier", "1 for the tier that is the queue. On the capturing replica.", "tier")
        self.capturing = gauge("capturing", "1 on the replica that captures, once it reads the change stream.")
        self.partitions_owned = gauge("partitions_owned", "Partitions that this replica works on.")
        self.healthy = gauge("healthy", "1 while no health check is red.")

    def __repr__(self) -> str:
        capturing = bool(self.registry.get_sample_value("tsync_capturing"))
        return f"Metrics({capturing=}, entries_acked={self.total('entries_acked')})"

    def end_term(self) -> None:
        """We capture no longer: forget what only the capturing replica measures."""
        self.capturing.set(0)
        for measured in (self.lag_seconds, self.oplog_left_seconds, self.epoch):
            measured.set(None)
        for labelled in (self.backlog_entries, self.tier, self.route_lag_seconds):
            labelled.clear()

    def show_route(self, route: str) -> None:
        """Show the counters of a route from now on, at 0 until something is counted."""
        for counter in (
            self.changes_captured,
            self.changes_irrelevant,
            self.entries_acked,
            self.entries_dropped,
            self.documents_written,
            self.documents_deleted,
            self.rechecks_synced,
        ):
            counter.labels(route)
        self.entries_appended.labels(route, Reason.CHANGE)

    def count_refused(self, letters: Iterable[DeadLetter]) -> None:
        """These dead letters were written."""
        for letter in letters:
            self.dead_letters.labels(letter.route, letter.reason).inc()

    def show_refused(self, route: str, open_by_reason: Mapping[str, int]) -> None:
        """Show how many dead letters of a route are open now; a reason that no longer has any is not shown."""
        for reason in self._open_reasons.get(route, set()) - open_by_reason.keys():
            self.dead_letters_open.remove(route, reason)
        self._open_reasons[route] = set(open_by_reason)
        for reason, count in open_by_reason.items():
            self.dead_letters_open.labels(route, reason).set(count)

    def total(self, name: str) -> int:
        """What a counter has counted since the start, over all its labels."""
        counter: Counter = getattr(self, name)
        samples = (sample for family in counter.collect() for sample in family.samples)
        return int(sum(sample.value for sample in samples if sample.name.endswith("_total")))

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
