"""The console: every command of `stream-scrub`, its options and its exit code. No work is done here.

Exit codes: 0 well, 1 the operation failed, 2 usage or configuration, 3 corrupt.
"""

import os
import platform
import signal
import sys
from typing import Annotated

import typer

from stream_scrub import __version__, terminal
from stream_scrub.cli import evidence, lists, rules, serve, tokens, topics
from stream_scrub.cli.files import produce, scrub
from stream_scrub.cli.options import AsJson, Invocation, command, quiet_log, rules_problems
from stream_scrub.cli.streams import offsets, retry, shadow
from stream_scrub.config import read
from stream_scrub.errors import ConfigError, Corrupt, ScrubError
from stream_scrub.model import BeginAt
from stream_scrub.observability import crash_report

app = typer.Typer(
    name="stream-scrub",
    help="Scrubs prospect streams on Kafka against registers of opposition and consent, exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
lists_app = typer.Typer(help="Registers on the opposition log.", no_args_is_help=True)
app.add_typer(lists_app, name="lists")
rules_app = typer.Typer(help="What the law and the company ask, in words.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")
shadow_app = typer.Typer(help="What other rules or registers would change.", no_args_is_help=True)
app.add_typer(shadow_app, name="shadow")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions of all parts and end.")
    ] = False,
) -> None:
    if version:
        typer.echo(_versions())
        raise typer.Exit


