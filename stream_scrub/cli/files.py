"""`file` and `produce`: the commands on a file of leads."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stream_scrub import terminal
from stream_scrub.call import FACTS, Call
from stream_scrub.cli.options import (
    COLUMNS,
    FACT_OPTIONS,
    LEADS,
    REGISTERS,
    RESULTS,
    Invocation,
    Options,
    argument,
    columns_to_name,
    option,
    quiet_log,
    with_options,
)
from stream_scrub.errors import ConfigError, Unavailable

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.config import Settings
    from stream_scrub.files.options import FileOptions
    from stream_scrub.files.produce import Checked, Produced
    from stream_scrub.files.proof import Verified
    from stream_scrub.files.summary import Summary
    from stream_scrub.files.wash import WashPrepared
    from stream_scrub.imports.index_sources import IndexUsed
    from stream_scrub.requests.call_log import CallLogSent

_COLUMNS = {"region": "regions, as in FR", **{name: fact.column for name, fact in FACTS.items()}}
_NUMBERS = option("NAME", "A column of numbers: its title, or from 1; repeatable.", LEADS)
_TITLES = option("N", "Number of lines above the first lead.", LEADS, min=0, max=50)
_OPTIONS: Options = {
    "column": (Annotated[list[str] | None, _NUMBERS], None),
    "region": (Annotated[str | None, option("REGION", "Region of national numbers, as in FR.", LEADS)], None),
    "delimiter": (Annotated[str, option("SIGN", "The cell separator, or tab.", LEADS)], ""),
    "encoding": (Annotated[str, option("NAME", "Encoding of the titles, as in cp1252.", LEADS)], ""),
    "sheet": (Annotated[str, option("NAME", "The sheet: its name or number.", LEADS)], ""),
    "titles": (Annotated[int | None, _TITLES], None),
    **FACT_OPTIONS,
    **{
        f"{name}_column": (Annotated[str, option("NAME", f"The column of {what}.", panel)], "")
        for name, what in _COLUMNS.items()
        for panel in [LEADS if name == "region" else COLUMNS]
    },
}


def _file_options(leads: Mapping[str, Any], file: str, folder: Path, **more: Any) -> "FileOptions":
    """Return the options for a file and a folder. `leads` are the values of _OPTIONS, `more` the other fields. Raises
    ConfigError."""
    from stream_scrub.files.options import Asked, FileOptions

    columns = {fact: name for fact in _COLUMNS if (name := leads[f"{fact}_column"])}
    return FileOptions(
        input=file,
        output=folder,
        columns=Asked(tuple(leads["column"] or ()), columns, leads["titles"]),
        region=leads["region"],
        call=Call.of_options(leads),
        delimiter=leads["delimiter"],
        encoding=leads["encoding"],
        sheet=leads["sheet"],
        **more,
    )


def about_leads(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the options that describe a file of leads: their values are its second argument."""
    return with_options(function, _OPTIONS, dict)


