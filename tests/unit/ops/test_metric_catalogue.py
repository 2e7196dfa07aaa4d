"""The metrics: how they are declared, and what a scrape says."""

import ast
import math
import pickle
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from stream_scrub import clock, errors
from stream_scrub.errors import Migrated, ScrubError, TooLarge, Unavailable
from stream_scrub.model import Reason
from stream_scrub.ops import metric_catalogue, metrics
from stream_scrub.ops.loop_state import cause_of
from stream_scrub.ops.metric_catalogue import CATALOGUE, MetricKind, Side
from stream_scrub.publisher.delta_publisher import RegisterBusy
from stream_scrub.scrub.plans import strictest_ages
from tests.support.fakes import law
from tests.support.fakes.process_status import Scraped, publisher, text, worker

PACKAGE = Path(metrics.__file__).parents[1]
DIGITS = re.compile(r"\d{7,}")


def scraped(*status) -> Scraped:
    return Scraped(text(lambda: [each() for each in status]))


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_conventions(metric):
    """A query by the usual rules (rate of a _total, seconds as seconds) would give nonsense."""
    assert re.fullmatch(r"(stream_scrub|process)_[a-z]+(_[a-z]+)*", metric.name)
    assert (metric.kind is MetricKind.COUNTER) == metric.name.endswith("_total")
    assert not re.search(r"_(count|sum|bucket|info_total|ms|millis|minutes|kb|percent)$", metric.name)
    base = metric.name.removesuffix("_total")
    assert not metric.unit or base.endswith(metric.unit)
    assert bool(metric.buckets) == (metric.kind is MetricKind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.help.endswith(".") and len(metric.help) > 20 and metric.sides
    assert all(len(values) == len(metric.labels) for values in metric.values)


def test_the_causes_are_those_that_are_raised():
    """A worker would hold for a cause that no alert knows."""
    raised = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "StaleIndex":
                # One that is passed on from another process was raised there.
                if isinstance(node.args[0], ast.Constant):
                    raised.add(node.args[0].value)
    assert set(metric_catalogue.HOLDS) == raised
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    named = {cause_of(each("x")) for each in classes if each not in (errors.StaleIndex, errors.ConfigError)}
    assert named - {"other"} == {*metric_catalogue.ABORTS, *metric_catalogue.FAILURES}
    assert (cause_of(RegisterBusy("x")), cause_of(TooLarge("x")), cause_of(ScrubError("x"))) == (
        "migrated",
        "too_large",
        "other",
    )


def test_every_metric_is_set():
    """A metric would be on the dashboard and never have a value."""
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "metric_catalogue.py")
    names = {
        name
        for name, value in vars(metric_catalogue).items()
        if isinstance(value, metric_catalogue.Metric) and not value.name.startswith("process_")
    }
    assert [name for name in sorted(names) if f"metric_catalogue.{name}" not in code] == []
    collector, _, _ = worker()
    families = {family.name for family in collector().families}
    assert {metrics.family_of(metric) for metric in metric_catalogue.of(Side.WORKER)} == families