def _versions() -> str:
    """What a report of a fault must say: the version, and the parts that the same version may run on."""
    from stream_scrub.kafka.client.librdkafka import librdkafka_version
    from stream_scrub.scrub import backend

    extension = "no extension" if backend.BEST is backend.PYTHON else "native extension"
    parts = (f"Python {platform.python_version()}", f"librdkafka {librdkafka_version()}", extension)
    return f"stream-scrub {__version__} ({', '.join(parts)})"


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long prospects are produced.", min=5, max=600)] = 15,
    rate: Annotated[int, typer.Option(help="Prospects a second.", min=100, max=50_000)] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Watch the whole system work on an embedded broker: no Kafka needed."""
    from stream_scrub.demo import main as demonstration

    raise typer.Exit(demonstration.run(seconds=seconds, rate=rate, as_json=as_json))


def worker(
    call: Invocation,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Workers on this machine (worker.processes).")
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", help="Stable identity, one a live worker (worker.id).")
    ] = None,
    from_end: Annotated[
        bool, typer.Option("--from-end", help="Partitions whose committed offset is gone begin at their end.")
    ] = False,
    from_beginning: Annotated[
        bool,
        typer.Option(
            "--from-beginning", help="They begin at their start: all that is there comes out again."
        ),
    ] = False,
    shadow_: Annotated[
        bool, typer.Option("--shadow", help="Judge what came out by these settings, tell the differences.")
    ] = False,
    every: Annotated[bool, typer.Option("--every", help="With --shadow: not the differences alone.")] = False,
) -> None:
    """Scrub prospects from Kafka to Kafka until told to stop (SIGTERM or Ctrl-C)."""
    from stream_scrub.shadow import daemon
    from stream_scrub.worker import supervisor

    if from_end and from_beginning:
        raise ConfigError(["--from-end and --from-beginning: choose one"])
    settings = call.settings(worker__processes=processes, worker__id=identity)
    if every and not shadow_:
        raise ConfigError(["--every goes with --shadow"])
    if shadow_:
        if from_end or from_beginning or settings.worker.processes > 1:
            raise ConfigError(["--shadow: it begins at the outputs' ends, and is one process"])
        raise typer.Exit(daemon.run(settings, every=every))
    begin_at: BeginAt | None = "end" if from_end else "beginning" if from_beginning else None
    raise typer.Exit(supervisor.run(settings, begin_at))


def check(
    call: Invocation,
    numbers: Annotated[
        list[str], typer.Argument(metavar="NUMBER...", help="As a prospect would spell them.")
    ],
    on: Annotated[
        str, typer.Option(metavar="DATE", help="Judge by the rules of that day (2026-08-10).")
    ] = "",
    purpose: Annotated[str | None, typer.Option(help="The call's purpose, as in press.")] = None,
    contract: Annotated[
        bool, typer.Option("--contract", help="The person has a contract that the call is about.")
    ] = False,
    campaign: Annotated[str | None, typer.Option(help="The campaign, for scoped registers.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="How the person is to be reached: voice, or as in sms.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Who is called: consumer, or company.")] = None,
    relation: Annotated[
        str | None,
        typer.Option(metavar="KIND:DATE", help="A relation with the caller, as in purchase:2026-01-31."),
    ] = None,
    voice_kind: Annotated[
        str | None, typer.Option("--voice-kind", help="Who speaks: live, or artificial.")
    ] = None,
    residence: Annotated[
        str | None, typer.Option(help="Region that the person lives in, if another than the number's.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region of national numbers.")] = None,
) -> None:
    """The verdict on numbers, and why."""
    from stream_scrub.cli import render
    from stream_scrub.queries import check as checking
    from stream_scrub.wiring import clients

    settings = call.settings()
    asked = checking.CheckQuestion(
        tuple(numbers),
        purpose,
        contract,
        campaign,
        region,
        checking.moment(on),
        channel,
        who,
        relation,
        voice_kind,
        residence,
    )
    index = clients.read_index(settings, quiet_log(settings))
    call.write(checking.answer(asked, settings, index), render.verdicts, render.stamps)


def config_(call: Invocation) -> None:
    """The effective configuration, secrets masked, with every problem."""
    from stream_scrub.cli import render
    from stream_scrub.wiring import clients, scrubbing

    checks = [clients.refused_properties, rules_problems]
    found = read(flags=call.flags(), config_file=call.config, extra_checks=checks)
    call.write(render.Configuration.of(found), render.configuration)
    if found.problems:
        raise ConfigError(found.problems)
    if found.settings is None or call.as_json:
        return
    book = scrubbing.rulebook(found.settings)
    for said in filter(
        None, (scrubbing.unsaid(found.settings, book), scrubbing.unnamed(found.settings, book))
    ):
        terminal.People().print(f"note: {said}")


app.command("worker")(command(worker, with_json=False))
serve.add_to(app)
tokens.add_to(app)
app.command("check")(command(check))
app.command("config")(command(config_))
topics.add_to(app)
offsets.add_to(app)
retry.add_to(app)
shadow.add_to(shadow_app)
lists.add_to(lists_app)
rules.add_to(rules_app)
evidence.add_to(app, lists_app)
scrub.add_to(app)
produce.add_to(app)


def _heed_sigterm() -> None:
    """As the first process of a container, end on SIGTERM as every other process does.

    For process 1 the kernel drops every signal without a handler, so a container that is stopped while it starts
    would live until its grace period is over. `worker` and `lists publish` set handlers of their own later.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def main() -> None:
    """The console script: turns every error into one clear message and its exit code."""
    _heed_sigterm()
    out = terminal.take_over()
    crash_report.watch()
    code = crash_report.coded(_command)
    if out.lost is not None and not isinstance(out.lost, BrokenPipeError):
        terminal.complain(
            f"not all of the output could be written ({out.lost}); exit code {code} is that of the command itself"
        )
    sys.exit(code)


def _command() -> int:
    """Run one command; returns its exit code."""
    try:
        return app(standalone_mode=False) or 0
    except typer.TyperException as error:
        _misused(error)
        return error.exit_code
    except typer.Abort:
        return 1
    except ConfigError as error:
        for problem in error.problems:
            terminal.complain(problem)
        return 2
    except Corrupt as error:
        terminal.complain(f"corrupt: {error}")
        return 3
    except ScrubError as error:
        terminal.complain(str(error))
        return 1


def _misused(error: typer.TyperException) -> None:
    """Say what is wrong with the command line (the text may quote any file's name), or show the help that was asked
    for."""
    context: typer.Context | None = getattr(error, "ctx", None)
    said = error.format_message()
    if context is None or said != context.get_help():
        usage = (
            [] if context is None else [context.get_usage(), f"Try '{context.command_path} --help' for help."]
        )
        said = "\n".join([*usage, f"Error: {terminal.one_line(said)}"])
    typer.echo(said, err=True)
