"""The demo's summary and its view: live on a terminal, or one JSON document for machines.

Phone numbers are never shown, only how many there are.
"""

import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stream_scrub.demo.leads import WrittenList
from stream_scrub.demo.play import Play
from stream_scrub.files.summary import REASONS
from stream_scrub.imports.import_list import ImportEffect
from stream_scrub.model import Reason, Verdict
from stream_scrub.terminal import machine, styled
from stream_scrub.terminal.console import People

_ENFORCED_S = 1.0  # the promise: a delta is enforced by every worker within a second
_BAR = 32
_COLOURS = {Verdict.ALLOWED: "green", Verdict.BLOCKED: "red"}
SHOWN = (
    "What you see: leads go into a Kafka, the worker tests each phone number against lists of people who may not be"
    " called, each lead comes out once, allowed or blocked, and a checker that knows the truth compares every verdict."
)
WORDS = (
    ("produced", "leads sent to the topic prospects"),
    ("scrubbed", "leads that came out with a verdict"),
    ("allowed", "may be called; under it the reasons"),
    ("blocked", "may not be called; under it the reasons"),
    ("stamp", "the verdict with its reason and evidence, which the worker writes into the lead"),
    ("latency", "from a lead's sending until its verdict can be read; p99: 99 of 100 take less"),
    ("index", "the lists in the worker's memory; position: how far of the log of all changes"),
    ("registers", "the lists, with how many numbers each holds"),
    ("delta", "a change of a list, here new opt-outs that arrive midway"),
    ("recalled", "leads that were allowed before and are taken back, because the person has opted out since"),
    ("checked", "how many verdicts are not what the lists and the law say"),
)
# Each works as it is printed, line after line, in one shell. The first three need no Kafka.
NEXT = (
    ("make a list of opt-outs, and a file of leads", "printf 'phone\\n06 12 34 56 78\\n' > opt-outs.csv"),
    ("", "printf 'phone\\n06 12 34 56 78\\n06 12 34 56 80\\n' > leads.csv"),
    (
        "scrub the file, without Kafka",
        "{command} file leads.csv -o scrubbed --list internal=opt-outs.csv --purpose insurance",
    ),
    ("try the check API, without Kafka, until Ctrl-C", "{command} serve --trial"),
    ("or on a Kafka of your own", "export STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS=localhost:9092"),
    ("make its topics", "{command} topics"),
    ("import the list", "{command} lists import opt-outs.csv --register internal"),
    ("ask about one number", "{command} check '06 12 34 56 78' --purpose insurance"),
    ("scrub the stream, until Ctrl-C", "{command} worker"),
)


class Check(NamedTuple):
    """One line of the summary. `excuse` says why a failed check does not fail the demo: the machine had no free
    processor, so something took too long. A wrong verdict has no excuse."""

    name: str
    ok: bool
    found: str
    excuse: str = ""


