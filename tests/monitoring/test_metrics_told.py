"""Metrics, dashboard and alerts speak of the same things."""

import re

from stream_scrub.ops.metric_catalogue import CATALOGUE, MetricKind, Side
from tests.support.texts.monitoring import Expression, expression, in_dashboard, in_rules, rules

SCRAPED = {"namespace", "job", "instance"}  # what scraping adds
ALERTS_LABELS = {"alertname", "alertstate", "severity", "service"}  # of Prometheus' own series of the alerts
SUFFIXES = ("_bucket", "_sum", "_count")  # of a histogram's series


def known() -> dict[str, set[str]]:
    """Every series that there can be, with its labels."""
    found: dict[str, set[str]] = {"ALERTS": ALERTS_LABELS}
    for metric in CATALOGUE:
        # What a publisher says has neither identity: it is asked for by worker="".
        labels = {*(name for side in Side for name in side.identity), *metric.labels}
        if metric.kind is MetricKind.HISTOGRAM:
            found |= {f"{metric.name}{suffix}": labels for suffix in SUFFIXES}
            found[f"{metric.name}_bucket"] = labels | {"le"}
        else:
            found[metric.name] = labels
    for name in (rule["record"] for rule in rules() if "record" in rule):
        found[name] = set(name.partition(":")[0].split("_"))
    return found


def wrong(told: Expression, series: dict[str, set[str]]) -> list[str]:
    """What an expression asks for that there is not."""
    there = set(SCRAPED)
    found = []
    for selector in told.selectors:
        if selector.metric not in series:
            found.append(f"{told.where}: no metric {selector.metric}")
        labels = series.get(selector.metric, set()) | SCRAPED
        there |= labels
        found += [f"{told.where}: {selector.metric} has no {label}" for label in selector.labels - labels]
    return found + [f"{told.where}: nothing has {label}" for label in told.labels - there]


def test_what_is_asked_for_is_there():
    """An alert on a metric that was renamed would never fire again, and its panel be empty."""
    series = known()
    assert [each for told in (*in_rules(), *in_dashboard()) for each in wrong(told, series)] == []


def test_every_metric_is_shown():
    """A figure would be counted that nobody ever sees."""
    read = {selector.metric for told in (*in_rules(), *in_dashboard()) for selector in told.selectors}
    read |= {re.sub(f"({'|'.join(SUFFIXES)})$", "", metric) for metric in read}
    assert sorted(metric.name for metric in CATALOGUE if metric.name not in read) == []


def test_values_that_are_asked_for_are_given():
    """An alert on a cause, outcome or reason that is spelt otherwise would never fire."""
    given = {
        label: {
            values[at]
            for metric in CATALOGUE
            for values in metric.values
            if metric.labels[at : at + 1] == (label,)
        }
        for metric in CATALOGUE
        for at, label in enumerate(metric.labels)
        if metric.values
    }
    asked = 0
    for told in (*in_rules(), *in_dashboard()):
        for label, values in re.findall(r'(\w+)(?:=~|!~|!=|=)"([a-z_|-]+)"', told.text):
            for value in values.split("|") if label in given else ():
                asked += 1
                assert value in given[label], f"{told.where}: {label} is never {value}"
    assert asked > 20


def test_expressions_are_taken_apart_rightly():
    """The tests above would see nothing, and so find nothing wrong."""
    told = expression(
        "x",
        'sum by (cause, namespace) (rate(a_total{cause!="b{c}",d=~"e|f"}[5m])) > on (g) group_left () 2e3 * h:i offset 10m',
        "{{cause}} at most",
    )
    assert [(s.metric, set(s.labels)) for s in told.selectors] == [
        ("a_total", {"cause", "d"}),
        ("h:i", set()),
    ]
    assert told.labels == {"cause", "namespace", "g"}
