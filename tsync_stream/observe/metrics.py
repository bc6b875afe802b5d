"""Every metric, in one place, with its unit and meaning. docs/metrics.md is made of it (`metrics_page.py`).

Invariants: a value that is not known is absent, not 0: one that only the capturing replica measures, or one that our
MongoDB user may not read. Labels take few values, which the settings, the routes or this program decide; never a key.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.samples import Sample

from tsync_stream.core.model import DeadLetter, Reason
from tsync_stream.observe.instruments import Instruments
from tsync_stream.observe.verified import KINDS, verified
from tsync_stream.state.backups import Success
from tsync_stream.state.verifications import Verification

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
# Cluster times count whole seconds, so what is measured from them starts there.
_VISIBLE_SECONDS = (1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600)
_BATCH_ENTRIES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_DELAY_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

# Why an epoch was opened.
POSITION_LOST, ROUTE_CHANGED, ROUTES_CHANGED = "position lost", "route changed", "routes changed"
PARTITIONS_CHANGED, TIER_LOST, TIER_UNAVAILABLE, FAIL_BACK = (
    "partitions changed",
    "tier lost",
    "tier unavailable",
    "fail back",
)
EPOCH_REASONS = (
    POSITION_LOST,
    ROUTE_CHANGED,
    ROUTES_CHANGED,
    PARTITIONS_CHANGED,
    TIER_LOST,
    TIER_UNAVAILABLE,
    FAIL_BACK,
)
STAGES = ("capture", "persist", "read", "write", "ack")
BACKUP_RESULTS = ("done", "failed")
LEASE_CHANGES = ("taken", "gone")
RELOADS = ("applied", "refused", "restart needed")


class Metrics:
    """One replica's instruments, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.instruments = made = Instruments(self.registry)
        ProcessCollector(registry=self.registry)
        capturing = "On the capturing replica."

        # What passes, by route
        self.changes_captured = made.counter("changes_captured", "Changes read from the change stream.", "route")
        self.changes_irrelevant = made.counter(
            "changes_irrelevant", "Of these, updates of fields that the route does not depend on: no entry.", "route"
        )
        self.entries_appended = made.counter(
            "entries_appended", "Entries appended to the queue, barriers not counted.", "route", "reason"
        )
        self.entries_acked = made.counter("entries_acked", "Entries synced and removed from the queue.", "route")
        self.entries_dropped = made.counter(
            "entries_dropped", "Entries of a suspended route that were removed without being synced.", "route"
        )
        self.documents_written = made.counter("documents_written", "Documents upserted into Typesense.", "route")
        self.documents_deleted = made.counter("documents_deleted", "Ids deleted from Typesense, there or not.", "route")
        self.entries_merged = made.counter(
            "entries_merged", "Entries that named a document which another one of the batch names too.", "route"
        )
        self.rechecks_stored = made.counter(
            "rechecks_stored", "Keys stored to be synced again, because their write is in doubt."
        )
        self.rechecks_synced = made.counter(
            "rechecks_synced", "Keys of in-doubt writes that were synced again.", "route"
        )
        self.dead_letters = made.counter(
            "dead_letters", "Dead letters written, including those of repeated failures.", "route", "reason"
        )
        self.dead_letters_open = made.gauge(
            "dead_letters_open", "Open dead letters of the route, as this replica last saw them.", "route", "reason"
        )
        self._open_reasons: dict[str, set[str]] = {}

        # The background verification
        self.documents_verified = made.counter(
            "documents_verified", "Documents that the background verification has compared.", "route"
        )
        self.documents_drifted = made.counter(
            "documents_drifted", "Differences that the background verification has found.", "route", "kind"
        )
        self.verified_ratio = made.gauge(
            "verified_ratio",
            "Share of the route that the present pass has compared. On the capturing replica.",
            "route",
        )
        self.verified_since_seconds = made.gauge(
            "verified_since_timestamp_seconds",
            "Every document of the route has been compared since this time. On the capturing replica.",
            "route",
        )
        self.verified_seconds = made.gauge(
            "verified_timestamp_seconds", "The newest comparison of the route. On the capturing replica.", "route"
        )

        # How long it takes, and how much at once
        self.batch_entries = made.histogram(
            "batch_entries",
            "Entries of a batch: `persist` appends it, `sync` reads it.",
            "stage",
            buckets=_BATCH_ENTRIES,
        )
        self.stage_seconds = made.histogram(
            "stage_seconds",
            "What a batch takes in a stage: `capture` (event to entries), `persist` (append), `read` (documents from "
            "MongoDB, and mapping), `write` (requests to Typesense), `ack`.",
            "stage",
            buckets=_BATCH_SECONDS,
        )
        self.batch_seconds = made.histogram(
            "batch_seconds", "From reading a batch from the queue to its ack, retries included.", buckets=_BATCH_SECONDS
        )
        self.visible_seconds = made.histogram(
            "visible_seconds",
            "End to end: from the cluster time of a change to the ack after its write. Sampled: one entry of each "
            "record batch. Cluster times are whole seconds, so up to one second is added.",
            "route",
            buckets=_VISIBLE_SECONDS,
        )
        self.rate_limit_wait_seconds = made.counter(
            "rate_limit_wait_seconds", "How long batches have waited because of TYPESENSE_MAX_RATE or `max_rate`."
        )
        self.batches_retried = made.counter("batches_retried", "Batches that had to be retried.")

        # Where it is
        self.lag_seconds = made.measured(
            "lag_seconds", f"Now minus the cluster time of the oldest unsynced change. {capturing}"
        )
        self.route_lag_seconds = made.gauge(
            "route_lag_seconds",
            "The lag of one route; absent while it must be reconciled, since it is not known then. On the capturing "
            "replica.",
            "route",
        )
        self.oplog_left_seconds = made.measured(
            "oplog_left_seconds",
            "How long the oplog still holds what is not synced, at the present rate. Needs the right to read it. "
            f"{capturing}",
        )
        self.backlog_entries = made.gauge("backlog_entries", f"Unacked entries. {capturing}", "tier", "partition")
        self.backlog_limit_entries = made.measured(
            "backlog_limit_entries", f"`MAX_BACKLOG`: capture pauses at so many unacked entries. {capturing}"
        )
        self.epoch = made.measured("epoch", f"The current epoch. {capturing}")
        self.tier = made.gauge("tier", f"1 for the tier that is the queue. {capturing}", "tier")
        self.epochs_opened = made.counter("epochs_opened", "Epochs that this replica opened.", "reason")
        self.jobs_open = made.gauge(
            "jobs_open",
            "Open jobs by what they do: `scan` the source, `sweep` Typesense, `sync` what is queued, `run`, `wait`, or "
            "`paused` by a person. "
            f"{capturing}",
            "kind",
            "phase",
        )
        self.job_progress_ratio = made.gauge(
            "job_progress_ratio",
            f"The share that the open job of a route has done, of an estimate. {capturing}",
            "kind",
            "route",
        )

        # Reindexes
        self.reindexes = made.counter("reindexes", "Reindexes that ended under this replica.", "route", "result")
        self.reindex_phase = made.gauge(
            "reindex_phase", f"1 for the phase of the open reindex of a route. {capturing}", "route", "phase"
        )

        # Backups
        self.backups = made.counter("backups", "Scheduled backups that this replica made, or gave up.", "result")
        self.backup_last_success_seconds = made.measured(
            "backup_last_success_timestamp_seconds",
            f"When the last backup was made, scheduled or by command. {capturing}",
        )
        self.backup_last_bytes = made.measured("backup_last_bytes", f"The size of its archive. {capturing}")
        self.backup_last_seconds = made.measured("backup_last_seconds", f"How long it took. {capturing}")

        # The replica
        self.capturing = made.gauge("capturing", "1 on the replica that captures, once it reads the change stream.")
        self.partitions_owned = made.gauge("partitions_owned", "Partitions that this replica works on.")
        self.lease_changes = made.counter(
            "lease_changes", "Leases that became ours (`taken`) and those that no longer are (`gone`).", "change"
        )
        self.reloads = made.counter(
            "reloads",
            "Changes of settings or routes found while running: `applied`, `refused`, or such that need a restart.",
            "result",
        )
        self.settings_loaded_timestamp_seconds = made.gauge(
            "settings_loaded_timestamp_seconds", "When the settings that are in force came into force."
        )
        self.settings_pending = made.gauge(
            "settings_pending", "Settings that have changed in files, and need a restart to take effect."
        )
        self.healthy = made.gauge("healthy", "1 while no health check is red.")
        self.health_problems = made.gauge("health_problems", "Health checks that are not green.", "level")
        self.typesense_breaker_open = made.gauge(
            "typesense_breaker_open", "1 while the circuit breaker sends nothing to Typesense."
        )
        self.typesense_one_write_at_a_time = made.gauge(
            "typesense_one_write_at_a_time", "1 while writes to Typesense time out and go one at a time."
        )
        self.typesense_writes_limit = made.gauge(
            "typesense_writes_limit",
            "How many writes may be under way at Typesense; lower while it is slow or lags behind.",
        )
        self.typesense_write_documents_limit = made.gauge(
            "typesense_write_documents_limit",
            "How many documents a write may have; lower while Typesense is slow or lags behind.",
        )
        self.event_loop_delay_seconds = made.histogram(
            "event_loop_delay_seconds",
            "How much later than asked the event loop wakes a task, once a second.",
            buckets=_DELAY_SECONDS,
        )
        self._show_fixed_labels()

    def __repr__(self) -> str:
        capturing = bool(self.registry.get_sample_value("tsync_capturing"))
        return f"Metrics({capturing=}, entries_acked={self.total('entries_acked')})"

    def end_term(self) -> None:
        """We capture no longer: forget what only the capturing replica measures."""
        self.capturing.set(0)
        for measured in (self.lag_seconds, self.oplog_left_seconds, self.backlog_limit_entries, self.epoch):
            measured.set(None)
        for labelled in (
            self.backlog_entries,
            self.tier,
            self.route_lag_seconds,
            self.jobs_open,
            self.job_progress_ratio,
            self.reindex_phase,
            self.verified_ratio,
            self.verified_since_seconds,
            self.verified_seconds,
        ):
            labelled.clear()

    def show_route(self, route: str) -> None:
        """Show what is counted of a route from now on, at 0 until something is."""
        instruments: tuple[Counter | Histogram, ...] = (
            self.changes_captured,
            self.changes_irrelevant,
            self.entries_acked,
            self.entries_dropped,
            self.entries_merged,
            self.documents_written,
            self.documents_deleted,
            self.rechecks_synced,
            self.documents_verified,
            self.visible_seconds,
        )
        for instrument in instruments:
            instrument.labels(route)
        self.entries_appended.labels(route, Reason.CHANGE)
        for kind in KINDS:  # or the first difference would be no increase to Prometheus, and alert nobody
            self.documents_drifted.labels(route, kind)

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

    def show_verified(self, verification: Verification) -> None:
        """Show how far the background verification of a route is; what is not known yet stays absent."""
        seen, route = verified(verification), verification.route
        self.verified_ratio.labels(route).set(seen.share)
        if seen.since is not None:
            self.verified_since_seconds.labels(route).set(seen.since.timestamp())
        if seen.as_of is not None:
            self.verified_seconds.labels(route).set(seen.as_of.timestamp())

    @property
    def present_lag_s(self) -> float | None:
        """The lag, as this replica measured it last while it captures."""
        return self.lag_seconds.value

    def show_backup(self, last: Success | None) -> None:
        """Show the last backup that was made; None: there is none, or another replica shows it."""
        self.backup_last_success_seconds.set(None if last is None else last.at.timestamp())
        self.backup_last_bytes.set(None if last is None else last.size)
        self.backup_last_seconds.set(None if last is None else last.took_s)

    def total(self, name: str) -> int:
        """What a counter has counted since the start, over all its labels."""
        counter: Counter = getattr(self, name)
        return int(sum(sample.value for sample in _totals(counter)))

    def by_route(self, name: str) -> dict[str, int]:
        """What a counter that has the label `route` has counted since the start, by route."""
        counter: Counter = getattr(self, name)
        return {sample.labels["route"]: int(sample.value) for sample in _totals(counter)}

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def _show_fixed_labels(self) -> None:
        for reason in EPOCH_REASONS:
            self.epochs_opened.labels(reason)
        for result in BACKUP_RESULTS:
            self.backups.labels(result)
        for change in LEASE_CHANGES:
            self.lease_changes.labels(change)
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        for result in RELOADS:
            self.reloads.labels(result)


def _totals(counter: Counter) -> Iterable[Sample]:
    return (sample for family in counter.collect() for sample in family.samples if sample.name.endswith("_total"))