Input = Annotated[str | None, argument("INPUT", "The file of leads; - for standard input.")]
Output = Annotated[Path | None, option("--output -o DIR", "The folder to write to.", RESULTS)]
AllRows = Annotated[bool, option("--annotated", "Also write a file of all rows.", RESULTS)]
To = Annotated[str, option("csv", "Write a spreadsheet's rows as CSV.", RESULTS)]
Force = Annotated[bool, option("--force", "Replace the files in DIR.", RESULTS)]
DryRun = Annotated[bool, option("--dry-run", "Show the result, and write nothing.", RESULTS)]
Verify = Annotated[
    Path | None, option("PROOF", "Verify a proof.json and the files it names; scrubs nothing.", RESULTS)
]
Wash = Annotated[
    str, option("--prepare-wash REGISTER", "Write only the numbers to submit to this register.", RESULTS)
]
Lists = Annotated[
    list[str] | None,
    option("--list REGISTER=FILE", "A register's list, without Kafka; repeatable.", REGISTERS),
]
ListMaxBad = Annotated[
    float | None,
    option(
        "SHARE", "Refuse a --list above this share of bad lines (lists.max_bad).", REGISTERS, min=0, max=1
    ),
]
RegisterUnknown = Annotated[
    bool, option("--register-unknown", "A --list may be for a register that no rule uses.", REGISTERS)
]
Areas = Annotated[
    list[str] | None,
    option(
        "--areas REGISTER=AREAS", "Subscribed areas of a --list, as in us-dnc=212,305; repeatable.", REGISTERS
    ),
]
ListColumns = Annotated[
    list[str] | None,
    option(
        "--columns REGISTER:ROLE=TITLE,...",
        "Columns of a --list, as in consent:phone=Mobile,consent=Opt-in; repeatable.",
        REGISTERS,
    ),
]
AllConsented = Annotated[
    list[str] | None,
    option("--all-consented REGISTER", "Every person in this --list consented; repeatable.", REGISTERS),
]
Snapshot = Annotated[
    Path | None, option("DIR", "A worker's snapshot (worker.state_dir), without Kafka.", REGISTERS)
]
Rules = Annotated[Path | None, option("--rules DIR", "Your own rule files (rules.folder).", REGISTERS)]
Language = Annotated[str, option("CODE", "Language of the report: en, fr, de, it or es.", RESULTS)]
On = Annotated[str, option("DATE", "Use the rules of that day.", REGISTERS)]
MaxBad = Annotated[
    float, option("SHARE", "Refuse above this share of rows without a number.", LEADS, min=0, max=1)
]


def file(
    call: Invocation,
    leads: Mapping[str, Any],
    input_: Input = None,
    output: Output = None,
    verify: Verify = None,
    annotated: AllRows = False,
    to: To = "",
    language: Language = "en",
    wash: Wash = "",
    dry_run: DryRun = False,
    force: Force = False,
    lists: Lists = None,
    areas: Areas = None,
    columns: ListColumns = None,
    all_consented: AllConsented = None,
    list_max_bad: ListMaxBad = None,
    register_unknown: RegisterUnknown = False,
    snapshot: Snapshot = None,
    rules: Rules = None,
    on: On = "",
    max_bad: MaxBad = 0.2,
) -> None:
    """Scrub a file of leads: writes the callable leads, the blocked ones with reasons, a report and a proof."""
    if verify is not None:
        from stream_scrub.files import proof

        authorities = call.settings().evidence.timestamp_ca
        verified = proof.verify(verify, input_, _files(lists or []), authorities)
        call.write(verified, show_verified)
        raise typer.Exit(0 if verified.same else 1)
    if input_ is None or (output is None and not dry_run):
        raise ConfigError(["give the file of leads, and -o with the folder to write to"])
    if dry_run and (output is not None or wash):
        raise ConfigError(["--dry-run writes nothing: leave --output and --prepare-wash out"])
    if input_ != "-" and not Path(input_).exists():  # before a broker is waited for
        raise ConfigError([f"{input_}: there is no file of this name"])
    output = output or Path()
    from stream_scrub.queries import check

    options = _file_options(
        leads,
        input_,
        output,
        on=check.moment(on),
        annotated=annotated,
        to=to,
        max_bad=max_bad,
        dry_run=dry_run,
        force=force,
        language=language,
    )
    given = GivenLists(
        lists or [], areas or [], columns or [], all_consented or [], list_max_bad, register_unknown
    )
    with columns_to_name(register=True):
        settings, used = _index(call, given, snapshot, rules)
    if wash:
        from stream_scrub.files.wash import prepare_wash

        if annotated or to:
            raise ConfigError(["--prepare-wash: cannot be combined with --annotated or --to"])
        call.write(prepare_wash(options, wash, settings, used), lambda each: show_prepared(each, output))
        return
    from stream_scrub.files.scrub_file import scrub_file

    with call.progress(of_file=True) as stage:
        summary = scrub_file(options, settings, used, stage)
    call.write(summary, lambda each: show_summary(each, None if dry_run else output))


