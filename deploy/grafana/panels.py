"""What the dashboard shows: rows of panels, each with its queries of Prometheus, its unit, and a description.

Invariants: what one replica measures for all is aggregated with `max` or `min`, what each counts with `sum`; so a query
is right for any number of replicas, and while another replica takes over. A rate is over `$__rate_interval`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "timeseries", "state-timeline", "heatmap"]

# The variables of the dashboard, as label matchers.
JOB = 'job="$job"'
ROUTE = 'job="$job", route=~"$route"'
REPLICA = 'job="$job", instance=~"$instance"'
ROUTE_OF_REPLICA = 'job="$job", route=~"$route", instance=~"$instance"'

SECONDS, BYTES, SHARE, COUNT, PER_SECOND = "s", "bytes", "percentunit", "short", "cps"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are named in the legend."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. It is amber from `amber` on and red from `red` on, or below them if `red` is the lower one.

    `width` is in columns, of which there are 24. `states` are names for the values 0 and 1, and beyond.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 12
    amber: float | None = None
    red: float | None = None
    stacked: bool = False
    states: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading. `height` is in Grafana's units of 30 pixels."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8


def rate(metric: str, matchers: str, by: str) -> str:
    """How much a counter grows a second, over all replicas."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def quantile(share: float, metric: str, matchers: str, by: str = "") -> str:
    """The value of a histogram that this share of the observations does not exceed."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', matchers, labels)})"


def stat(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    legend: str = "",
    amber: float | None = None,
    red: float | None = None,
    states: tuple[tuple[str, str], ...] = (),
) -> Panel:
    """One number of the overview."""
    return Panel(title, description, unit, (Query(expression, legend),), "stat", 4, amber, red, states=states)


OVERVIEW = Row(
    "Overview",
    (
        stat(
            "Highest lag",
            "How long the oldest change that is not in Typesense has waited, in the route where it is longest. "
            "Runbook: TsyncLagHigh.",
            SECONDS,
            f"max(tsync_route_lag_seconds{{{ROUTE}}})",
            amber=10,
            red=60,
        ),
        stat(
            "Health",
            "Whether any replica is red: a person must act, or waiting work does not move. `tsync status` says why. "
            "Runbook: TsyncUnhealthy.",
            COUNT,
            f"min(tsync_healthy{{{JOB}}})",
            amber=1,
            red=0,
            states=(("red", "red"), ("not red", "green")),
        ),
        stat(
            "Changes captured",
            "Changes a second that are read from MongoDB's change stream.",
            PER_SECOND,
            f"sum(rate(tsync_changes_captured_total{{{ROUTE}}}[$__rate_interval]))",
        ),
        stat(
            "Documents synced",
            "Documents a second that are written to Typesense or deleted there.",
            PER_SECOND,
            f"sum(rate(tsync_documents_written_total{{{ROUTE}}}[$__rate_interval])) "
            f"+ sum(rate(tsync_documents_deleted_total{{{ROUTE}}}[$__rate_interval]))",
        ),
        stat(
            "Queue",
            "Entries in the queue that are not synced yet, in all partitions.",
            COUNT,
            f"sum(max by (tier, partition) (tsync_backlog_entries{{{JOB}}}))",
        ),
        stat(
            "Queue is on",
            "The tier that holds the queue. Runbook: TsyncTierNotPreferred.",
            COUNT,
            f"max by (tier) (tsync_tier{{{JOB}}}) == 1",
            legend="{{tier}}",
        ),
        stat(
            "Replicas",
            "Replicas that Prometheus reaches. Runbooks: TsyncReplicaDown, TsyncMetricsAbsent.",
            COUNT,
            f"count(tsync_healthy{{{JOB}}})",
        ),
        stat(
            "Capturing",
            "Replicas that read the change stream: always one. Runbook: TsyncNotCapturing.",
            COUNT,
            f"sum(tsync_capturing{{{JOB}}})",
            amber=1,
            red=0,
        ),
        stat(
            "Refused documents",
            "Open dead letters: documents that could not be written. Runbook: TsyncDeadLettersOpen.",
            COUNT,
            f"sum(max by (route, reason) (tsync_dead_letters_open{{{ROUTE}}})) or vector(0)",
            amber=1,
        ),
        stat(
            "Every document compared within",
            "How long ago the last complete comparison of both sides began, in the route where that is longest. "
            "Runbook: TsyncVerificationSlow.",
            SECONDS,
            f"time() - min(max by (route) (tsync_verified_since_timestamp_seconds{{{ROUTE}}}))",
        ),
        stat(
            "Oplog left",
            "How long MongoDB still holds the changes that are not synced, at the present rate. "
            "Runbook: TsyncOplogWindowShort.",
            SECONDS,
            f"min(tsync_oplog_left_seconds{{{JOB}}})",
            amber=3_600,
            red=1_800,
        ),
        stat(
            "Open jobs",
            "Reconciles, verifications and replays that are not done.",
            COUNT,
            f"sum(max by (kind, phase) (tsync_jobs_open{{{JOB}}})) or vector(0)",
        ),
    ),
    height=4,
)

ALERTS = Row(
    "Alerts",
    (
        Panel(
            "Pending and firing alerts",
            "Alerts of alerts.yaml, if this Prometheus evaluates them. docs/operations.md has a runbook for each.",
            COUNT,
            (
                Query(
                    f'max by (alertname, alertstate) (ALERTS{{alertname=~"Tsync.+", {JOB}}})',
                    "{{alertname}}, {{alertstate}}",
                ),
            ),
            "state-timeline",
            24,
            states=(("", "transparent"), ("on", "orange")),
        ),
    ),
    height=5,
)

ROUTES = Row(
    "Routes",
    (
        Panel(
            "Lag",
            "Age of the oldest change of the route that is not in Typesense. Absent while a route is reconciled. "
            "Runbook: TsyncLagHigh.",
            SECONDS,
            (Query(f"max by (route) (tsync_route_lag_seconds{{{ROUTE}}})", "{{route}}"),),
            amber=10,
            red=60,
        ),
        Panel(
            "From change to visible",
            "Time from a change in MongoDB until Typesense shows it: the median, and what 99 of 100 changes "
            "do not exceed. "
            "Up to a second too long, because cluster times are whole seconds.",
            SECONDS,
            (
                Query(quantile(0.5, "tsync_visible_seconds", ROUTE_OF_REPLICA, "route"), "{{route}}: median"),
                Query(quantile(0.99, "tsync_visible_seconds", ROUTE_OF_REPLICA, "route"), "{{route}}: p99"),
            ),
        ),
        Panel(
            "Changes captured",
            "Changes a second that are read from the change stream, by route.",
            PER_SECOND,
            (Query(rate("tsync_changes_captured_total", ROUTE_OF_REPLICA, "route"), "{{route}}"),),
            stacked=True,
        ),
        Panel(
            "Documents written and deleted",
            "Documents a second that are upserted into Typesense or deleted there, by route.",
            PER_SECOND,
            (
                Query(rate("tsync_documents_written_total", ROUTE_OF_REPLICA, "route"), "{{route}}: written"),
                Query(rate("tsync_documents_deleted_total", ROUTE_OF_REPLICA, "route"), "{{route}}: deleted"),
            ),
        ),
        Panel(
            "Entries appended, by reason",
            "Entries a second that are appended to the queue: for changes, and for what reconciles, "
            "replays, refreshes and "
            "verifications repair.",
            PER_SECOND,
            (Query(rate("tsync_entries_appended_total", ROUTE_OF_REPLICA, "route, reason"), "{{route}}: {{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Work that was saved or thrown away",
            "A second: updates of fields that a route does not show, entries that name a document which another one of "
            "their batch names too, and entries of suspended routes that were dropped.",
            PER_SECOND,
            (
                Query(rate("tsync_changes_irrelevant_total", ROUTE_OF_REPLICA, "route"), "{{route}}: irrelevant"),
                Query(rate("tsync_entries_merged_total", ROUTE_OF_REPLICA, "route"), "{{route}}: merged"),
                Query(rate("tsync_entries_dropped_total", ROUTE_OF_REPLICA, "route"), "{{route}}: dropped"),
            ),
        ),
    ),
)

QUEUE = Row(
    "Queue and tiers",
    (
        Panel(
            "Queue by partition",
            "Entries that are not synced yet. One partition that grows alone has a slow or silent owner.",
            COUNT,
            (Query(f"max by (tier, partition) (tsync_backlog_entries{{{JOB}}})", "{{tier}}, partition {{partition}}"),),
            stacked=True,
        ),
        Panel(
            "Share of MAX_BACKLOG",
            "How full the queue is. At 100 % capture pauses, and changes wait in the oplog. Runbook: "
            "TsyncQueueNearlyFull.",
            SHARE,
            (
                Query(
                    f"sum(max by (tier, partition) (tsync_backlog_entries{{{JOB}}})) "
                    f"/ max(tsync_backlog_limit_entries{{{JOB}}})",
                    "share",
                ),
            ),
            amber=0.5,
            red=0.8,
        ),
        Panel(
            "Appended and acked",
            "Entries a second that enter the queue, and that leave it because they are synced.",
            PER_SECOND,
            (
                Query(f"sum(rate(tsync_entries_appended_total{{{ROUTE_OF_REPLICA}}}[$__rate_interval]))", "appended"),
                Query(f"sum(rate(tsync_entries_acked_total{{{ROUTE_OF_REPLICA}}}[$__rate_interval]))", "acked"),
            ),
        ),
        Panel(
            "Oplog left",
            "How long MongoDB still holds the changes that are not synced, at the present rate. Needs the "
            "right to read the "
            "oplog. Runbook: TsyncOplogWindowShort.",
            SECONDS,
            (Query(f"min(tsync_oplog_left_seconds{{{JOB}}})", "left"),),
        ),
        Panel(
            "Tier of the queue",
            "Which tier holds the queue: the first of primary, backup and mongo that is healthy. "
            "Runbook: TsyncTierNotPreferred.",
            COUNT,
            (Query(f"max by (tier) (tsync_tier{{{JOB}}})", "{{tier}}"),),
            "state-timeline",
            states=(("spare", "text"), ("queue", "green")),
        ),
        Panel(
            "Epochs opened, by reason",
            "Moves of the queue and other new beginnings, within the last hour. Runbooks: TsyncTierFlapping, "
            "TsyncPositionLost.",
            COUNT,
            (Query(f"sum by (reason) (increase(tsync_epochs_opened_total{{{JOB}}}[1h]))", "{{reason}}"),),
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "From change to visible",
            "How many changes took how long from MongoDB to Typesense. One entry of each record batch is measured.",
            COUNT,
            (
                Query(
                    f"sum by (le) (increase(tsync_visible_seconds_bucket{{{ROUTE_OF_REPLICA}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "heatmap",
        ),
        Panel(
            "Stages of a batch",
            "What 95 of 100 batches do not exceed in each stage: capture, persist, read (MongoDB and mapping), write "
            "(Typesense), ack.",
            SECONDS,
            (Query(quantile(0.95, "tsync_stage_seconds", REPLICA, "stage"), "{{stage}}"),),
        ),
        Panel(
            "A batch from queue to ack",
            "Time from reading a batch from the queue until it is acked, retries included.",
            SECONDS,
            tuple(
                Query(quantile(share, "tsync_batch_seconds", REPLICA), name)
                for share, name in ((0.5, "median"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
        Panel(
            "Entries of a batch",
            "Mean number of entries that are appended or synced together. It grows under load.",
            COUNT,
            (
                Query(
                    f"{rate('tsync_batch_entries_sum', REPLICA, 'stage')} "
                    f"/ {rate('tsync_batch_entries_count', REPLICA, 'stage')}",
                    "{{stage}}",
                ),
            ),
        ),
        Panel(
            "Batches retried",
            "Batches a second that had to be tried again, because a server was away, slow or refused.",
            PER_SECOND,
            (Query(rate("tsync_batches_retried_total", REPLICA, "instance"), "{{instance}}"),),
        ),
        Panel(
            "Writes in doubt",
            "Keys a second whose write timed out and so is stored to be synced again, and keys that were.",
            PER_SECOND,
            (
                Query(f"sum(rate(tsync_rechecks_stored_total{{{REPLICA}}}[$__rate_interval]))", "stored"),
                Query(f"sum(rate(tsync_rechecks_synced_total{{{REPLICA}}}[$__rate_interval]))", "synced again"),
            ),
        ),
    ),
)

DOCUMENTS = Row(
    "Refused documents and verification",
    (
        Panel(
            "Refused documents, by reason",
            "Open dead letters. `tsync dead-letters show ID` says how to fix one. Runbooks: TsyncDeadLettersOpen, "
            "TsyncDeadLettersGrowing.",
            COUNT,
            (Query(f"max by (route, reason) (tsync_dead_letters_open{{{ROUTE}}})", "{{route}}: {{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Documents that are being refused",
            "Dead letters written a second, repeated failures of the same document included. Runbook: "
            "TsyncDocumentsRefused.",
            PER_SECOND,
            (Query(rate("tsync_dead_letters_total", ROUTE_OF_REPLICA, "route, reason"), "{{route}}: {{reason}}"),),
        ),
        Panel(
            "Verified share of the present pass",
            "The share of the route that the background verification has compared since its present pass began.",
            SHARE,
            (Query(f"max by (route) (tsync_verified_ratio{{{ROUTE}}})", "{{route}}"),),
        ),
        Panel(
            "Age of the verification",
            "How long ago the newest comparison was, and how long ago the last complete pass began. "
            "Runbooks: TsyncVerificationStalled, TsyncVerificationSlow.",
            SECONDS,
            (
                Query(f"time() - max by (route) (tsync_verified_timestamp_seconds{{{ROUTE}}})", "{{route}}: newest"),
                Query(
                    f"time() - max by (route) (tsync_verified_since_timestamp_seconds{{{ROUTE}}})",
                    "{{route}}: every document",
                ),
            ),
        ),
        Panel(
            "Documents compared",
            "Documents a second that the background verification compares: at most VERIFY_RATE.",
            PER_SECOND,
            (Query(rate("tsync_documents_verified_total", ROUTE_OF_REPLICA, "route"), "{{route}}"),),
        ),
        Panel(
            "Differences found",
            "Documents that were missing, different or extra in Typesense, found within the last hour and "
            "synced again. "
            "Always 0, unless somebody else writes to Typesense. Runbook: TsyncDriftFound.",
            COUNT,
            (
                Query(
                    f"sum by (route, kind) (increase(tsync_documents_drifted_total{{{ROUTE_OF_REPLICA}}}[1h]))",
                    "{{route}}: {{kind}}",
                ),
            ),
        ),
        Panel(
            "Open jobs",
            "Reconciles, verifications and replays, by what they do now.",
            COUNT,
            (Query(f"max by (kind, phase) (tsync_jobs_open{{{JOB}}})", "{{kind}}: {{phase}}"),),
            stacked=True,
        ),
        Panel(
            "Progress of jobs",
            "The share that each open job has done, of an estimate. Runbook: TsyncJobStalled.",
            SHARE,
            (Query(f"max by (kind, route) (tsync_job_progress_ratio{{{ROUTE}}})", "{{route}}: {{kind}}"),),
        ),
        Panel(
            "Reindexes",
            "The phase of each open reindex, and how those of the last hour ended.",
            COUNT,
            (
                Query(f"max by (route, phase) (tsync_reindex_phase{{{JOB}}})", "{{route}}: {{phase}}"),
                Query(
                    f"sum by (route, result) (increase(tsync_reindexes_total{{{JOB}}}[1h]))", "{{route}}: {{result}}"
                ),
            ),
            width=24,
        ),
    ),
)

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "Health",
            "Whether each replica is red. Runbook: TsyncUnhealthy.",
            COUNT,
            (Query(f"tsync_healthy{{{REPLICA}}}", "{{instance}}"),),
            "state-timeline",
            states=(("red", "red"), ("not red", "green")),
        ),
        Panel(
            "Health checks that are not green",
            "Problems of each replica, by level. Runbooks: TsyncUnhealthy, TsyncDegraded.",
            COUNT,
            (
                Query(
                    f'max by (instance, level) (tsync_health_problems{{level!="green", {REPLICA}}})',
                    "{{instance}}: {{level}}",
                ),
            ),
        ),
        Panel(
            "Which replica captures",
            "One replica reads the change stream; another takes over within LEASE_TTL. Runbook: TsyncNotCapturing.",
            COUNT,
            (Query(f"tsync_capturing{{{REPLICA}}}", "{{instance}}"),),
            "state-timeline",
            states=(("stands by", "text"), ("captures", "green")),
        ),
        Panel(
            "Partitions owned",
            "How the partitions are shared among the replicas. Together they own all.",
            COUNT,
            (Query(f"tsync_partitions_owned{{{REPLICA}}}", "{{instance}}"),),
            stacked=True,
        ),
        Panel(
            "Lease changes",
            "Leases that a replica took and lost within a quarter of an hour. Runbook: TsyncLeaseChurn.",
            COUNT,
            (
                Query(
                    f"sum by (instance, change) (increase(tsync_lease_changes_total{{{REPLICA}}}[15m]))",
                    "{{instance}}: {{change}}",
                ),
            ),
        ),
        Panel(
            "Typesense is protected",
            "1 while a replica sends nothing to Typesense, or writes one small batch at a time because "
            "writes time out. "
            "Runbooks: TsyncTypesenseBreakerOpen, TsyncTypesenseSlow.",
            COUNT,
            (
                Query(f"tsync_typesense_breaker_open{{{REPLICA}}}", "{{instance}}: circuit breaker open"),
                Query(f"tsync_typesense_one_write_at_a_time{{{REPLICA}}}", "{{instance}}: one write at a time"),
            ),
        ),
    ),
)

BACKUPS = Row(
    "Backups",
    (
        Panel(
            "Age of the last backup",
            "How long ago the last backup was made, by BACKUP_SCHEDULE or by `tsync backup`.",
            SECONDS,
            (Query(f"time() - max(tsync_backup_last_success_timestamp_seconds{{{JOB}}})", "age"),),
            width=6,
        ),
        Panel(
            "Scheduled backups",
            "Backups of the last day by how they ended. One that failed leaves health degraded until another succeeds. "
            "Runbook: TsyncBackupFailed.",
            COUNT,
            (Query(f"sum by (result) (increase(tsync_backups_total{{{JOB}}}[1d]))", "{{result}}"),),
            width=6,
        ),
        Panel(
            "Size of the last backup",
            "The size of its archive; Typesense's snapshot, on its own disk, is not counted.",
            BYTES,
            (Query(f"max(tsync_backup_last_bytes{{{JOB}}})", "archive"),),
            width=6,
        ),
        Panel(
            "Duration of the last backup",
            "How long it took, Typesense's snapshot included.",
            SECONDS,
            (Query(f"max(tsync_backup_last_seconds{{{JOB}}})", "duration"),),
            width=6,
        ),
    ),
    height=6,
)

RESOURCES = Row(
    "Resources",
    (
        Panel(
            "What Typesense gets at once",
            "How many writes may be under way on a replica, and how many documents one may hold. Both "
            "follow Typesense's "
            "answers: they shrink while it is slow or lags.",
            COUNT,
            (
                Query(f"tsync_typesense_writes_limit{{{REPLICA}}}", "{{instance}}: writes"),
                Query(f"tsync_typesense_write_documents_limit{{{REPLICA}}}", "{{instance}}: documents of a write"),
            ),
            width=8,
        ),
        Panel(
            "Waiting because of rate limits",
            "Share of the time that batches wait because of TYPESENSE_MAX_RATE or a route's `max_rate`; "
            "more than 100 % if "
            "several wait at once.",
            SHARE,
            (Query(rate("tsync_rate_limit_wait_seconds_total", REPLICA, "instance"), "{{instance}}"),),
            width=8,
        ),
        Panel(
            "Settings",
            "Reloads of changed files within the last hour by what became of them, and settings that have "
            "changed and need "
            "a restart.",
            COUNT,
            (
                Query(
                    f"sum by (instance, result) (increase(tsync_reloads_total{{{REPLICA}}}[1h]))",
                    "{{instance}}: {{result}}",
                ),
                Query(f"tsync_settings_pending{{{REPLICA}}}", "{{instance}}: need a restart"),
            ),
            width=8,
        ),
        Panel(
            "Memory",
            "Resident memory of each replica, 100 to 150 MB unless documents are large. Runbook: TsyncMemoryHigh.",
            BYTES,
            (Query(f"process_resident_memory_bytes{{{REPLICA}}}", "{{instance}}"),),
            width=8,
        ),
        Panel(
            "Processor",
            "Share of one core that each replica uses.",
            SHARE,
            (Query(f"rate(process_cpu_seconds_total{{{REPLICA}}}[$__rate_interval])", "{{instance}}"),),
            width=8,
        ),
        Panel(
            "Event loop delay",
            "How late the event loop wakes a task: what 95 of 100 looks do not exceed. A replica that is "
            "seconds late loses "
            "its leases. Runbook: TsyncEventLoopDelayed.",
            SECONDS,
            (Query(quantile(0.95, "tsync_event_loop_delay_seconds", REPLICA, "instance"), "{{instance}}"),),
            width=8,
        ),
    ),
)

ROWS = (OVERVIEW, ALERTS, ROUTES, QUEUE, LATENCY, DOCUMENTS, REPLICAS, BACKUPS, RESOURCES)
