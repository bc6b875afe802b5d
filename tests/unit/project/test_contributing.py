"""CONTRIBUTING.md leads to the code that it names."""

import re
from pathlib import Path

import pytest

from tests.support.way import PACKAGE
from tsync_stream.observe.metrics import Metrics

TEXT = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `tsync_(\w+?)(?:_total)?` \| (.+) \|$", TEXT, re.MULTILINE)
METRICS = [(name, set(re.findall(r"`([\w/]+\.py)`", files))) for name, files in ROWS]

# Metrics that are counted through a method of `Metrics`.
METHODS = {
    "dead_letters": "count_refused",
    "dead_letters_open": "show_refused",
    "backup_last_success_timestamp_seconds": "show_backup",
    "backup_last_bytes": "show_backup",
    "backup_last_seconds": "show_backup",
    "verified_ratio": "show_verified",
    "verified_since_timestamp_seconds": "show_verified",
    "verified_timestamp_seconds": "show_verified",
}


def counts(path: Path, metric: str) -> bool:
    """Whether a file of the product counts a metric: it calls the metric, or the method that stands for it."""
    call = rf"metrics\.{METHODS[metric]}\b" if metric in METHODS else rf"metrics\.{metric}\b"
    return re.search(call, path.read_text(encoding="utf-8")) is not None


def test_the_table_has_every_metric_once() -> None:
    names = [declared.name for declared in Metrics().instruments.declared]
    families = [name.removeprefix("tsync_").removesuffix("_total") for name in names]

    assert sorted(name for name, _ in METRICS) == sorted(families)


@pytest.mark.parametrize(("metric", "paths"), [row for row in METRICS if row[0] != "dead_letters"])
def test_a_metric_is_counted_in_the_files_that_the_table_names(metric: str, paths: set[str]) -> None:
    files = {file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if counts(file, metric)}

    assert files == paths


def test_dead_letters_are_counted_where_they_are_stored() -> None:
    """`composition.py` hands the counter to them, since state/ lies below observe/."""
    assert dict(METRICS)["dead_letters"] == {"state/dead_letters.py"}
    assert "DeadLetters(database, metrics.count_refused)" in (PACKAGE / "composition.py").read_text(encoding="utf-8")
