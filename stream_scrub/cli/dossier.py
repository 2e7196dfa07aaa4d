"""`dossier` and `report`: what an authority, or a person, asks about a number, and a month of verdicts."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_scrub import terminal
from stream_scrub.cli.evidence import Number, Region, history_lines
from stream_scrub.cli.options import Invocation, option, quiet_log
from stream_scrub.clock import utc_seconds, zone
from stream_scrub.errors import ConfigError, ScrubError
from stream_scrub.languages import ENGLISH, read_in
from stream_scrub.texts import masked

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.queries.dossier import Dossier
    from stream_scrub.queries.month_report import MonthReport


def dossier(
    call: Invocation,
    number: Number,
    first: Annotated[
        str, option("--from DAY", "The first day, as in 2026-11-12; without days, everything that is held.")
    ] = "",
    last: Annotated[str, option("--to DAY", "The last day; default: the first.")] = "",
    campaign: Annotated[str, option("NAME", "Only verdicts and calls of this campaign.")] = "",
    case: Annotated[str, option("TEXT", "Case number of who asks, for the page.")] = "",
    language: Annotated[str, option("CODE", "Language: en, fr, de, it, es.")] = ENGLISH,
    region: Region = None,
    out: Annotated[Path | None, option("--out -o FILE", "Write it as a page to print.")] = None,
    results: Annotated[
        list[Path] | None,
        option(
            "--results DIR", "A folder with the results of a file: its leads were released. May be repeated."
        ),
    ] = None,
) -> None:
    """Was a call to a number lawful on each day, and why? Without days: what is held on it. Exit 1 if a verdict cannot be reproduced from the log."""
    from stream_scrub.queries import check
    from stream_scrub.queries import dossier as dossiers
    from stream_scrub.queries.dossier_files import build

    settings = call.settings()
    if last and not first:
        raise ConfigError(
            ["--from: give the first day too, or no day for everything that is held on the number"]
        )
    begins, ends = (
        check.noon(day, name).date() if day else None
        for day, name in ((first, "--from"), (last or first, "--to"))
    )
    more = {"campaign": campaign, "case": case, "language": language}
    about = build.request_of(settings, number, region, begins, ends, **more)
    with call.progress() as progress:
        result = dossiers.gather(settings, quiet_log(settings), about, progress, results or ())
    call.write(result, show_dossier)
    if out is not None:
        from stream_scrub.queries.dossier_files import dossier_page
        from stream_scrub.timestamps import SUFFIX, Timestamps

        try:
            out.write_text(dossier_page.rendered(result), encoding="utf-8")
        except OSError as error:
            why = error.strerror or "cannot be written"
            raise ConfigError([f"--out {masked(str(out))}: {why}"]) from error
        if server := Timestamps.of(settings.evidence):
            try:
                answer, at = server.stamp(out.read_bytes())
                out.with_name(out.name + SUFFIX).write_bytes(answer)
                note = f"{out}{SUFFIX}: the timestamp of the page, {utc_seconds(at)}"
            except (ScrubError, OSError) as error:
                note = f"{out} has no timestamp: {error}"
            terminal.people(stderr=True).print(note)
        terminal.people(stderr=True).print(f"{out}: open it in a browser to read or print it")
    proven = all(each.explanation is not None and each.explanation.same for each in result.verdicts)
    raise typer.Exit(0 if proven else 1)


def show_dossier(made: "Dossier") -> None:
    """Print the answer, the days, the verdicts, the history, and what else was found."""
    console, history = terminal.people(), history_lines(made.changes, made.registers)
    gone = [
        f"gone: what was on {each.topic} before {each.before}. Kafka has deleted it, at least in part"
        for each in made.gone
    ]
    with read_in(made.language, zone(made.times_of)):
        days = list(_days(made))
    for line in (*gone, *made.answer, *days, *_verdicts(made), *history, *_calls(made)):
        console.print(line)
    for sentence in made.not_proven:
        console.print(f"not proven: {sentence}")


def _days(made: "Dossier") -> Iterator[str]:
    from stream_scrub.queries.lawful_days import merged, span, summary

    for first, last, answer in merged(made.days):
        yield f"{span(first, last)}: {summary(answer)}; {answer.says}"


def _verdicts(made: "Dossier") -> Iterator[str]:
    for each in made.verdicts:
        same = each.explanation is not None and each.explanation.same
        yield (
            f"{each.at}  {each.topic}, partition {each.partition}, offset {each.offset}:"
            f" {each.verdict}, {each.reason}; {'same' if same else 'NOT the same'} when repeated"
        )


def _calls(made: "Dossier") -> Iterator[str]:
    for each in made.attempts:
        what, covered = "refusal" if each.refused else "attempt", "" if each.covered else "NOT "
        yield f"{each.at}  {what}: {covered}covered; {each.says}"
    for recall in made.recalls:
        yield f"{recall.at}  {recall.kind}: {recall.reason} {recall.register}"
    for delivery in made.deliveries:
        yield f"{delivery.at}  {delivery.target}: {delivery.event}, {delivery.outcome}"


def report(
    call: Invocation,
    month: Annotated[str, option("--month MONTH", "As in 2026-10.")],
) -> None:
    """Count a month of verdicts by law, how old the lists were at each, and the recalls."""
    from stream_scrub.queries import month_report

    first = month_report.first_day(month)
    settings = call.settings()
    with call.progress() as progress:
        result = month_report.gather(settings, quiet_log(settings), first, progress=progress)
    call.write(result, show_report)


def show_report(made: "MonthReport") -> None:
    """Print the counts by law, the ages of lists, and the recalls."""
    console = terminal.people()
    console.print(
        f"{made.month}: {made.prospects_allowed:,} prospects allowed, {made.prospects_blocked:,} blocked"
    )
    console.rows(
        ("country", "verdict", "reason", "registers", "rule", "numbers"),
        [
            (
                *(each.country or "?", each.verdict, each.reason, ", ".join(each.registers), each.rules),
                f"{each.verdicts:,}",
            )
            for each in made.verdicts
        ],
    )
    if made.lists:
        console.rows(
            ("list", "country", "limit", "verdicts", "middle", "99 of 100", "oldest", "that allowed"),
            [
                (
                    *(each.register, each.country, f"{each.max_age_days} d", f"{each.verdicts:,}"),
                    *(f"{days:.1f} d" for days in (each.middle_days, each.most_days, each.oldest_days)),
                    "-" if each.allowed_at_most_days is None else f"{each.allowed_at_most_days:.1f} d",
                )
                for each in made.lists
            ],
        )
    if made.recalls:
        console.rows(
            ("recalls", "reason", "register", "how many"),
            [(each.kind, each.reason, each.register, f"{each.count:,}") for each in made.recalls],
        )
    for note in made.notes:
        console.print(f"note: {note}")
