"""The bench goes on without a contender that fails or cannot be had, and says so."""

import argparse
import json
import re
from pathlib import Path

import pytest

from bench.harness import build_peers
from bench.harness.failure import Failed
from bench.throughput import run as bench
from bench.throughput.contenders import CONTENDERS, FEWEST, Contender
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


def test_rounds_go_there_and_back() -> None:
    """Whoever always comes last would always get the fuller disk and the warmer machine."""
    stage = FakeStage()

    bench._rounds(stage, CONTENDERS[:3], 2, bench.Outcome())

    assert [name for name, _ in stage.ran] == ["bare", "value", "header", "header", "value", "bare"]


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


@pytest.mark.parametrize("only", ["", "quix,bare"])
def test_only_chooses_contenders(only: str, monkeypatch) -> None:
    """Whoever tunes one contender would have to wait for all of them."""
    monkeypatch.setattr("sys.argv", ["bench", "--small", *(["--only", only] if only else [])])

    chosen = [each.id for each in bench.arguments().contenders]

    assert chosen == (["bare", "quix"] if only else [each.id for each in CONTENDERS])


def test_an_unknown_contender_is_refused_with_the_known_ones(monkeypatch, capsys) -> None:
    """A typing error would run nothing for minutes."""
    monkeypatch.setattr("sys.argv", ["bench", "--only", "kafka"])

    with pytest.raises(SystemExit):
        bench.arguments()

    assert "no contender kafka: there are bare, value" in capsys.readouterr().err


def test_a_slow_contender_gets_its_share() -> None:
    """Faust alone would take minutes for all prospects; and of a tiny bench it would see nothing."""
    faust = next(each for each in CONTENDERS if each.id == "faust")

    assert faust.records(1_000_000) == 30_000
    assert faust.records(50_000) == FEWEST
    assert faust.records(500) == 500


def test_a_peer_is_built_once_for_its_sources(tmp_path: Path, monkeypatch) -> None:
    """Each bench would fetch for minutes, or measure yesterday's sources."""
    monkeypatch.setattr(build_peers, "CACHE", tmp_path / "cache")
    source = tmp_path / "pom.xml"
    source.write_text("one")

    def needed() -> bool:
        with build_peers._making(tmp_path / "cache/peer", [source]) as answer:
            if answer:
                (tmp_path / "cache/peer").mkdir()
            return answer

    assert [needed(), needed()] == [True, False]
    source.write_text("two")
    assert [needed(), needed()] == [True, False]


def test_a_build_that_failed_is_tried_again(tmp_path: Path, monkeypatch) -> None:
    """A broken connection would leave half an environment that is taken for a whole one."""
    monkeypatch.setattr(build_peers, "CACHE", tmp_path / "cache")

    def make() -> None:
        with build_peers._making(tmp_path / "cache/peer", []) as needed:
            assert needed
            build_peers._run(["no-such-tool"])

    for _ in range(2):
        with pytest.raises(build_peers.Unavailable, match="no-such-tool"):
            make()


@pytest.mark.parametrize("peer", ["quix", "faust"])
def test_peers_are_pinned_by_hash_and_name_no_index(peer: str) -> None:
    """The figures of two machines would be of two versions, or need one company's mirror."""
    content = (ROOT / f"bench/peers/{peer}/requirements.txt").read_text()
    lines = re.sub(r"(?m)^\s*#.*$", "", content).replace("\\\n", " ").splitlines()
    wanted = [line.strip() for line in lines if line.strip()]

    assert len(wanted) > 10
    for line in wanted:
        assert re.match(r"[A-Za-z0-9._-]+==\S+ ", line), line[:60]
        assert "--hash=sha256:" in line, line[:60]
        assert "://" not in line, line[:60]