class GivenLists(NamedTuple):
    """The options that describe the list files."""

    lists: list[str]
    areas: list[str]
    columns: list[str]
    all_consented: list[str]
    max_bad: float | None
    register_unknown: bool


def _index(
    call: Invocation, given: GivenLists, snapshot: Path | None, rules: Path | None
) -> "tuple[Settings, IndexUsed]":
    """Return the settings, and the index from lists, a snapshot or the log. Raises ConfigError."""
    from stream_scrub.config import load
    from stream_scrub.imports import index_sources
    from stream_scrub.ops import read_log

    named = _files(given.lists)
    pairs = (_pair(each, _AREAS) for each in given.areas)
    bought = {register: tuple(text.split(",")) for register, text in pairs}
    columns = _list_columns(given.columns)
    for name, registers in (
        ("--areas", bought),
        ("--columns", columns),
        ("--all-consented", given.all_consented),
    ):
        if unlisted := {*registers} - named.keys():
            raise ConfigError([f"{name}: there is no --list {min(unlisted)}=FILE"])
    if len(named) < len(given.lists) or (named and snapshot is not None):
        raise ConfigError(["--list: give each register once, and no --snapshot"])
    if named or snapshot is not None:
        flags = call.flags(rules__folder=rules, lists__max_bad=given.max_bad)
        settings = load(flags=flags, config_file=call.config, extra_checks=[])
        listed = {
            register: index_sources.ListFile(
                path,
                areas=bought.get(register, ()),
                register_unknown=given.register_unknown,
                columns=columns.get(register, {}),
                all_consented=register in given.all_consented,
            )
            for register, path in named.items()
        }
        return settings, index_sources.offline(listed, snapshot, settings)

    settings = call.settings(rules__folder=rules)
    try:
        read_log.need_broker(settings)
        index = read_log.read_index(settings, quiet_log(settings))
    except Unavailable as error:
        raise Unavailable(f"{error}. {_without_kafka(settings)}") from error
    return settings, index_sources.IndexUsed(read_log.used(index), "log")


def _without_kafka(settings: "Settings") -> str:
    """The options that make a scrub without Kafka: the lists that the rule of the assumed region asks today."""
    from stream_scrub.scrub import scrubbing

    region = settings.prospect.default_region
    rule = scrubbing.rulebook(settings).rule(region, datetime.now(UTC))
    registers = sorted(rule.registers) if rule is not None else ["internal"]
    lists = " ".join(f"--list {register}=FILE" for register in registers)
    return f"Without Kafka, give the lists that the rules ask; for {region} they are: {lists}"


def _files(lists: list[str]) -> dict[str, Path]:
    return {register: Path(path) for register, path in (_pair(each, _LIST) for each in lists)}


def _list_columns(texts: list[str]) -> dict[str, dict[str, str]]:
    """The columns of lists that `--columns REGISTER:ROLE=TITLE` names, by register. Raises ConfigError."""
    from stream_scrub.imports import import_list

    named: dict[str, dict[str, str]] = {}
    for text in texts:
        register, colon, columns = text.partition(":")
        if not colon or "=" in register:
            raise ConfigError([f"--columns: {text!r}: write REGISTER:ROLE=TITLE, as in consent:phone=Mobile"])
        named.setdefault(register, {}).update(import_list.columns(columns))
    return named


_LIST = ("--list", "REGISTER=FILE, as in internal=optouts.txt")
_AREAS = ("--areas", "REGISTER=AREAS, as in us-dnc=212,305")


def _pair(text: str, option: tuple[str, str]) -> tuple[str, str]:
    register, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError([f"{option[0]}: {text!r}: write {option[1]}"])
    return register, value


