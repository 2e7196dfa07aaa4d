"""Takes apart the alerts and the dashboard: their expressions, and the metrics and labels in these."""

import json
import re
from typing import Any, NamedTuple

import yaml

from tests.support.texts.pages import ROOT

ALERTS = ROOT / "monitoring" / "prometheus" / "alerts.yaml"
ALERT_TESTS = sorted((ROOT / "tests" / "monitoring").glob("alerts*_test.yaml"))
DASHBOARD = ROOT / "monitoring" / "grafana" / "stream-scrub.json"

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "on", "without", "ignoring"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")


class Selector(NamedTuple):
    """A metric in an expression and the labels that it is asked for by."""

    metric: str
    labels: frozenset[str]


class Expression(NamedTuple):
    """An expression: where it stands, its text, what it reads, and the labels by which it groups or shows."""

    where: str
    text: str
    selectors: tuple[Selector, ...]
    labels: frozenset[str]


def expression(where: str, text: str, shown: str = "") -> Expression:
    """Take PromQL apart. `shown` is the legend, with labels as `{{label}}`."""
    grouped = {label.strip() for found in _GROUPING.findall(text) for label in found.split(",")} - {""}
    grouped |= set(re.findall(r"\{\{\s*(\w+)\s*\}\}", shown))
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", _GROUPING.sub("", text))
    selectors = []
    for found in re.finditer(r"(?<![\w:.$])([A-Za-z_:][\w:]*)(?![\w:])\s*(\{[^{}]*\}|\()?", bare):
        name, after = found[1], found[2] or ""
        if after != "(" and name not in _WORDS and not _inside_braces(bare, found.start()):
            labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", after)
            selectors.append(Selector(name, frozenset(labels)))
    return Expression(where, text, tuple(selectors), frozenset(grouped))


def _inside_braces(text: str, at: int) -> bool:
    return text.count("{", 0, at) > text.count("}", 0, at)


def rules() -> list[dict[str, Any]]:
    """Every rule of the alerts file, recording ones too."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name. No two share a name."""
    found = [rule for rule in rules() if "alert" in rule]
    by_name = {rule["alert"]: rule for rule in found}
    assert len(by_name) == len(found), "two alerts have one name"
    return by_name


def in_rules() -> list[Expression]:
    """The expressions of all rules."""
    return [expression(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return json.loads(DASHBOARD.read_text())


def in_dashboard() -> list[Expression]:
    """The expressions of all panels, annotations and variables."""
    board = dashboard()
    found = [
        expression(panel["title"], target["expr"], target["legendFormat"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]
    found += [expression(each["name"], each["expr"]) for each in board["annotations"]["list"]]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert asked is not None, "variables are asked for by label_values"
            found.append(expression(variable["name"], asked[1], f"{{{{{asked[2]}}}}}"))
    return found
