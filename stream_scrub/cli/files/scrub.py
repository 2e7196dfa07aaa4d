"""`stream-scrub file`: a file of leads scrubbed. No work is done here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from stream_scrub.cli.files.options import Leads, about_leads
from stream_scrub.cli.options import Invocation, command, on_folder, quiet_log
from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError, Unavailable

if TYPE_CHECKING:  # it loads what no other command needs
    from stream_scrub.files.order import FileOrder
    from stream_scrub.wiring.index_sources import IndexUsed

Input = Annotated[
    str | None, typer.Argument(metavar="INPUT", help="The file of leads; - for standard input.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="The folder to write to.")]
Verify = Annotated[
    Path | None,
    typer.Option(metavar="PROOF", help="Check a proof.json and all that it names, and scrub nothing."),
]
Lists = Annotated[
    list[str] | None,
    typer.Option("--list", metavar="REGISTER=FILE", help="A register's list, with no Kafka; repeatable."),
]
Snapshot = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A worker's snapshot (worker.state_dir), with no Kafka.")
]
Rules = Annotated[
    Path | None, typer.Option("--rules", metavar="DIR", help="Rule files of your own (rules.folder).")
]
Wash = Annotated[
    str,
    typer.Option(
        "--prepare-wash", metavar="REGISTER", help="Write only what this register must be asked about."
    ),
]
MaxBad = Annotated[
    float,
    typer.Option(metavar="SHARE", help="Refuse above this share of rows without a number.", min=0, max=1),
]


def file(
    call: Invocation,
    leads: Leads,
    input_: Input = None,
    output: Output = None,
    verify: Verify = None,
    annotated: Annotated[bool, typer.Option("--annotated", help="Write a file of all rows, too.")] = False,
    lists: Lists = None,
    snapshot: Snapshot = None,
    rules: Rules = None,
    on: Annotated[str, typer.Option(metavar="DATE", help="Judge by the rules of that day.")] = "",
    to: Annotated[str, typer.Option(metavar="csv", help="Write a spreadsheet's rows as CSV.")] = "",
    max_bad: MaxBad = 0.2,
    wash: Wash = "",
    force: Annotated[bool, typer.Option("--force", help="Replace what is in DIR.")] = False,
) -> None:
    """Scrub a file of leads: the callable ones, the blocked ones with reasons, a page to read, a proof to keep."""
    if verify is not None:
        _verify(call, verify, input_)
    if input_ is None or output is None:
        raise ConfigError(["name the file of leads, and with -o the folder to write to"])
    from stream_scrub.queries import check

    order = leads.order(
        input_, output, on=check.moment(on), annotated=annotated, to=to, max_bad=max_bad, force=force
    )
    settings, used = _index(call, lists or [], snapshot, rules)
    (_wash if wash else _scrub)(call, order, settings, used, wash)


def _scrub(call: Invocation, order: "FileOrder", settings: Settings, used: "IndexUsed", _: str) -> None:
    from stream_scrub.cli.files import render
    from stream_scrub.files.scrub_file import scrub_file

    with render.progress(visible=not call.as_json) as stage:
        summary = scrub_file(order, settings, used, stage)
    call.write(summary, lambda made: render.summary(made, order.output))


def _wash(call: Invocation, order: "FileOrder", settings: Settings, used: "IndexUsed", wash: str) -> None:
    from stream_scrub.cli.files import render
    from stream_scrub.files.wash import prepare_wash

    if order.annotated or order.to:
        raise ConfigError(["--prepare-wash writes numbers only: leave --annotated and --to out"])
    call.write(prepare_wash(order, wash, settings, used), lambda made: render.prepared(made, order.output))


def _verify(call: Invocation, proof: Path, input_: str | None) -> NoReturn:
    """Ends with 0 when all is as it was, else with 1."""
    from stream_scrub.cli.files import render
    from stream_scrub.files.results.proof import verify

    found = verify(proof, input_)
    call.write(found, render.verified)
    raise typer.Exit(0 if found.same else 1)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("file")(command(about_leads(file)))


def _index(
    call: Invocation, lists: list[str], snapshot: Path | None, rules: Path | None
) -> "tuple[Settings, IndexUsed]":
    """The settings, and the index by lists, by a snapshot, or from the log. Raises ConfigError."""
    from stream_scrub.wiring import index_sources

    named = dict(_pair(each) for each in lists)
    if len(named) < len(lists) or (named and snapshot is not None):
        raise ConfigError(["--list: name each register once, and not together with --snapshot"])
    if named or snapshot is not None:
        flags = call.flags(rules__folder=on_folder(rules))
        settings = load(flags=flags, config_file=call.config, extra_checks=[])
        return settings, index_sources.offline(named, snapshot, settings)
    from stream_scrub.wiring import clients

    settings = call.settings(rules__folder=on_folder(rules))
    try:
        index = clients.read_index(settings, quiet_log(settings))
    except Unavailable as error:
        raise Unavailable(
            f"no list is named, so the registers are on the log, and {error}. Without Kafka, name each list: --list"
            " internal=FILE"
        ) from error
    return settings, index_sources.IndexUsed(index_sources.used(index), "log")


def _pair(said: str) -> tuple[str, Path]:
    register, equals, path = said.partition("=")
    if not equals or not path:
        raise ConfigError([f"--list: {said!r}: write REGISTER=FILE, as in internal=optouts.txt"])
    return register, Path(path)
