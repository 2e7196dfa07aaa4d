"""What the demo shows: a live view on a terminal, lines elsewhere, or one JSON document for machines.

Phone numbers are never shown, only how many there are.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stream_scrub.model import Reason, Verdict
from stream_scrub.publisher.import_list import ImportEffect
from stream_scrub.terminal import People, machine, styled

_LINE_EVERY_S = 2.0
_BAR = 32
_COLOURS = {Verdict.ALLOWED: "green", Verdict.BLOCKED: "red"}
NEXT = (
    ("see every promise tested", "make test"),
    ("point it at a Kafka of your own", "export STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS=localhost:9092"),
    ("say what your calls are for", "export STREAM_SCRUB_PROSPECT__DEFAULT_PURPOSE=insurance"),
    ("make its topics", "stream-scrub topics"),
    ("import your list", "stream-scrub lists import my-list.csv --register internal"),
    ("scrub", "stream-scrub worker"),
    ("ask about one number", "stream-scrub check +33612345678"),
)


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """What the view shows at one moment."""

    elapsed_s: float = 0.0
    of_s: float = 0.0
    produced: int = 0
    scrubbed: int = 0
    per_s: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    position: int = -1
    registers: tuple[tuple[str, str, int], ...] = ()
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    faults: int = 0
    delta: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the summary: what must hold, whether it does, and by which figures. `excuse` says why a failed
    check does not fail the demo: the machine had no free processor, so something took too long. A wrong verdict has
    no excuse.
    """

    name: str
    ok: bool
    found: str
    excuse: str = ""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The demo's result."""

    checks: tuple[Check, ...]
    figures: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds, or has its excuse."""
        return all(check.ok or check.excuse for check in self.checks)


class Show(Protocol):
    """Where the demo shows itself. One thread."""

    def step(self, text: str) -> None:
        """Something of the preparation begins."""

    def done(self, text: str) -> None:
        """Something of the preparation is done."""

    def imported(self, made: ImportEffect) -> None:
        """A register is on the log."""

    def update(self, figures: LiveFigures) -> None:
        """How it stands; called several times a second."""

    def end(self, summary: DemoSummary) -> None:
        """The summary, once, at the very end."""

    def close(self) -> None:
        """Leave the terminal as it was. Safe to call twice."""


class JsonView:
    """Nothing but one JSON document at the end."""

    def step(self, text: str) -> None:
        """Nothing."""

    def done(self, text: str) -> None:
        """Nothing."""

    def imported(self, made: ImportEffect) -> None:
        """Nothing."""

    def update(self, figures: LiveFigures) -> None:
        """Nothing."""

    def end(self, summary: DemoSummary) -> None:
        """The document."""
        shown = {
            "ok": summary.ok,
            **summary.figures,
            "checks": summary.checks,
            "warnings": summary.warnings,
        }
        machine(shown)

    def close(self) -> None:
        """Nothing."""


class LinesView:
    """Lines of text, as for a log of a build: what is done, how it stands every two seconds, the summary."""

    def __init__(self, console: People) -> None:
        self._console = console
        self._said_s = 0.0
        self._said: set[str] = set()
        self._last: LiveFigures | None = None

    def step(self, text: str) -> None:
        """Nothing: the line comes when it is done."""

    def done(self, text: str) -> None:
        """A line."""
        self._console.print(text)

    def imported(self, made: ImportEffect) -> None:
        """A line."""
        self.done(_import_line(made))

    def update(self, figures: LiveFigures) -> None:
        """A line every two seconds."""
        self._last = figures
        if figures.elapsed_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = figures.elapsed_s
            self._tell(figures)

    def _tell(self, figures: LiveFigures) -> None:
        self.done(_line(figures))
        for text in (figures.delta, figures.note):
            if text and text not in self._said:
                self._said.add(text)
                self.done(f"         {text}")

    def end(self, summary: DemoSummary) -> None:
        """What came since the last line, and the summary."""
        if self._last is not None and self._last.elapsed_s > self._said_s:
            self._tell(self._last)
        _print_summary(self._console, summary)

    def close(self) -> None:
        """Nothing."""


class ScreenView(LinesView):
    """A view that stays in its place on a terminal."""

    def __init__(self, console: People) -> None:
        super().__init__(console)
        self._live: Live | None = None
        self._status = console.status("starting")
        self._status.start()

    def step(self, text: str) -> None:
        """Beside a spinner."""
        self._status.update(styled(text, ""))

    def update(self, figures: LiveFigures) -> None:
        """The view, drawn again."""
        if self._live is None:
            self._status.stop()
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(_screen(figures), refresh=True)

    def end(self, summary: DemoSummary) -> None:
        """The summary under the view as it stood last."""
        self.close()
        super().end(summary)

    def close(self) -> None:
        """Stop drawing, show the cursor again."""
        self._status.stop()
        if self._live is not None:
            self._live.stop()


def show_for(*, as_json: bool) -> Show:
    """The one that fits where the output goes."""
    if as_json:
        return JsonView()
    console = People()
    return ScreenView(console) if console.is_terminal else LinesView(console)


def _import_line(made: ImportEffect) -> str:
    refused = f", {made.refused:,} lines refused" if made.refused else ""
    return f"  {made.register:<9} {made.kind:<5} {made.count:>9,} numbers in {made.took_s:.2f} s{refused}"


def _of(figures: LiveFigures, verdict: Verdict) -> int:
    return sum(count for reason, count in figures.reasons.items() if Reason(reason).verdict is verdict)


def _line(f: LiveFigures) -> str:
    line = (
        f"{f.elapsed_s:5.1f} s  produced {f.produced:,}  scrubbed {f.scrubbed:,}  {f.per_s:,}/s"
        f"  allowed {_of(f, Verdict.ALLOWED):,}  blocked {_of(f, Verdict.BLOCKED):,}  index {f.position}"
        f"  p50 {f.p50_ms:.0f} ms  p99 {f.p99_ms:.0f} ms"
    )
    return f"{line}  WRONG {f.faults:,}" if f.faults else line


def _screen(f: LiveFigures) -> Padding:
    head = Table.grid(padding=(0, 3))
    head.add_row(
        Text(f"{f.elapsed_s:4.1f} s of {f.of_s:.0f}", style="bold"),
        _bold("produced ", f.produced),
        _bold("scrubbed ", f.scrubbed),
        _bold("", f.per_s, "/s"),
    )
    sizes = "  ".join(f"{name} {count:,}" for name, _, count in f.registers)
    foot = Table.grid(padding=(0, 2))
    foot.add_row("latency", _bold("", round(f.p50_ms), f" ms from sent to read, p99 {f.p99_ms:.0f} ms"))
    foot.add_row("index", _bold("position ", f.position))
    foot.add_row("registers", styled(sizes, ""))
    foot.add_row("delta", styled(f.delta or "a list of new opt-outs comes midway", "yellow"))
    wrong = Text(f"{f.faults:,} wrong", style="bold red") if f.faults else Text("none wrong", style="green")
    foot.add_row("checked", wrong)
    if f.note:
        foot.add_row("log", styled(f.note, "dim"))
    return Padding(Group(head, Text(), _bars(f), Text(), foot), (1, 2))


def _bold(before: str, count: int, after: str = "") -> Text:
    return Text.assemble(before, (f"{count:,}", "bold"), after)


def _bars(f: LiveFigures) -> Table:
    """A row for each verdict, and under it one for each of its reasons that occurred."""
    total = max(1, sum(f.reasons.values()))
    table = Table.grid(padding=(0, 2))
    table.add_column(width=18)
    table.add_column(justify="right", width=11)
    table.add_column(justify="right", width=7)
    table.add_column(width=_BAR)

    def row(name: str, count: int, style: str, colour: str) -> None:
        bar = Text("█" * round(_BAR * count / total), style=colour)
        table.add_row(Text(name, style=style), f"{count:,}", f"{count / total:.1%}", bar)

    for verdict, colour in _COLOURS.items():
        bold = f"bold {colour}"
        row(str(verdict), _of(f, verdict), bold, bold)
        for reason in Reason:
            if reason.verdict is verdict and f.reasons[reason]:
                row(f"  {reason}", f.reasons[reason], "", colour)
    return table


def _mark(check: Check) -> Text:
    if check.ok:
        return styled("ok    ", "green")
    return styled("late  ", "yellow") if check.excuse else styled("NOT ok", "bold red")


def _print_summary(console: People, summary: DemoSummary) -> None:
    """Under each check its figures, so that eighty columns are enough."""
    console.print()
    for check in summary.checks:
        console.print(" ", _mark(check), styled(f" {check.name}", "bold"))
        for line in filter(None, (check.found, check.excuse)):
            console.print("         ", styled(line, "dim"))
    for warning in () if summary.ok else summary.warnings:
        console.print(f"  log: {warning}")
    said = styled("NOT every check holds", "bold red")
    if summary.ok:
        late = any(check.excuse for check in summary.checks)
        said = styled("every check of what is true holds" if late else "every check holds", "green")
    console.print()
    console.print(Text.assemble("  ", said, ". Next:"))
    console.print()
    for what, command in NEXT:
        console.print("   ", styled(f"# {what}", "dim"))
        console.print(f"    {command}")