def test_a_batch_shows_as_what_it_was():
    """An operator would see other figures than what happened."""
    collector, counters, _ = worker()
    counters.metrics[metric_catalogue.READ].inc(12)
    counters.emitted(Counter({Reason.CLEAR: 7, Reason.OPPOSED: 3}), 0.04, 0.002, 0.011, 1.5)
    counters.emitted(Counter({Reason.CLEAR: 2}), 40, 0.002, 31, None)
    counters.gave_up(Migrated("x"))
    counters.moved("assigned", 4)
    counters.moved("lost", 1)
    counters.metrics[metric_catalogue.REBALANCE_SECONDS].observe(0.2)
    counters.lags = {"0": 5, "11": 0}
    counters.ends_at = {"11": clock.elapsed() - 70}

    page = scraped(collector)

    assert page.value("stream_scrub_prospects_total", verdict="allowed", reason="clear", worker="w1") == 9
    assert page.value("stream_scrub_prospects_total", verdict="blocked", reason="opposed") == 3
    assert page.sum("stream_scrub_prospects_total") == 12 == page.value("stream_scrub_prospects_read_total")
    assert len(page.found("stream_scrub_prospects_total")) == len(Reason)
    assert page.value("stream_scrub_batches_total") == 2 == page.value("stream_scrub_batch_records_count")
    assert page.value("stream_scrub_batch_records_sum") == 12
    assert page.value("stream_scrub_batch_seconds_bucket", le="0.05") == 1
    assert page.value("stream_scrub_batch_seconds_bucket", le="30.0") == 1
    assert page.value("stream_scrub_batch_seconds_bucket", le="+Inf") == 2
    assert page.value("stream_scrub_commit_seconds_sum") == pytest.approx(31.011)
    assert page.value("stream_scrub_prospect_age_seconds_count") == 1, "one had no timestamp"
    assert page.value("stream_scrub_aborts_total", cause="migrated") == 1
    assert page.value("stream_scrub_aborts_total", cause="uncertain") == 0, "there before the first one"
    assert page.value("stream_scrub_partitions_assigned") == 3
    assert page.value("stream_scrub_rebalances_total", event="lost") == 1
    assert page.value("stream_scrub_partition_lag_records", partition="11") == 0
    assert page.value("stream_scrub_partition_end_age_seconds", partition="11") == pytest.approx(70, abs=20)
    assert page.value("stream_scrub_ready") == 1


def test_a_hold_counts_while_it_lasts():
    """A hold of an hour would show as none until it is over."""
    collector, counters, _ = worker()
    assert counters.hold("no-seal", "why") is True
    assert counters.hold("no-seal", "why") is False
    counters.held_since -= 5
    page = scraped(collector)
    assert page.value("stream_scrub_holding", cause="no-seal") == 1
    assert page.sum("stream_scrub_holding") == 1 and len(page.found("stream_scrub_holding")) == len(
        metric_catalogue.HOLDS
    )
    assert page.value("stream_scrub_held_seconds_total", cause="no-seal") == pytest.approx(5, abs=1)
    assert page.value("stream_scrub_ready") == 0

    counters.hold("register", "why")
    counters.held_since -= 2
    assert counters.resume() == pytest.approx(2, abs=1)
    page = scraped(collector)
    assert page.sum("stream_scrub_holding") == 0
    assert page.value("stream_scrub_held_seconds_total", cause="no-seal") == pytest.approx(5, abs=1)
    assert page.value("stream_scrub_held_seconds_total", cause="register") == pytest.approx(2, abs=1)


def test_registers_show_size_age_and_end():
    """Nobody would see that a list grows too old before the worker holds for it."""
    now = datetime.now(UTC)
    end = now + timedelta(days=1)
    index = law.index(
        law.register("list", [1, 2, 3], days_old=3),
        law.register("list@acme", [4]),
        law.register("list@b", [4]),
    )
    rules = law.OPT_OUT
    ages = strictest_ages(law.rulebook(rules), now)
    collector, _, follower = worker(index=index, rules=rules)
    follower.index = index.with_register(replace(index.registers["list@acme"], next_end=end))
    page = scraped(collector)
    assert page.value("stream_scrub_register_numbers", register="list") == 3
    assert page.value("stream_scrub_register_numbers", register="list@*") == 2, "scopes are told together"
    assert page.value("stream_scrub_register_effective_timestamp_seconds", register="list") == pytest.approx(
        index.registers["list"].effective_at.timestamp()
    )
    for name in ("list", "list@*"):
        assert page.found("stream_scrub_register_max_age_seconds", register=name) == [ages["list"]]
    assert page.found("stream_scrub_register_next_end_timestamp_seconds") == [
        pytest.approx(end.timestamp())
    ], "only where there is one"


