"""deploy/grafana: the dashboard is the one that panels.py describes, and every panel explains itself."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.dashboard import COLUMNS, dashboard, written
from deploy.grafana.panels import BYTES, COUNT, PER_SECOND, SECONDS, SHARE
from tests.support.queries import metrics_of, unknown_metrics
from tsync_stream.observe.metrics import Metrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/grafana"
MADE = dashboard()
PANELS = [panel for panel in MADE["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in MADE["templating"]["list"]}
# Metrics without a panel, and why.
NOT_SHOWN = {
    "tsync_lag_seconds": "the highest of the routes' lags is shown",
    "tsync_epoch": "a number says little; what opens epochs is shown",
    "tsync_settings_loaded_timestamp_seconds": "reloads are shown",
}
# Whatever Grafana itself fills in.
BUILT_IN = {"__rate_interval"}


def test_the_file_is_current() -> None:
    text = (FOLDER / "tsync-stream.json").read_text(encoding="utf-8")
    assert text == written(), "run: .venv/bin/python -m deploy.grafana.dashboard deploy/grafana/tsync-stream.json"


def test_every_panel_has_an_id_of_its_own_a_title_a_description_and_a_unit() -> None:
    assert max(Counter(panel["id"] for panel in MADE["panels"]).values()) == 1
    for panel in PANELS:
        assert panel["title"], panel["id"]
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {SECONDS, BYTES, SHARE, COUNT, PER_SECOND}, panel["title"]
        assert panel["targets"] != []
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


def test_a_unit_fits_what_is_measured() -> None:
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            query = target["expr"]
            is_rate = query.startswith("sum") and "(rate(" in query and " / " not in query and "_seconds_" not in query
            assert is_rate == (unit == PER_SECOND), (panel["title"], unit)
            if "quantile" in query or re.search(r"_seconds\{", query):
                assert unit == SECONDS, panel["title"]


def test_panels_fill_the_width_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in MADE["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == COLUMNS * height, "a hole"


def test_panels_of_a_row_have_titles_of_their_own() -> None:
    titles: set[str] = set()
    for panel in MADE["panels"]:
        titles = set() if panel["type"] == "row" else titles
        assert panel["title"] not in titles
        titles.add(panel["title"])


def test_every_query_is_about_metrics_that_exist() -> None:
    for title, expression in QUERIES:
        assert metrics_of(expression) or "ALERTS" in expression, title
        assert unknown_metrics(expression) == set(), title


def test_every_metric_is_shown_somewhere() -> None:
    shown = set().union(*(metrics_of(expression) for _, expression in QUERIES))
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    not_shown = {declared.name for declared in Metrics().instruments.declared} - shown
    assert not_shown - NOT_SHOWN.keys() == set(), (
        "put them into deploy/grafana/panels.py, then write the dashboard again"
    )
    assert NOT_SHOWN.keys() - not_shown == set()


def test_every_query_keeps_to_one_deployment() -> None:
    for title, expression in QUERIES:
        selectors = re.findall(r"\b(?:tsync_\w+|process_\w+|ALERTS)(\{[^}]*\})?", expression)
        for selector in selectors:
            assert 'job="$job"' in selector, title


def test_queries_use_variables_that_exist_and_every_variable_is_used() -> None:
    used = {name for _, expression in QUERIES for name in re.findall(r"\$\{?(\w+)", expression)}
    used |= {re.sub(r"\W", "", panel["datasource"]["uid"]) for panel in PANELS}
    assert used == VARIABLES.keys() | BUILT_IN
    for variable in VARIABLES.values():
        query = variable["query"] if isinstance(variable["query"], str) else variable["query"]["query"]
        assert unknown_metrics(query.replace("label_values", "")) == set()
        assert set(re.findall(r"\$(\w+)", query)) <= VARIABLES.keys()


def test_a_panel_names_alerts_that_exist() -> None:
    rules = (ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8")
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    named = {name for panel in PANELS for name in re.findall(r"\bTsync\w+", panel["description"])}
    assert named - alerts == set()
    # Each alert has a panel that shows what it is about.
    assert alerts - named == set()


def test_the_provisioning_files_point_at_the_dashboard_and_at_prometheus() -> None:
    def read(name: str) -> dict[str, Any]:
        made: dict[str, Any] = yaml.safe_load((FOLDER / "provisioning" / name).read_text(encoding="utf-8"))
        return made

    (source,) = read("datasources/prometheus.yaml")["datasources"]
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]
    (provider,) = read("dashboards/tsync-stream.yaml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def test_the_dashboard_is_what_grafana_imports() -> None:
    made = json.loads(written())
    assert made["uid"] == "tsync-stream"
    assert "id" not in made, "Grafana gives it one"
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)
