"""The bench goes on without a contender that fails or cannot be had, and says so."""

import argparse
import json
import re
from pathlib import Path

from bench.harness import build_peers
from bench.harness.failure import Failed
from bench.throughput import run as bench
from bench.throughput.contenders import CONTENDERS, Contender
from bench.throughput.report import Run
from tests.unit.bench.test_report import FIGURES, SETTINGS

ROOT = Path(__file__).parents[3]


class FakeStage:
    """Runs nothing; whoever is named gives a wrong output in that round."""

    def __init__(self, **wrong: int) -> None:
        self._wrong = wrong
        self.ran: list[tuple[str, int]] = []

    def run(self, contender: Contender, round_: int) -> Run:
        self.ran.append((contender.id, round_))
        if self._wrong.get(contender.id) == round_:
            raise Failed(f"{contender.name}: its output is WRONG")
        return Run(contender.name, round_, FIGURES)


def given(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        prospects=1_000_000, numbers=5_000_000, out=tmp_path, contenders=list(CONTENDERS)
    )


def test_a_wrong_contender_gets_no_figure_and_the_others_do(tmp_path: Path, capsys) -> None:
    """One wrong verdict in the last round would be hidden behind two good ones, or cost everybody's figures."""
    stage, outcome = FakeStage(quix=2), bench.Outcome(settings=SETTINGS)

    bench._rounds(stage, CONTENDERS, 3, outcome)
    code = bench.tell(outcome, given(tmp_path))

    assert code == 1
    assert {each.contender for each in outcome.runs} == {c.name for c in CONTENDERS} - {"Quix Streams"}
    assert ("quix", 3) not in stage.ran
    assert "FAILED, and without a figure: Quix Streams" in capsys.readouterr().out
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["failed"] == ["Quix Streams"]
    assert len(list(tmp_path.glob("*.svg"))) == 1


def test_a_peer_that_cannot_be_had_is_skipped_and_said(tmp_path: Path, capsys) -> None:
    """Without Java or a registry the bench would end, or leave a contender out without a word."""

    def fetch() -> None:
        raise build_peers.Unavailable("pip ended with 1: no network")

    absent = Contender("absent", "Absent", "peer", lambda _: [], build=fetch)
    outcome = bench.Outcome(settings=SETTINGS)

    contenders = bench.ready([CONTENDERS[0], absent], outcome)
    bench._rounds(FakeStage(), contenders, 1, outcome)
    code = bench.tell(outcome, given(tmp_path))

    assert code == 0
    assert contenders == [CONTENDERS[0]]
    assert "skipped: Absent: pip ended with 1: no network" in capsys.readouterr().out


def test_a_peer_that_does_not_compile_fails_the_bench() -> None:
    """A broken peer would be taken for one that cannot be fetched, and nobody would repair it."""

    def compile_() -> None:
        raise Failed("mvn says COMPILATION ERROR")

    outcome = bench.Outcome()

    assert bench.ready([Contender("x", "X", "peer", lambda _: [], build=compile_)], outcome) == []
    assert outcome.failed == {"X": "mvn says COMPILATION ERROR"}


def test_the_python_peer_is_pinned_by_hash_and_names_no_index() -> None:
    """The figures of two machines would be of two versions, or need one company's mirror."""
    content = (ROOT / "bench/peers/quix/requirements.txt").read_text()
    lines = re.sub(r"(?m)^\s*#.*$", "", content).replace("\\\n", " ").splitlines()
    wanted = [line.strip() for line in lines if line.strip()]

    assert len(wanted) > 10
    for line in wanted:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", line), line[:60]
        assert "--hash=sha256:" in line, line[:60]
        assert "://" not in line, line[:60]