def produce(
    call: Invocation,
    leads: Mapping[str, Any],
    file: Annotated[str, argument("FILE", "The file of leads; - for standard input.")],
    key_column: Annotated[str, option("NAME", "The column of the record's key.")] = "",
    topic: Annotated[str, option("NAME", "The topic, if workers read several.")] = "",
    check: Annotated[
        bool,
        option("--check", "Send nothing; exit 1 if a row would come out blocked for a fault of its own."),
    ] = False,
) -> None:
    """Send the rows of a file to the prospects topic."""
    from stream_scrub.files import produce as producing

    settings = call.settings()
    options = _file_options(leads, file, Path())
    if check:
        checked = producing.check(options, settings)
        call.write(checked, show_checked)
        raise typer.Exit(int(bool(checked.blocked)))
    with call.progress(of_file=True) as stage:
        produced = producing.produce(options, key_column, topic, settings, quiet_log(settings), stage)
    call.write(produced, show_produced)


def attempts(
    call: Invocation,
    file: Annotated[Path, argument("FILE", "The call log, as CSV.")],
    zone: Annotated[str, option("ZONE", "Of moments without a zone, as in Europe/Paris.")] = "",
    status: Annotated[
        list[str] | None, option("STATUS=MEANING", "What a status means: attempt, refusal, opt-out or none.")
    ] = None,
    column: Annotated[
        list[str] | None, option("NAME=TITLE", "The column of the id, number, at, status, campaign or code.")
    ] = None,
    region: Annotated[str | None, option("REGION", "The region of national numbers.")] = None,
    campaign: Annotated[str | None, option("NAME", "The campaign of all rows.")] = None,
) -> None:
    """Report a dialler's call log: attempts, refusals and opt-outs. A log that is sent twice counts once."""
    from stream_scrub.requests import call_log

    settings = call.settings()
    options = call_log.CallLogOptions.of(column or (), status or (), zone, region, campaign)
    call.write(call_log.send_call_log(file, options, settings, quiet_log(settings)), show_call_log)


_LINES = 10


def show_summary(summary: "Summary", folder: Path | None) -> None:
    """Print the rows by reason, and the notes. `folder` is None for a dry run."""
    from stream_scrub.model import Reason, Verdict

    console = terminal.people()
    read = summary.input
    packing = f"{read.packing}, " if read.packing else ""
    console.print(f"{read.name} ({packing}{read.written_as}), {read.columns}")
    console.print(f"national numbers are read as {summary.facts['region']}")
    rows = [
        (str(Reason(reason).verdict), reason, f"{count:,}", f"{count / summary.rows:.1%}")
        for reason, count in summary.reasons.items()
    ]
    total = [("", "rows", f"{summary.rows:,}", "")]
    ordered = sorted(rows, key=lambda row: row[0] != Verdict.ALLOWED)
    console.rows(("verdict", "reason", "rows", "share"), [*ordered, *total])
    for register in summary.registers:
        for line in register.read:
            console.print(f"{register.register}: {line}")
    for note in _notes(summary):
        console.print(note)
    speed = f"{summary.rows / max(summary.took_s, 0.001):,.0f} rows/s"
    if folder is None:
        console.print(f"dry run: nothing was written ({speed})")
    else:
        console.print(f"the results are in {folder}: start with report.html ({speed})")


def show_produced(produced: "Produced") -> None:
    """Print how many prospects were sent."""
    are = "prospect is" if produced.prospects == 1 else "prospects are"
    terminal.people().print(f"{produced.prospects:,} {are} on {produced.topic} ({produced.columns})")


def show_checked(checked: "Checked") -> None:
    """Print the faults, each with its first lines."""
    console = terminal.people()
    console.print(checked.columns)
    for count in checked.blocked:
        why = f" ({count.why})" if count.why else ""
        member = f", member {count.member}" if count.member else ""
        console.print(f"{count.prospects:,} would be blocked as {count.reason}{why}{member}")
        for line in count.first:
            console.print(f"  line {line.line}: {line.number}" if line.number else f"  line {line.line}")
    console.print(f"{checked.sound:,} of {checked.prospects:,} prospects have no fault; nothing was sent")


