"""The options that all commands share: each command gets them as one `Invocation`, which gives it its settings and writes
its result."""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from stream_scrub import terminal
from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.model import Progress

Result = TypeVar("Result")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file; else STREAM_SCRUB_CONFIG, else stream-scrub.toml here."
    ),
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", metavar="HOST:PORT,...", help="Brokers (kafka.bootstrap_servers)."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in worker.batch_ms=10; repeatable."),
]
RulesFolder = Annotated[
    Path | None, typer.Option("--folder", metavar="DIR", help="Rule files of your own (rules.folder).")
]
EffectiveAt = Annotated[
    str,
    typer.Option(
        metavar="DAY",
        help="The day or moment that the list speaks of; default: as it says, else its file's name, or now if it cannot grow too old.",
    ),
]
ListFormat = Annotated[
    str,
    typer.Option(
        "--format", metavar="NAME", help="auto, or a format's name: see docs/reference/list-formats.md."
    ),
]
ListColumn = Annotated[
    str, typer.Option(help="Column of the numbers in a CSV: a header's name, or a number from 1.")
]
ListColumns = Annotated[
    str,
    typer.Option(metavar="NAME=COLUMN,...", help="Columns by name, as in area=1,number=2,date=3,change=4."),
]
AllowChange = Annotated[
    bool,
    typer.Option(
        "--allow-change", help="Let a list change as much as it does (lists.max_change, lists.max_added)."
    ),
]
AllowOlder = Annotated[
    bool, typer.Option("--allow-older", help="Let a full list be from before the register's own.")
]
Sample = Annotated[int, typer.Option(metavar="N", help="Judge the last N prospects for --dry-run.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Output for machines.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every command is given: where its settings come from, and whether a program reads its result."""

    config: Path | None = None
    bootstrap: str | None = None
    assignments: Sequence[str] = ()
    as_json: bool = False

    def flags(self, **given: Any) -> dict[str, Any]:
        """The flags as dotted settings; `given` are those of single options, `worker__id` for worker.id, where they are
        not None. Raises ConfigError."""
        found: dict[str, Any] = {}
        problems = []
        for assignment in self.assignments:
            key, equals, value = assignment.partition("=")
            if not equals:
                problems.append(f"--set {assignment}: write KEY=VALUE, as in worker.batch_ms=10")
            found[key.strip()] = value
        if problems:
            raise ConfigError(problems)
        if self.bootstrap is not None:
            found["kafka.bootstrap_servers"] = self.bootstrap
        found.update({key.replace("__", "."): value for key, value in given.items() if value is not None})
        return found

    def settings(self, **given: Any) -> Settings:
        """The settings that a command runs by; `given` as for `flags`. Raises ConfigError with every problem."""
        from stream_scrub.wiring import clients

        return load(
            flags=self.flags(**given),
            config_file=self.config,
            extra_checks=[clients.refused_properties, rules_problems],
        )

    def progress(self) -> AbstractContextManager[Progress]:
        """How far a long command is, on standard error; nothing for a program."""
        from stream_scrub.cli import render

        return render.progress(visible=not self.as_json)

    def write(
        self,
        result: Result,
        people: Callable[[Result], None],
        machine: Callable[[Result], None] = terminal.machine,
    ) -> None:
        """A result on standard output: in words, or with --json as one document."""
        (machine if self.as_json else people)(result)


_SOURCES = (("config", ConfigFile, None), ("bootstrap", Bootstrap, None), ("assignments", Assignments, None))
_JSON = (("as_json", AsJson, False),)


def command(function: Callable[..., None], *, with_json: bool = True) -> Callable[..., None]:
    """A command with the options that all share. They come to the function as its first argument, an `Invocation`; its
    other parameters are its own options."""
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=default)
        for name, option, default in (*_SOURCES, *(_JSON if with_json else ()))
    ]

    @functools.wraps(function)
    def invoked(**given: Any) -> None:
        config, bootstrap, assignments = (given.pop(name) for name, _, _ in _SOURCES)
        as_json = given.pop("as_json", False)
        function(Invocation(config, bootstrap, tuple(assignments or ()), as_json), **given)

    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in list(inspect.signature(function).parameters.values())[1:]
    ]
    invoked.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]  # as typer looks at it
    invoked.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
    return invoked


def on_folder(folder: Path | None) -> str | None:
    """A folder that was given, as its setting takes it."""
    return None if folder is None else str(folder)


def rules_problems(settings: Settings) -> list[str]:
    """What is wrong in the rule files: for `config.load`."""
    from stream_scrub.wiring import scrubbing

    try:
        scrubbing.rulebook(settings)
    except ConfigError as error:
        return error.problems
    return []


def quiet_log(settings: Settings) -> Any:
    """For commands that talk on the terminal: only what goes wrong is logged."""
    from stream_scrub.observability import logs

    return logs.configure("error" if settings.log.level != "debug" else "debug", settings.log.format)