class DemoSummary(NamedTuple):
    """The demo's result."""

    checks: tuple[Check, ...]
    figures: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds, or has its excuse."""
        return all(check.ok or check.excuse for check in self.checks)


def summary(play: Play, lists: Sequence[WrittenList], dropped: Mapping[str, int]) -> DemoSummary:
    """The summary of the whole demo. `lists`: the delta's last. `dropped`: how many records of each topic the broker
    dropped."""
    checker, worker, sent = play.checker, play.worker_state, len(play.checker.sent)
    imports = [*play.imports, *([play.published.effect] if play.published is not None else [])]

    def check(name: str, found: str, *faults: str, ok: bool = True) -> Check:
        wrong = "".join(f"; {checker.faults[fault]:,} {fault}" for fault in faults if checker.faults[fault])
        return Check(name, ok and not wrong, found + wrong)

    came_out = f"{sent:,} sent, {checker.taken:,} came out"
    if play.undelivered:
        came_out += f"; {play.undelivered:,} never reached the broker"
    if worker.aborts:
        came_out += (
            f" (the worker gave up {worker.aborts} batches, whose records this broker shows all the same)"
        )
    all_out = 0 < sent == checker.taken and not play.undelivered
    counted = Counter(worker.reasons)
    differing = sorted(each for each in counted | checker.reasons if counted[each] != checker.reasons[each])
    counts = (
        f"{counted.total():,} by the worker's counters, {checker.reasons.total():,} read, by reason alike"
    )
    if differing:
        counts = f"the worker's counters differ for {', '.join(differing)}"
    pairs = zip(imports, lists, strict=False)
    short = [each.register for each, made in pairs if (each.added, each.refused) != (made.numbers, made.bad)]
    totals = f"{sum(each.added for each in imports):,} numbers in {len(imports)} imports"
    lost = sum(dropped.values())
    checks = (
        check(*("every prospect came out exactly once", came_out, "lost", "twice", "never sent"), ok=all_out),
        check(
            "no opposed number was allowed",
            f"{checker.reasons['opposed']:,} blocked as opposed",
            "opposed but allowed",
        ),
        check(
            "every verdict is the right one",
            f"{checker.checked:,} compared with the lists at their stamp's position",
            *("wrong verdict", "wrong topic", "unknown position", "stamp unreadable"),
        ),
        check(
            "nothing else was changed",
            "bytes around the stamp, keys, headers",
            *("bytes changed", "key changed", "headers changed"),
        ),
        check(
            "order was kept",
            "ids and positions only ascend in each output partition",
            *("out of order", "position went back", "key in two partitions"),
        ),
        check("the counts add up", counts, ok=not differing),
        check("the registers hold what the lists hold", ", ".join(short) or totals, ok=not short),
        _enforced(play),
        check(
            "every lead of those who opted out was taken back",
            _taken_back(play),
            *("not taken back", "taken back for nothing", "wrong recall"),
            ok=checker.handed_out.leads > 0,
        ),
        # Without this check, "nothing lost" might only mean that the broker had dropped it.
        check("the broker kept everything", f"{lost:,} records dropped by its retention", ok=not lost),
    )
    return DemoSummary(checks, _figures(play, imports), tuple(play.log_lines.last()))


def _enforced(play: Play) -> Check:
    name = "the delta was enforced within a second"
    first, blocked = play.delays()
    if first is None or blocked is None:
        return Check(name, False, "not seen" if play.published else "there was none")
    finding = f"first verdict by it {first:.2f} s after the import, first block {blocked:.2f} s"
    finding += f"; {play.checker.judged_after:,} judged by it"
    excess_s = first - _ENFORCED_S
    if excess_s <= 0 or play.waited_s < excess_s:
        return Check(name, excess_s <= 0, finding)
    why = f"the machine was busy: the demo's threads waited {play.waited_s:.2f} s for a processor"
    return Check(name, False, finding, why)


def _taken_back(play: Play) -> str:
    handed_out, published = play.checker.handed_out, play.published
    finding = f"{handed_out.leads:,} leads of {handed_out.people:,} people, by {handed_out.recalls:,} recalls"
    if handed_out.last_at is None or published is None:
        return finding
    return (
        f"{finding}, the last {max(0.0, handed_out.last_at - published.returned_at):.2f} s after the import"
    )


def _figures(play: Play, imports: Sequence[ImportEffect]) -> dict[str, Any]:
    first, blocked = play.delays()
    checker, sent = play.checker, len(play.checker.sent)
    return {
        "seconds": round(play.sent_s, 1),
        "produced": sent,
        "scrubbed": checker.taken,
        "per_s": round(sent / play.sent_s) if play.sent_s else 0,
        "reasons": dict(sorted(checker.reasons.items())),
        "faults": dict(checker.faults),
        "latency_ms": {f"p{share}": play.latency_ms(share / 100) for share in (50, 99)},
        "index": play.worker_state.position,
        "imports": [asdict(effect) for effect in imports],
        "recall": {
            "leads": checker.handed_out.leads,
            "people": checker.handed_out.people,
            "recalls": checker.handed_out.recalls,
        },
        "delta": {"first_verdict_s": first, "first_blocked_s": blocked, "judged_by_it": checker.judged_after},
    }


class View:
    """Shows the demo on a console: drawn again and again on a terminal, elsewhere once at the end. With `as_json` nothing
    but one document at the end."""

    def __init__(self, console: People, *, as_json: bool = False) -> None:
        self._console = console
        self._as_json = as_json
        console.print(SHOWN)
        console.print()
        for word, meaning in WORDS:
            console.print(f"  {word:<10}", styled(meaning, "dim"))
        console.print()
        self._live = Live(console=console, auto_refresh=False)
        self._status = console.status("starting")
        self._status.start()

    def step(self, text: str) -> None:
        """Something of the preparation begins: a terminal shows it next to a spinner."""
        self._status.update(styled(text, ""))

    def done(self, text: str) -> None:
        """Something of the preparation is done."""
        self._console.print(text)

    def imported(self, effect: ImportEffect) -> None:
        """A register is on the log."""
        refused = f", {effect.refused:,} lines refused" if effect.refused else ""
        size = f"{effect.count:>9,} numbers in {effect.took_s:.2f} s{refused}"
        self.done(f"  {effect.register:<9} {effect.kind:<5} {size}")

    def update(self, play: Play) -> None:
        """How it stands; called several times a second."""
        self._status.stop()
        self._live.start()
        self._live.update(_screen(play), refresh=True)

    def end(self, result: DemoSummary) -> None:
        """The summary under the view as it stood last."""
        self.close()
        if self._as_json:
            checks = [check._asdict() for check in result.checks]
            machine({"ok": result.ok, **result.figures, "checks": checks, "warnings": result.warnings})
        else:
            _print_summary(self._console, result)

    def close(self) -> None:
        """Leave the terminal as it was. Safe to call twice."""
        self._status.stop()
        self._live.stop()


def _screen(play: Play) -> Padding:
    head = Table.grid(padding=(0, 3))
    head.add_row(
        Text(f"{play.elapsed_s:4.1f} s of {play.plan.seconds:.0f}", style="bold"),
        _bold("produced ", len(play.checker.sent)),
        _bold("scrubbed ", play.checker.taken),
        _bold("", play.per_s, "/s"),
    )
    foot = Table.grid(padding=(0, 2))
    read = f" ms from sent to read, p99 {play.latency_ms(0.99)} ms"
    foot.add_row("latency", _bold("", play.latency_ms(0.5), read))
    foot.add_row("index", _bold("position ", play.worker_state.position))
    registers = "  ".join(f"{name} {count:,}" for name, count in play.registers.items())
    foot.add_row("registers", styled(registers, ""))
    foot.add_row("delta", styled(play.delta_line or "a list of new opt-outs comes midway", "yellow"))
    foot.add_row(
        "recalled", styled(_taken_back(play) if play.checker.handed_out.recalls else "nothing yet", "")
    )
    wrong = play.checker.faults.total()
    foot.add_row(
        "checked", styled(f"{wrong:,} wrong" if wrong else "none wrong", "bold red" if wrong else "green")
    )
    if play.note:
        foot.add_row("log", styled(play.note, "dim"))
    return Padding(Group(head, Text(), _bars(play), Text(), foot), (1, 2))


def _bold(before: str, count: int, after: str = "") -> Text:
    return Text.assemble(before, (f"{count:,}", "bold"), after)


def _bars(play: Play) -> Table:
    """A row for each verdict, and under it one for each of its reasons that occurred."""
    total = max(1, play.checker.reasons.total())
    table = Table.grid(padding=(0, 2))
    for width, justify in ((18, "left"), (11, "right"), (7, "right"), (_BAR, "left")):
        table.add_column(width=width, justify=justify)  # type: ignore[arg-type]  # one of rich's words
    for verdict, colour in _COLOURS.items():
        counts = play.checker.reasons
        reasons = [reason for reason in Reason if reason.verdict is verdict and counts[reason]]
        total_of = sum(counts[reason] for reason in reasons)
        rows = [(str(verdict), total_of, f"bold {colour}", f"bold {colour}")]
        rows += [(f"  {reason}", counts[reason], "", colour) for reason in reasons]
        for name, count, style, bar_style in rows:
            bar = Text("█" * round(_BAR * count / total), style=bar_style)
            table.add_row(Text(name, style=style), f"{count:,}", f"{count / total:.1%}", bar)
    return table


def _mark(check: Check) -> Text:
    if check.ok:
        return styled("ok    ", "green")
    return styled("late  ", "yellow") if check.excuse else styled("NOT ok", "bold red")


def _print_summary(console: People, summary: DemoSummary) -> None:
    """Under each check its figures, so that eighty columns are enough."""
    console.print()
    console.print("  What each reason says:")
    for reason in summary.figures["reasons"]:
        console.print(f"    {reason:<16}", styled(REASONS[Reason(reason)], "dim"))
    console.print()
    for check in summary.checks:
        console.print(" ", _mark(check), styled(f" {check.name}", "bold"))
        for line in filter(None, (check.found, check.excuse)):
            console.print("         ", styled(line, "dim"))
    for warning in () if summary.ok else summary.warnings:
        console.print(f"  log: {warning}")
    result = styled("NOT every check holds", "bold red")
    if summary.ok:
        late = any(check.excuse for check in summary.checks)
        result = styled("every check of what is true holds" if late else "every check holds", "green")
    console.print()
    console.print(Text.assemble("  ", result, ". Next:"))
    console.print()
    for purpose, command in NEXT:
        if purpose:
            console.print("   ", styled(f"# {purpose}", "dim"))
        console.print(f"    {command.format(command=_command())}")


def _command() -> str:
    """How this program is called here: by its name, if the shell finds it, else by its path."""
    command_path = shutil.which("stream-scrub")
    if command_path is not None and Path(command_path).resolve() == Path(sys.argv[0]).resolve():
        return "stream-scrub"
    path = Path(sys.argv[0])
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