def show_call_log(sent: "CallLogSent") -> None:
    """Print what the rows were."""
    console = terminal.people()
    counts = {name: getattr(sent, name) for name in ("attempts", "refusals", "opt_outs", "none", "refused")}
    console.rows(
        ("rows", "number"), [(name.replace("_", "-"), f"{count:,}") for name, count in counts.items()]
    )
    if sent.refused:
        lines = ", ".join(map(str, sent.refused_lines))
        console.print(f"refused, without an id, a moment or a valid number: lines {lines}")
    for status, count in sorted(sent.unknown.items()):
        console.print(f"unknown status, counted as an attempt: {status} ({count:,}); see --status")


def show_prepared(prepared: "WashPrepared", folder: Path) -> None:
    """Print the numbers to submit, and those left out."""
    console = terminal.people()
    console.print(f"{folder / prepared.file}: {prepared.numbers:,} numbers to submit to {prepared.register}")
    console.rows(
        ("left out", "numbers"),
        [
            ("duplicates", f"{prepared.repeated:,}"),
            ("not a valid number", f"{prepared.invalid:,}"),
            ("an earlier answer is still valid", f"{prepared.good:,}"),
            ("of another register, blocked anyway, or allowed without an answer", f"{prepared.others:,}"),
        ],
    )
    console.print(
        f"import the answer with `stream-scrub lists import ANSWER -r {prepared.answer_into} --format wash`, and scrub again"
    )


def show_verified(proof: "Verified") -> None:
    """Print which parts of a proof still hold."""
    console = terminal.people()
    for each in proof.checked:
        console.print(f"unchanged: {each}")
    for each in proof.unchecked:
        console.print(f"not checked: {each}")
    for each in proof.differs:
        console.print("differs:", terminal.styled(each, "bold red"))
    same = "what was checked is unchanged" if proof.unchecked else "everything is unchanged"
    console.print(same if proof.same else "something has changed")


def _notes(summary: "Summary") -> Iterator[str]:
    from stream_scrub.files.outputs import BAD_NUMBERS
    from stream_scrub.model import OWN, Reason

    yield from summary.notes
    for stale in summary.stale:
        why = "is missing" if stale.missing else "is too old"
        scope = (
            "@CAMPAIGN" if stale.register in OWN else ""
        )  # consents without a campaign are the operator's own
        fix = f"; add --list {stale.register}{scope}=FILE" if summary.source == "lists" else ""
        yield f"rows blocked because the list {stale.register} {why}: {stale.rows:,}{fix}"
    if summary.invalid_lines:
        lines = ", ".join(map(str, summary.invalid_lines[:_LINES]))
        count = summary.reasons.get(Reason.INVALID_NUMBER, 0)
        yield f"rows without a valid number: {count:,}; first lines: {lines}"
    if any(each.name == BAD_NUMBERS for each in summary.outputs):
        yield f"cells that are not numbers, each with the reason: {BAD_NUMBERS}"
    if summary.destroyed:
        yield f"numbers damaged by a spreadsheet (last digits lost): {summary.destroyed:,}"
    if summary.duplicates:
        yield f"duplicate numbers: {summary.duplicates:,}"
    if summary.uneven:
        yield f"rows with more or fewer cells than the others: {summary.uneven:,}"
    if summary.unreadable_lines:
        lines = ", ".join(map(str, summary.unreadable_lines[:_LINES]))
        yield f"blocked as unreadable (more cells than titles, or a stray quote): lines {lines}"
    if summary.scrub_again_by is not None:
        yield f"scrub again by the end of {summary.scrub_again_by}: some verdicts expire then"
