"""The bench: data, broker, register, rounds of contenders, table, file, chart. `python -m bench --help`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console

from bench.harness import build_peers, command, data
from bench.harness.command import say
from bench.harness.failure import Failed
from bench.harness.paths import BENCH, RESULTS
from bench.throughput import chart, report
from bench.throughput.contenders import CONTENDERS, Contender
from bench.throughput.report import Run
from bench.throughput.stage import Stage

USUAL = (1_000_000, 5_000_000)
SMALL = (50_000, 200_000)
NAMES = ", ".join(each.id for each in CONTENDERS)


@dataclass
class Outcome:
    """What came of it. Whoever was skipped or failed has no runs, whatever it did in another round; by name, why."""

    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    own_broker: bool = True

    def fail(self, contender: Contender, why: Failed) -> None:
        """Its figures do not count, and it does not run again."""
        say(f"FAILED: {why}")
        self.failed[contender.name] = str(why)
        self.runs = [each for each in self.runs if each.contender != contender.name]


def ready(chosen: Sequence[Contender], outcome: Outcome) -> list[Contender]:
    """Those of the chosen that can run here, built."""
    found = []
    if any(each.build for each in chosen):
        say("making the peers ready: what is not there yet is fetched and built")
    for each in chosen:
        try:
            if each.build is not None:
                each.build()
            found.append(each)
        except build_peers.Unavailable as why:
            say(f"SKIPPED: {each.name}: {why}")
            outcome.skipped[each.name] = str(why)
        except Failed as why:
            outcome.fail(each, why)
    return found


def run(prospects: int, numbers: int, rounds: int, chosen: Sequence[Contender] = CONTENDERS) -> Outcome:
    """All of it. Raises NoKafka, and Failed when there is nothing to run on."""
    outcome = Outcome()
    contenders = ready(chosen, outcome)
    say(f"making {numbers:,} numbers and {prospects:,} prospects")
    register = data.register_numbers(numbers)
    leads = data.prospects(prospects, register)
    size = sum(map(len, leads.values)) / prospects
    say(f"made: {size:.0f} bytes a prospect, {leads.denied.mean():.1%} hits; starting Kafka")
    with command.kafka_and_folder() as (kafka, folder):
        outcome.own_broker = kafka.ours
        stage = Stage(kafka, folder, leads, say)
        try:
            import_s = fill(stage, register, contenders, prospects)
            contenders = [each for each in contenders if not each.lasting or _prepared(stage, each, outcome)]
            say("one bare run to warm up the broker, not counted")
            stage.run(CONTENDERS[0], 0)
            _rounds(stage, contenders, rounds, outcome)
        finally:
            stage.close()
    outcome.runs.sort(key=lambda each: [c.name for c in CONTENDERS].index(each.contender))
    outcome.settings = {
        "prospects": prospects,
        "bytes_a_prospect": round(size, 1),
        "hits": round(float(leads.denied.mean()), 4),
        "numbers": numbers,
        "partitions": data.PARTITIONS,
        "rounds": rounds,
        "import_s": round(import_s, 2),
    }
    return outcome


def fill(stage: Stage, register: NDArray[Any], contenders: Sequence[Contender], prospects: int) -> float:
    """The topics and the log; the seconds that the import took."""
    say("producing the prospects")
    inputs = {(prospects, "json")} | {(each.records(prospects), each.format) for each in contenders}
    for records, format_ in sorted(inputs):
        stage.produce(records, format_)
    say("importing the register with `stream-scrub lists import`")
    import_s = stage.load(register)
    say(f"imported {len(register):,} numbers in {import_s:.1f} s, with the command's start")
    if any(each.lasting for each in contenders):
        say("filling the compacted topic of the register")
        stage.load_table(register)
    return import_s


def _prepared(stage: Stage, contender: Contender, outcome: Outcome) -> bool:
    try:
        took_s = stage.prepare(contender)
    except Failed as why:
        outcome.fail(contender, why)
        return False
    say(f"{contender.name}: started once, {took_s:.1f} s to take the register to its disk, not counted")
    return True


def _rounds(stage: Stage, contenders: Sequence[Contender], rounds: int, outcome: Outcome) -> None:
    """There and back: whoever stands beside another in the table also runs beside it, and each is early as often as late."""
    for round_ in range(1, rounds + 1):
        for each in contenders if round_ % 2 else contenders[::-1]:
            if each.name in outcome.failed:
                continue
            try:
                outcome.runs.append(stage.run(each, round_))
            except Failed as why:
                outcome.fail(each, why)


def arguments() -> argparse.Namespace:
    """What was asked for; ends the program when that makes no sense."""
    parser = command.parser("bench", __doc__)
    parser.add_argument("--prospects", type=int, help=f"how many prospects ({USUAL[0]:,})")
    parser.add_argument("--numbers", type=int, help=f"size of the deny register ({USUAL[1]:,})")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender (3)")
    parser.add_argument("--small", action="store_true", help=f"{SMALL[0]:,} prospects, {SMALL[1]:,} numbers")
    parser.add_argument("--only", metavar="NAME,...", help=f"just these contenders, of {NAMES}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    given = parser.parse_args()
    sizes = SMALL if given.small else USUAL
    given.prospects, given.numbers = given.prospects or sizes[0], given.numbers or sizes[1]
    if min(given.prospects, given.numbers, given.rounds) < 1:
        parser.error("every number must be at least 1")
    given.contenders = choose(parser, given.only)
    return given


def choose(parser: argparse.ArgumentParser, only: str | None) -> list[Contender]:
    """The contenders that `--only` names, all without it; ends the program when there is no such contender."""
    if not only:
        return list(CONTENDERS)
    wanted = set(only.split(","))
    if unknown := wanted - {each.id for each in CONTENDERS}:
        parser.error(f"no contender {', '.join(sorted(unknown))}: there are {NAMES}")
    return [each for each in CONTENDERS if each.id in wanted]


def main() -> int:
    """The exit code: 1 when a contender failed or gave a wrong verdict, 3 without a Kafka."""
    given = arguments()

    def work() -> int:
        return tell(run(given.prospects, given.numbers, given.rounds, given.contenders), given)

    return command.ended("bench", work)


def tell(outcome: Outcome, given: argparse.Namespace) -> int:
    """Table, file and chart; the exit code."""
    if outcome.runs:
        whole = given.contenders == list(CONTENDERS)
        usual = (given.prospects, given.numbers) == USUAL
        absent = {"skipped": sorted(outcome.skipped), "failed": sorted(outcome.failed)}
        file = report.write(
            outcome.runs,
            outcome.settings,
            given.out,
            absent=absent,
            own_broker=outcome.own_broker,
            usual=usual,
            part="" if whole else "".join(f"-{each.id}" for each in given.contenders),
        )
        report.show(outcome.runs, Console(width=max(136, Console().width)))
        drawn = chart.draw(report.summary(outcome.runs), report.caption(outcome.settings))
        file.with_suffix(".svg").write_text(drawn)
        print(f"written: {file.name} and {file.stem}.svg in {given.out.name}/")
        if usual and whole and given.out == RESULTS:
            (BENCH / "chart.svg").write_text(drawn)
            print("and bench/chart.svg, which the README shows")
    for name, why in outcome.skipped.items():
        print(f"skipped: {name}: {why}")
    for name, why in outcome.failed.items():
        print(f"FAILED, and without a figure: {name}: {why}")
    return 1 if outcome.failed else 0
