"""What all benches share: their exit codes, and a file of results that can be read."""

import json

import pytest

from bench.harness import command
from bench.harness.failure import Failed, Wrong
from tests.kafka.jars import NoKafka


@pytest.mark.parametrize(
    ("raised", "code"),
    [(Failed("no"), 1), (Wrong("lost"), 1), (NoKafka("none"), 3), (KeyboardInterrupt(), 130)],
)
def test_a_bench_ends_with_the_code_of_what_happened(raised, code, capsys):
    """A job that asks for a bench would take a wrong output, or a machine without Kafka, for a figure."""

    def work():
        raise raised

    assert command.ended("bench.some", work) == code
    assert code == 130 or capsys.readouterr().err.startswith("bench.some: ")


def test_what_is_found_wrong_in_the_figures_is_said_and_ends_with_1(tmp_path, monkeypatch, capsys):
    """A soak that found a leak would pass, or have no file to look at."""
    monkeypatch.setattr("sys.argv", ["bench", "--size", "3", "--out", str(tmp_path)])
    bench = command.Bench(
        "bench.some",
        "About it.",
        "-some",
        lambda parser: parser.add_argument("--size", type=int),
        lambda given: ({"size": given.size, "too_much": ["it grew"]}, True),
        lambda content, console: console.print(content["size"]),
        wrong=lambda content: content["too_much"],
    )

    assert bench.main() == 1

    (file,) = tmp_path.glob("*-some.json")
    said = capsys.readouterr()
    assert json.loads(file.read_text())["size"] == 3
    assert "bench.some: it grew" in said.err and file.name in said.out