def test_a_publisher_shows_its_own_figures_without_the_label_of_a_worker():
    """Its series would be taken for a worker's, and its opt-outs could not be watched."""
    collector, counters, _ = publisher(index=law.index(law.register("internal", [1, 2])))
    counters.answered(5, 2, [0.2, 3.0, 0.1])
    counters.open = {"id/0/7"}
    counters.published(["internal", "internal@acme"], 0.03)
    counters.worked_on(1, 2)
    counters.ended(7)
    counters.missed(4)
    counters.lags = {("requests", 0): 9, ("lifts", 0): 2}
    counters.gave_up(Unavailable("x"))

    page = scraped(collector)

    assert not any("worker" in sample.labels for sample in page.samples)
    assert page.value("stream_scrub_requests_total", outcome="taken") == 3
    assert page.value("stream_scrub_requests_total", outcome="refused") == 2
    assert page.value("stream_scrub_oppositions_unread") == 1
    assert page.value("stream_scrub_request_age_seconds_bucket", le="0.25") == 2
    assert page.value("stream_scrub_deltas_published_total", register="internal@acme") == 1
    assert page.value("stream_scrub_publish_seconds_count") == 1
    assert page.value("stream_scrub_files_total", outcome="refused") == 2
    assert page.value("stream_scrub_numbers_ended_total") == 7
    assert page.value("stream_scrub_requests_missed_total") == 4
    assert page.value("stream_scrub_requests_lag_records", topic="requests", partition="0") == 9
    assert page.value("stream_scrub_publisher_failures_total", cause="unavailable") == 1
    assert page.value("stream_scrub_owner") == 1
    assert page.value("stream_scrub_register_numbers", register="internal") == 2


def test_an_unknown_lag_is_no_number_and_survives_the_pipe():
    """A worker that never reached the log's end would look as if it were there."""
    collector, _, follower = worker()
    follower.lag_s = None
    told = pickle.loads(pickle.dumps(collector()))
    page = Scraped(text(lambda: [told.older(3, begun=True)]))
    assert math.isnan(page.value("stream_scrub_log_lag_seconds"))


def test_ages_grow_while_nobody_reports():
    """A process that hangs would look as fresh as its last word."""
    collector, counters, follower = worker()
    counters.heartbeat = time.monotonic() - 2
    follower.lag_s = 1.0
    page = Scraped(text(lambda: [collector().older(100, begun=True)]))
    assert page.value("stream_scrub_heartbeat_age_seconds") == pytest.approx(102, abs=1)
    assert page.value("stream_scrub_log_lag_seconds") == pytest.approx(101)
    assert page.value("stream_scrub_batches_total") == 0


def test_a_page_is_also_open_metrics_with_units():
    """A Prometheus that asks for the newer format would refuse the page."""
    collector, counters, _ = worker(index=law.index(law.register("list", [1])))
    counters.emitted(Counter({Reason.CLEAR: 1}), 0.1, 0.1, 0.1, 0.2)
    _, _, page = metrics.answer(lambda: [collector()], "", {"Accept": "application/openmetrics-text"})
    families = {family.name: family for family in open_metrics(page.decode())}
    assert families["stream_scrub_commit_seconds"].unit == "seconds"
    assert families["stream_scrub_held_seconds"].type == "counter"


@given(
    st.integers(0, 10**15),
    st.sampled_from(metric_catalogue.HOLDS),
    st.sampled_from([*Reason]),
    st.floats(0, 10**12),
)
def test_no_text_on_the_page_has_seven_digits_in_a_row(count, hold, reason, seconds):
    """A number would be on a page that everybody in the cluster can read."""
    collector, counters, _ = worker(index=law.index(law.register("list", [33612345678])))
    counters.emitted(Counter({reason: count}), seconds, seconds, seconds, seconds)
    counters.hold(hold, "the number +33 6 12 34 56 78, or 33612345678")
    counters.gave_up(Unavailable("33612345678"))
    counters.lags = {str(count % 1000): count}
    counters.position = count
    page = scraped(collector)
    for line in page.page.splitlines():
        shown = line if line.startswith("#") else line.rpartition(" ")[0]
        assert not DIGITS.search(shown), line
    assert page.samples
