"""Writes the dashboard for Grafana from the rows in panels.py.

python -m deploy.grafana.dashboard deploy/grafana/tsync-stream.json
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS, SHARE, Panel, Row

UID = "tsync-stream"
COLUMNS = 24
# Of Grafana 10; newer ones migrate it when they load it.
SCHEMA_VERSION = 39
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": UID,
        "title": "tsync-stream",
        "description": "Keeps Typesense equal to MongoDB. docs/operations.md has a runbook for each alert.",
        "tags": ["tsync-stream", "mongodb", "typesense"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": list(variables())},
        "panels": list(laid_out(ROWS)),
    }


def variables() -> Iterator[dict[str, Any]]:
    """Which Prometheus, which deployment, which of its routes and replicas."""
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield _labels_of("job", "Deployment", "label_values(tsync_healthy, job)")
    several = {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    yield _labels_of("route", "Route", 'label_values(tsync_changes_captured_total{job="$job"}, route)') | several
    yield _labels_of("instance", "Replica", 'label_values(tsync_healthy{job="$job"}, instance)') | several


def _labels_of(name: str, label: str, query: str) -> dict[str, Any]:
    on_time_range_change = 2
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": on_time_range_change,
        "sort": 1,
    }


def laid_out(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Headings and panels, from left to right and from top to bottom."""
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + row.height
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": row.height})
            x += panel.width
        y += row.height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or panel.title,
                "range": True,
                **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    made: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": _steps(panel)}}
    if panel.kind == "timeseries":
        made["min"] = 0
        if panel.unit == SHARE and "share" in panel.title.lower():
            made["max"] = 1
        made["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if panel.red is None else "dashed"},
        }
    if panel.kind == "stat" and panel.red is None and panel.amber is None:
        made["color"] = {"mode": "fixed", "fixedColor": "text"}
    if panel.states:
        named = {str(value): {"text": text, "color": color} for value, (text, color) in enumerate(panel.states)}
        made["mappings"] = [{"type": "value", "options": named}]
    return made


def _steps(panel: Panel) -> list[dict[str, Any]]:
    """The first colour holds from the bottom on; the others begin at their value."""
    amber, red = panel.amber, panel.red
    if amber is not None and red is not None and red < amber:
        pairs = [("red", None), *([("orange", red)] if red > 0 else []), ("green", amber)]
    else:
        pairs = [("green", None), ("orange", amber), ("red", red)]
    first, *others = pairs
    return [
        {"color": color, "value": value} for color, value in (first, *(pair for pair in others if pair[1] is not None))
    ]


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "stat":
            by_name = bool(panel.queries[0].legend)
            return {
                "colorMode": "value",
                "graphMode": "none" if panel.states or by_name else "area",
                "textMode": "name" if by_name else "value",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "state-timeline":
            return {"showValue": "auto", "mergeValues": True, "legend": {"showLegend": False}}
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme", "scheme": "Blues"}}
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def written() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written(), encoding="utf-8")
