"""From the bench's runs to its table, file and chart: what a reader quotes."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from bench.harness.contender_commands import BARE, WORKER
from bench.harness.runner import Figures
from bench.throughput import chart, report
from bench.throughput.contenders import CONTENDERS
from bench.throughput.report import Run

SVG = "{http://www.w3.org/2000/svg}"
FIGURES = Figures(
    records=1_000_000,
    records_after_first_commit=900_000,
    records_late=500_000,
    wall_s=3.0,
    startup_cpu_s=0.1,
    work_cpu_s=2.0,
    late_cpu_s=1.0,
    life_cpu_s=2.2,
    startup_s=0.5,
    work_s=3.5,
    stop_s=0.1,
    peak_mb=150.0,
    broker_cpu_s=1.0,
    others_cpu_s=0.0,
    stolen_s=0.0,
)


def run(name: str, round_: int, us: float, late_us: float | None = None) -> Run:
    figures = replace(FIGURES, work_cpu_s=us, late_cpu_s=(us if late_us is None else late_us) / 2)
    return Run(name, round_, figures)


RUNS = [
    *(run(BARE, each, 2.0) for each in (1, 2, 3)),
    *(run(WORKER, each, us) for each, us in ((1, 3.0), (2, 3.2), (3, 2.8))),
    *(run("Kafka Streams, expert", each, 15.0, 10.0) for each in (1, 2, 3)),
    *(run("Quix <&>", each, 160.0) for each in (1, 2, 3)),
]
SETTINGS = {"prospects": 1_000_000, "bytes_a_prospect": 220.4, "numbers": 5_000_000, "rounds": 3}


def test_a_ratio_is_of_one_round() -> None:
    """A machine that was slower in one round would make a contender look slower than another."""
    found = report.summary([run(BARE, 1, 2.0), run(BARE, 2, 4.0), run(WORKER, 1, 3.0), run(WORKER, 2, 6.0)])

    assert found[WORKER]["cpu_ratio"] == {"median": 1.5, "min": 1.5, "max": 1.5}
    assert found[BARE]["cpu_ratio_to_worker"]["median"] == pytest.approx(2 / 3, abs=0.001)


def test_a_jit_compiler_gets_its_warm_figure() -> None:
    """Java would be shown slower than it runs for days, and nobody would believe the table."""
    found = report.summary(RUNS)["Kafka Streams, expert"]

    assert found["cpu_us_a_record"]["median"] == 15.0
    assert found["cpu_us_a_record_late"]["median"] == 10.0
    assert found["cpu_ratio_to_worker"]["median"] == 5.0
    assert found["cpu_ratio_late_to_worker"]["median"] == pytest.approx(3.333, abs=0.001)


def test_the_chart_is_well_formed_and_has_every_name_and_figure() -> None:
    """The README would show a broken picture, or one that says something else than the table."""
    drawn = chart.draw(report.summary(RUNS), report.caption(SETTINGS))

    root = ET.fromstring(drawn)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert root.tag == f"{SVG}svg"
    for name in (BARE, WORKER, "Kafka Streams, expert", "Quix <&>"):
        assert name in texts
    for figure in ("2.00", "3.00", "15.0", "10.0", "160"):
        assert figure in texts
    assert "prefers-color-scheme: dark" in drawn


def test_the_chart_has_room_for_every_contender() -> None:
    """A bar or a name would run out of the picture."""
    runs = [run(each.name, 1, 2.0 * 2**at) for at, each in enumerate(CONTENDERS)]

    root = ET.fromstring(chart.draw(report.summary(runs), report.caption(SETTINGS)))

    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) <= height
    cut = [shape for shape in root.iter(f"{SVG}polygon") if shape.attrib["class"] == "gap"]
    assert cut, "the longest bars are cut, and it shows"


def test_twice_the_cost_is_twice_the_bar() -> None:
    """A reader who compares lengths would be misled."""
    root = ET.fromstring(chart.draw(report.summary(RUNS[:9]), "one\ntwo"))

    bars = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect") if "late" in bar.attrib["class"]]
    assert bars[2] / bars[0] == pytest.approx(10.0 / 2.0, rel=0.01)
    assert bars[1] / bars[0] == pytest.approx(3.0 / 2.0, rel=0.01)
