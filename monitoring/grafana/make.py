"""Writes stream-scrub.json, the dashboard, beside itself: `python -m monitoring.grafana.make`.

A dashboard's JSON says every colour, unit and place forty times. Here each is said once, and `panels.py` says of every
panel what it shows and means. A test holds that the JSON is what this writes.
"""  # noqa: INP001 - a script beside its output

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monitoring.grafana.panels import ALL, RED, ROWS, Panel

OUT = Path(__file__).with_name("stream-scrub.json")
WIDTH = 24  # of Grafana's grid
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {**_LEGEND, "displayMode": "table", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "state-timeline": {
        "legend": _LEGEND,
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single"},
    },
    "table": {"showHeader": True},
}
_AS_TABLE = {"id": "organize", "options": {"excludeByName": {"Time": True, "Value": True}}}


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """The panel as Grafana keeps it, at its place."""
    width, height = panel.size
    queries = enumerate(panel.queries.items())
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "targets": [_target(panel, chr(ord("A") + at), legend, expr) for at, (legend, expr) in queries],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        "transformations": [_AS_TABLE] if panel.kind == "table" else [],
    }


def _target(panel: Panel, name: str, legend: str, expression: str) -> dict[str, Any]:
    now = panel.kind in {"stat", "table"}
    return {
        "refId": name,
        "datasource": DATASOURCE,
        "expr": expression,
        "legendFormat": legend,
        "instant": now,
        "range": not now,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    words = {
        value: {"text": text, "color": colour, "index": at}
        for at, (value, (text, colour)) in enumerate(panel.words.items())
    }
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in panel.steps],
        },
        "mappings": [{"type": "value", "options": words}] if words else [],
    }
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.steps) > 1 else "off"},
        }
    if panel.kind == "state-timeline":
        defaults["custom"] = {"lineWidth": 0, "fillOpacity": 80}
    return defaults


def _laid_out() -> Iterator[dict[str, Any]]:
    """Every panel at its place: left to right, and on to the next line where there is no room."""
    number = y = 0
    for title, panels in ROWS.items():
        number += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        x, y, line = 0, y + 1, 0
        for panel in panels:
            width, height = panel.size
            if x + width > WIDTH:
                x, y, line = 0, y + line, 0
            number += 1
            yield _panel(panel, number, x, y)
            x, line = x + width, max(line, height)
        y += line


def _chosen(name: str, label: str, query: str, everything: str) -> dict[str, Any]:
    """A variable of which any number may be chosen; `everything` is what all of them match."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": everything,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    # Without the label `namespace` (no Kubernetes) everything must match nothing too; what workers say has a `worker`.
    namespaces = _chosen("namespace", "Namespace", "label_values(stream_scrub_build_info, namespace)", ".*")
    of_them = 'label_values(stream_scrub_build_info{namespace=~"$namespace",worker!=""}, worker)'
    alerts = {
        "name": "Alerts",
        "enable": True,
        "datasource": DATASOURCE,
        "expr": f'ALERTS{{alertstate="firing",service="stream-scrub",{ALL}}}',
        "titleFormat": "{{alertname}}",
        "iconColor": RED,
    }
    return {
        "uid": "stream-scrub",
        "title": "stream_scrub",
        "description": "docs/runbook.md says what to do about what is seen here.",
        "tags": ["stream-scrub", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [alerts]},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                namespaces,
                _chosen("worker", "Worker", of_them, ".+"),
            ]
        },
        "panels": list(_laid_out()),
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    OUT.write_text(text())
