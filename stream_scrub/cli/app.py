"""`stream-scrub`: registers the commands, and turns errors into messages and exit codes.

Exit codes: 0 success, 1 the operation failed, 2 usage or configuration, 3 corrupt.
"""

import gc
import os
import platform
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scrub import __version__, terminal
from stream_scrub.call import Call
from stream_scrub.cli import check, dossier, evidence, files, lists, rules, streams, usage
from stream_scrub.cli.options import (
    FACT_OPTIONS,
    AsJson,
    Invocation,
    argument,
    command,
    option,
    rules_problems,
    with_options,
)
from stream_scrub.errors import ConfigError, Corrupt, ScrubError
from stream_scrub.ops import crash_report
from stream_scrub.ops.logs import mask

_GROUP: dict[str, Any] = {"cls": usage.Group, "no_args_is_help": True}
app = typer.Typer(
    **_GROUP,
    name="stream-scrub",
    help="Scrubs prospect streams on Kafka against do-not-call and consent registers, exactly once.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
lists_app = typer.Typer(**_GROUP, help="Registers on the opposition log.")
app.add_typer(lists_app, name="lists")
rules_app = typer.Typer(**_GROUP, help="The legal rules and your own, in words.")
app.add_typer(rules_app, name="rules")
shadow_app = typer.Typer(**_GROUP, help="The effect of other rules or registers.")
app.add_typer(shadow_app, name="shadow")
tokens_app = typer.Typer(**_GROUP, help="Access to the check API.")
app.add_typer(tokens_app, name="tokens")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, option("--version", "Show the versions of all parts.")] = False,
) -> None:
    if version:
        typer.echo(_versions())
        raise typer.Exit


def _versions() -> str:
    """Return what a bug report needs: the version, and the parts that may differ under the same version."""
    from stream_scrub.kafka import self_test
    from stream_scrub.kafka.client.options import librdkafka_version
    from stream_scrub.scrub import backend

    extension, transport = "no extension", "python transport"
    if backend.BEST is not backend.PYTHON:
        extension = "native extension"
        transport = f"{transport}: {fault}" if (fault := self_test.fault()) else "bulk transport"
    parts = (
        f"Python {platform.python_version()}",
        f"librdkafka {librdkafka_version()}",
        extension,
        transport,
    )
    return f"stream-scrub {__version__} ({', '.join(parts)})"


