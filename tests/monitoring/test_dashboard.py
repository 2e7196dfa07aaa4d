"""The dashboard: Grafana takes it, and every panel can be read by somebody who sees it for the first time."""

import json
import subprocess
from itertools import combinations

import yaml

from monitoring.grafana import make
from tests.support.texts.monitoring import DASHBOARD, dashboard, in_dashboard

PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_the_dashboard_is_what_its_script_writes():
    """A panel changed by hand would be lost with the next one that is added."""
    assert DASHBOARD.read_text() == make.text(), "run python -m monitoring.grafana.make"


def test_every_panel_explains_itself():
    """A line would be seen to rise, and nobody would know whether that is bad."""
    for panel in PANELS:
        assert len(panel["description"]) > 50, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        several = panel["type"] in {"timeseries", "state-timeline"}
        assert all(bool(target["legendFormat"]) is several for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


def test_no_two_panels_are_in_one_place():
    """Grafana would move panels about, or show one for another."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken = []
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        xs, ys = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        taken.append((panel["title"], {(x, y) for x in xs for y in ys}))
    assert [(a, b) for (a, one), (b, other) in combinations(taken, 2) if one & other] == []


def test_the_dashboard_is_of_no_one_grafana():
    """It would show nothing where the data source has another name, or refuse to be loaded a second time."""
    board = dashboard()
    assert not {"id", "version", "iteration"} & set(board)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert variables == {"datasource", "namespace", "worker"}
    text = json.dumps(board)
    assert text.count('"uid": "${datasource}"') == text.count('"type": "prometheus"') > len(PANELS)


def test_every_expression_is_promql(promtool, tmp_path):
    """A panel would show an error instead of what is wrong."""
    chosen = {"$__rate_interval": "5m", "$namespace": ".*", "$worker": ".+"}
    records = []
    for at, found in enumerate(in_dashboard()):
        text = found.text
        for variable, value in chosen.items():
            text = text.replace(variable, value)
        assert "$" not in text, found.where
        records.append({"record": f"panel_{at}", "expr": text})
    made = tmp_path / "panels.yaml"
    made.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    done = subprocess.run([promtool, "check", "rules", str(made)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
