"""deploy/prometheus: each alert is sound, has tests both ways, and a runbook section in docs/operations.md."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.programs import promtool
from tests.support.queries import metrics_of, unknown_metrics
from tsync_stream.observe.metrics import Metrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/prometheus"
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    """A file of the folder. Each process of a test run loads these files, so it is done by the fast loader."""
    return yaml.load((FOLDER / name).read_text(encoding="utf-8"), yaml.CSafeLoader)


RULES = [rule for group in loaded("alerts.yaml")["groups"] for rule in group["rules"]]
TESTS = loaded("alerts_test.yaml")["tests"]
NAMES = [rule["alert"] for rule in RULES]

each_rule = pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])


def runbooks() -> dict[str, str]:
    """What the page says under the heading of each alert."""
    _, _, alerts = PAGE.partition("## Alerts\n")
    _, *parts = re.split(r"^### (\w+)$", alerts, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def run_promtool(*arguments: str) -> None:
    answer = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False, timeout=280)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    run_promtool("check", "rules", "--lint=all", "--lint-fatal", str(FOLDER / "alerts.yaml"))
    run_promtool("check", "config", "--lint=all", "--lint-fatal", str(FOLDER / "prometheus.yaml"))


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    run_promtool("test", "rules", str(FOLDER / "alerts_test.yaml"))


def expectations(alert: str) -> list[dict[str, Any]]:
    """What the tests expect of an alert."""
    expressions = [f'ALERTS{{alertname="{alert}", alertstate="{state}"}}' for state in ("firing", "pending")]
    return [
        expected
        for test in TESTS
        if test["name"].partition(":")[0] == alert
        for expected in test["promql_expr_test"]
        if expected["expr"] in expressions
    ]


def test_every_test_is_of_an_alert_and_asks_for_no_other() -> None:
    assert {test["name"].partition(":")[0] for test in TESTS} == set(NAMES)
    assert sum(len(expectations(name)) for name in NAMES) == sum(len(test["promql_expr_test"]) for test in TESTS)


@each_rule
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_never_does(rule: dict[str, Any]) -> None:
    alert = rule["alert"]
    fires = [each["exp_samples"] for each in expectations(alert) if 'alertstate="firing"' in each["expr"]]
    assert any(fires)
    never = [
        test
        for test in TESTS
        if test["name"].startswith(f"{alert}:") and not any(each["exp_samples"] for each in test["promql_expr_test"])
    ]
    assert never != []


def test_the_names_are_unique() -> None:
    assert len(NAMES) == len(set(NAMES))


@each_rule
def test_an_alert_says_how_urgent_it_is_and_what_a_person_must_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert len(notes["summary"]) < 120
    assert re.search(r"\b[Aa] person\b|what to do", notes["description"])
    # A label that the expression does not keep would be empty in the text.
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
    if "by (" in rule["expr"]:
        assert set(re.findall(r"\$labels\.(\w+)", str(notes))) <= kept


@each_rule
def test_an_alert_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    alert = rule["alert"]
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{alert.lower()}"
    section = runbooks()[alert]
    assert re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) == ["Meaning", "Look at", "Do"]


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    assert list(runbooks()) != []
    assert sorted(runbooks()) == sorted(NAMES)


@each_rule
def test_an_alert_is_about_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert metrics_of(rule["expr"]) != set()
    assert unknown_metrics(rule["expr"]) == set()


def test_the_tests_feed_metrics_that_exist() -> None:
    series = [given["series"] for test in TESTS for given in test["input_series"]]
    assert set().union(*map(unknown_metrics, series)) == set()


def test_the_page_names_metrics_that_exist() -> None:
    named = metrics_of(" ".join(re.findall(r"`(tsync_[^`\n]+)`", PAGE)))
    assert named - {declared.name for declared in Metrics().instruments.declared} == set()


def test_the_page_shows_commands_and_options_that_exist() -> None:
    commands = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (.+)$", commands, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    shown = re.findall(r"`tsync ([a-z-]+)([^`]*)`", PAGE)
    assert len(shown) > 20
    for command, rest in shown:
        assert command in sections
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in sections[command], (command, option)


def test_an_unknown_metric_is_found() -> None:
    assert unknown_metrics('sum(rate(tsync_nothing_total{a="tsync_b"}[5m])) + up') == {"tsync_nothing_total"}
    assert unknown_metrics("tsync_batch_seconds_bucket + tsync_lag_seconds_bucket") == {"tsync_lag_seconds_bucket"}