@app.command(cls=usage.Command)
def demo(
    seconds: Annotated[float, option("S", "How long to produce prospects.", min=5, max=600)] = 15,
    rate: Annotated[int, option("N", "Prospects a second.", min=100, max=50_000)] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on an embedded broker: no Kafka needed."""
    from stream_scrub.demo import main as demonstration

    raise typer.Exit(demonstration.run(seconds=seconds, rate=rate, as_json=as_json))


@app.command(cls=usage.Command)
def docs(
    topic: Annotated[str, argument("TOPIC", "A page's name, as in runbook or docs/runbook.md.")] = "",
) -> None:
    """Print a page of the documentation, as messages cite them. Without TOPIC: list the pages."""
    package = Path(__file__).parents[1]
    # The wheel has the pages in the package. In a checkout they stand beside it.
    folder = next(path for path in (package / "docs", package.parent / "docs") if path.is_dir())
    pages = {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.md"))}
    name = topic.removeprefix("docs/").removesuffix(".md")
    if not name:
        for page, path in pages.items():
            terminal.people().print(f"{page}: {path.read_text('utf-8').splitlines()[0].lstrip('# ')}")
    elif name in pages:
        terminal.raw(pages[name].read_bytes())
    else:
        raise ConfigError([f"no page is called {mask(topic)}; the pages are {', '.join(pages)}"])


def config_(
    call: Invocation,
    changed: Annotated[bool, option("--changed", "Only settings that are not the default.")] = False,
) -> None:
    """Show the effective configuration and every problem, with secrets masked."""
    from stream_scrub.config import masked, read
    from stream_scrub.kafka import clients
    from stream_scrub.kafka.client.allowed_properties import HARMLESS
    from stream_scrub.scrub import scrubbing

    checks = [clients.refused_properties, rules_problems]
    loaded = read(flags=call.flags(), config_file=call.config, extra_checks=checks)
    shown = masked(loaded.settings, HARMLESS) if loaded.settings is not None else {}
    if changed:
        own = {name for name, origin in loaded.origins.items() if origin != "default"}
        kept = {
            section: {key: value for key, value in values.items() if f"{section}.{key}" in own}
            for section, values in shown.items()
        }
        shown = {section: values for section, values in kept.items() if values}
    call.write(
        {"settings": shown, "origins": loaded.origins, "problems": loaded.problems}, show_configuration
    )
    if loaded.problems:
        raise ConfigError(loaded.problems)
    if loaded.settings is None or call.as_json:
        return
    book = scrubbing.rulebook(loaded.settings)
    for _, note in scrubbing.warnings(loaded.settings, book):
        terminal.people().print(f"note: {note}")


def show_configuration(shown: Mapping[str, Any]) -> None:
    """Print every setting with its origin."""
    terminal.people().rows(
        ("setting", "value", "from"),
        [
            (
                f"{section}.{key}",
                terminal.document(value),
                shown["origins"].get(f"{section}.{key}", "default"),
            )
            for section, values in shown["settings"].items()
            for key, value in values.items()
        ],
    )


_COMMANDS = (
    (app, "worker", streams.worker),
    (app, "serve", check.serve),
    (tokens_app, "add", check.add_token),
    (tokens_app, "list", check.list_tokens),
    (tokens_app, "revoke", check.revoke_token),
    (app, "check", with_options(check.check, FACT_OPTIONS, Call.of_options)),
    (app, "config", config_),
    (app, "topics", streams.topics),
    (app, "rights", streams.rights_),
    (app, "offsets", streams.offsets),
    (app, "retry", streams.retry),
    (app, "recall", streams.recall),
    (app, "fanout", streams.fanout),
    (app, "status", streams.status),
    (app, "drill", with_options(streams.drill, FACT_OPTIONS, Call.of_options)),
    (app, "expiring", streams.expiring),
    (app, "rescrub", streams.rescrub),
    (shadow_app, "report", streams.shadow_report),
    (lists_app, "import", lists.import_),
    (lists_app, "ask-reassigned", lists.ask_reassigned),
    (lists_app, "remove", lists.remove),
    (lists_app, "status", lists.status),
    (lists_app, "publish", lists.publish),
    (lists_app, "renew", lists.renew),
    (app, "purposes", rules.purposes),
    (rules_app, "check", rules.check),
    (rules_app, "show", rules.show),
    (rules_app, "publish", rules.publish),
    (lists_app, "history", evidence.history),
    (lists_app, "at", evidence.at),
    (lists_app, "verify", evidence.verify),
    (lists_app, "anchor", evidence.anchor),
    (lists_app, "export", evidence.export),
    (app, "explain", evidence.explain),
    (app, "dossier", dossier.dossier),
    (app, "report", dossier.report),
    (app, "file", files.about_leads(files.file)),
    (app, "produce", files.about_leads(files.produce)),
    (app, "attempts", files.attempts),
)
_WITHOUT_JSON = (
    streams.worker,
    streams.recall,
    streams.fanout,
    check.serve,
    check.revoke_token,
    lists.publish,
)
for _app, _name, _function in _COMMANDS:
    _app.command(_name, cls=usage.Command)(command(_function, with_json=_function not in _WITHOUT_JSON))


def main() -> None:
    """The console script: turns every error into one message and its exit code."""
    # Nothing here computes with BLAS, and numpy would start a thread of it for each processor: 50 ms at every start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(50_000, 20, 100)  # what is loaded stays: walking over it again and again takes 30 ms
    # The kernel drops signals without a handler for process 1. A container that is stopped while it starts would
    # live until its grace period is over. Daemons set their own handlers later.
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    out = terminal.take_over()
    crash_report.watch()
    code = crash_report.coded(_command)
    if out.lost is not None and not isinstance(out.lost, BrokenPipeError):
        terminal.complain(f"the output is incomplete ({out.lost}); the command itself ended with code {code}")
    if code:
        gc.collect()  # clients that a failed command left
    gc.freeze()  # the rest ends with the process: taking it apart takes a quarter of a short command's time
    sys.exit(code)


def _command() -> int:
    """Run the command; returns its exit code."""
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
    """Print a usage error (its text may quote a file name), or the requested help."""
    context: typer.Context | None = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None or message != context.get_help():
        usage = (
            [] if context is None else [context.get_usage(), f"Try '{context.command_path} --help' for help."]
        )
        message = "\n".join([*usage, f"Error: {terminal.one_line(message)}"])
    typer.echo(message, err=True)
