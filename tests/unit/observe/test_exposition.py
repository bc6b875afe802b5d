"""What Prometheus scrapes follows its conventions: checked by promtool where that is installed, else by its rules."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.programs import promtool
from tsync_stream.core.model import DeadLetter
from tsync_stream.observe.metrics import EPOCH_REASONS, LEASE_CHANGES, STAGES, Metrics
from tsync_stream.observe.metrics_page import with_table
from tsync_stream.state.backups import Success

PAGE = Path("docs/metrics.md")
SUFFIXES = ("_total", "_count", "_sum", "_bucket")
NOT_BASE = r"(milliseconds|microseconds|minutes|hours|days|ms|kilobytes|megabytes|percent|ns|us)"
# What labels may hold, but for the names of routes, tiers and partitions.
BOUNDED = {"result", "stage", "change", "level", "phase", "kind", "reason", "route", "tier", "partition"}


def filled() -> Metrics:
    """Metrics with at least one sample each."""
    metrics = Metrics()
    metrics.show_route("listings")
    for measured in (metrics.lag_seconds, metrics.oplog_left_seconds, metrics.backlog_limit_entries, metrics.epoch):
        measured.set(7)
    metrics.route_lag_seconds.labels("listings").set(1)
    metrics.backlog_entries.labels("primary", "0").set(7)
    metrics.tier.labels("primary").set(1)
    metrics.jobs_open.labels("reconcile", "scan").set(1)
    metrics.job_progress_ratio.labels("reconcile", "listings").set(0.5)
    metrics.reindexes.labels("listings", "done").inc()
    metrics.reindex_phase.labels("listings", "kept").set(1)
    metrics.count_refused([DeadLetter("listings", 1, "id collision", "another key")])
    metrics.show_refused("listings", {"id collision": 1})
    metrics.visible_seconds.labels("listings").observe(1)
    metrics.documents_verified.labels("listings").inc()
    metrics.documents_drifted.labels("listings", "missing").inc()
    for verified in (metrics.verified_ratio, metrics.verified_since_seconds, metrics.verified_seconds):
        verified.labels("listings").set(1)
    metrics.health_problems.labels("red").set(0)
    metrics.show_backup(Success(datetime.now(UTC), 1_000, 0.5, "/backups/one.zip", ""))
    for stage in ("persist", "sync"):
        metrics.batch_entries.labels(stage).observe(100)
    return metrics


def complaints(text: str) -> list[str]:
    """What `promtool check metrics` complains about, by the same rules."""
    found = []
    for family in text_string_to_metric_families(text):
        samples = {sample.name for sample in family.samples}
        if not family.documentation:
            found.append(f"{family.name}: no help text")
        if family.type == "counter" and samples and not all(name.endswith(("_total", "_created")) for name in samples):
            found.append(f"{family.name}: a counter without _total")
        if family.type != "counter" and family.name.endswith(SUFFIXES):
            found.append(f"{family.name}: a suffix that means another kind")
        if re.search(rf"_{NOT_BASE}(_|$)", family.name):
            found.append(f"{family.name}: not a base unit")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", family.name) or re.search(
            r"_(gauge|counter|histogram)(_|$)", family.name
        ):
            found.append(f"{family.name}: not a conventional name")
        if not samples:
            found.append(f"{family.name}: no sample, so it was not checked")
    return found


def test_the_exposition_follows_prometheus_conventions() -> None:
    assert complaints(filled().exposition().decode()) == []


@pytest.mark.parametrize(
    "line",
    [
        "# TYPE tsync_wait_milliseconds gauge\ntsync_wait_milliseconds 1\n",
        "# HELP tsync_done_total x\n# TYPE tsync_done_total gauge\ntsync_done_total 1\n",
        "# HELP tsync_things_gauge x\n# TYPE tsync_things_gauge gauge\ntsync_things_gauge 1\n",
    ],
)
def test_the_rules_find_what_breaks_them(line: str) -> None:
    assert complaints(line) != []


def test_promtool_has_no_complaint() -> None:
    answer = subprocess.run(
        [promtool(), "check", "metrics"], input=filled().exposition(), capture_output=True, check=False, timeout=200
    )
    assert (answer.returncode, answer.stderr.decode(), answer.stdout.decode()) == (0, "", "")


def test_labels_take_few_values() -> None:
    metrics = Metrics()
    assert {label for each in metrics.instruments.declared for label in each.labels} <= BOUNDED
    text = metrics.exposition().decode()
    for name, label, values in (
        ("tsync_epochs_opened_total", "reason", EPOCH_REASONS),
        ("tsync_lease_changes_total", "change", LEASE_CHANGES),
        ("tsync_stage_seconds_count", "stage", STAGES),
    ):
        assert set(re.findall(rf'^{name}{{{label}="(.+)"}}', text, re.MULTILINE)) == set(values)


def test_every_declared_metric_is_shown_as_it_is_declared() -> None:
    shown = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in filled().registry.collect()
        if not family.name.startswith("process_")
    }
    assert shown == {(each.name, each.kind) for each in Metrics().instruments.declared}


def test_the_page_lists_every_metric() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), f"run: .venv/bin/python -m tsync_stream.observe.metrics_page {PAGE}"
    assert len(re.findall(r"^\| `tsync_", page, re.MULTILINE)) == len(Metrics().instruments.declared)
