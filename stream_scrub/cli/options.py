"""The options that all commands share, as one `Invocation`: it loads the settings, shows progress and prints the result."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stream_scrub import terminal
from stream_scrub.call import FACTS
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.model import Progress

if TYPE_CHECKING:  # pydantic is most of what a command's start would cost
    from stream_scrub.config import Settings

Result = TypeVar("Result")

# The headings of the options in `--help`; an option without one stands under "Options".
LEADS, CALL, COLUMNS = "The file of leads", "The call, for all rows", "The call, by column"
REGISTERS, RESULTS, SETTINGS = "Registers and rules", "Results", "Settings"
LIST, CONSENTS, GUARDS, WHICH = "The list", "Lists of consents", "Guards", "Which prospect"


def option(usage: str, help_: str, panel: str | None = None, **more: Any) -> Any:
    """Declare an option. `usage` has its names, if they are not the parameter's, and its value, as in "--output -o DIR"."""
    words = usage.split()
    names = [word for word in words if word.startswith("-")]
    value = " ".join(words[len(names) :]) or None
    return typer.Option(*names, metavar=value, help=help_, rich_help_panel=panel, **more)


def argument(value: str, help_: str, **more: Any) -> Any:
    """Declare an argument by the word for its value."""
    return typer.Argument(metavar=value, help=help_, **more)


ConfigFile = Annotated[
    Path | None,
    option("--config FILE", "TOML file; else STREAM_SCRUB_CONFIG, else stream-scrub.toml here.", SETTINGS),
]
Bootstrap = Annotated[
    str | None, option("--bootstrap-servers HOST:PORT,...", "Brokers (kafka.bootstrap_servers).", SETTINGS)
]
Assignments = Annotated[
    list[str] | None,
    option("--set KEY=VALUE", "Any setting, as in worker.batch_ms=10; repeatable.", SETTINGS),
]
RulesFolder = Annotated[Path | None, option("--folder DIR", "Your own rule files (rules.folder).")]
AsJson = Annotated[bool, option("--json", "Output for machines.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The shared options of one command: the sources of its settings, and the format of its result."""

    config: Path | None = None
    bootstrap: str | None = None
    assignments: Sequence[str] | None = None
    as_json: bool = False

    def flags(self, **given: Any) -> dict[str, Any]:
        """Return the flags as dotted settings. `given`: values of single options, as in `worker__id` for worker.id; None is
        ignored. Raises ConfigError."""
        flags: dict[str, Any] = {}
        problems = []
        for assignment in self.assignments or ():
            key, equals, value = assignment.partition("=")
            if not equals:
                problems.append(f"--set {assignment}: write KEY=VALUE, as in worker.batch_ms=10")
            flags[key.strip()] = value
        if problems:
            raise ConfigError(problems)
        if self.bootstrap is not None:
            flags["kafka.bootstrap_servers"] = self.bootstrap
        for name, value in given.items():
            if value is not None:
                flags[name.replace("__", ".")] = str(value) if isinstance(value, Path) else value
        return flags

    def settings(self, **given: Any) -> "Settings":
        """Load the settings; `given` as for `flags`. Raises ConfigError with every problem."""
        from stream_scrub.config import load
        from stream_scrub.kafka import clients

        return load(
            flags=self.flags(**given),
            config_file=self.config,
            extra_checks=[clients.refused_properties, rules_problems],
        )

    @contextmanager
    def progress(self, *, of_file: bool = False) -> Iterator[Progress]:
        """Yield `stage(what, done, of)`, which shows progress on standard error, unless with --json: a bar on a terminal, one
        line per stage elsewhere. `of_file`: `done` and `of` are bytes of a file; the bar shows speed and time left, and each
        stage keeps its line."""
        if self.as_json:
            yield lambda _what, _done, _of: None
            return
        console = terminal.people(stderr=True)
        if not console.is_terminal:
            seen: set[str] = set()

            def line(what: str, done: int, _of: int) -> None:
                if what not in seen and not (of_file and done):
                    seen.add(what)
                    console.print(what)

            yield line
            return
        from rich import progress as rich

        step, bar_column = rich.TextColumn("{task.description}", markup=False), rich.BarColumn()
        columns: tuple[rich.ProgressColumn, ...]
        if of_file:
            columns = (
                step,
                bar_column,
                rich.DownloadColumn(),
                rich.TransferSpeedColumn(),
                rich.TimeRemainingColumn(),
            )
        else:
            place = rich.TextColumn("{task.fields[place]}")
            columns = (rich.SpinnerColumn(), step, bar_column, place, rich.TimeElapsedColumn())
        with rich.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=None, place="")

            def stage(what: str, done: int, of: int) -> None:
                if of_file and not done:
                    bar.console.print(terminal.styled(what, ""))
                at = f"{done:,} of {of:,}" if of else ""
                bar.update(
                    task, description=terminal.one_line(what), completed=done, total=of or None, place=at
                )

            yield stage

    def write(
        self,
        result: Result,
        people: Callable[[Result], None],
        machine: Callable[[Result], None] = terminal.machine,
    ) -> None:
        """Write the result to standard output: for people, or with --json as one document."""
        (machine if self.as_json else people)(result)


@contextmanager
def columns_to_name(register: bool = False) -> Iterator[None]:
    """Print the columns of a list that states no consents, with the whole command that names them. `register`: the
    command reads several lists. Raises Refused."""
    from stream_scrub.imports.guards import UnstatedConsents

    try:
        yield
    except UnstatedConsents as error:
        for line in error.facts:
            terminal.complain(line)
        command = ["stream-scrub", *sys.argv[1:]]
        cures = error.cures(command, error.register if register else "")
        for cure in cures[:-1]:
            terminal.complain(cure)
        raise Refused(cures[-1]) from error


Options = Mapping[str, tuple[Any, Any]]  # by name: the annotation as typer reads it, and the default

FACT_OPTIONS: Options = {
    name: (
        Annotated[
            bool if fact.is_flag else str | None,
            option(f"{fact.option} {fact.metavar or name.split('_')[-1].upper()}", fact.help, CALL),
        ],
        False if fact.is_flag else None,
    )
    for name, fact in FACTS.items()
}


def with_options(
    function: Callable[..., None], options: Options, gather: Callable[[dict[str, Any]], Any], at: int = 1
) -> Callable[..., None]:
    """Return the command with more options. The function gets `gather(values)` as its argument at the place `at`, by
    default after the `Invocation`; the parameters that follow are its own options."""

    @functools.wraps(function)
    def invoked(*before: Any, **given: Any) -> None:
        function(*before, gather({name: given.pop(name) for name in options}), **given)

    parameters = list(inspect.signature(function).parameters.values())
    shown = [
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters[at + 1 :]),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=option, default=default)
            for name, (option, default) in options.items()
        ),
    ]
    signature = inspect.Signature([*parameters[:at], *shown])
    invoked.__signature__ = signature  # type: ignore[attr-defined]  # as typer and `command` look at it
    invoked.__annotations__ = {each.name: each.annotation for each in shown}
    return invoked


def command(function: Callable[..., None], *, with_json: bool = True) -> Callable[..., None]:
    """Return the command with the shared options. The function gets them as its first argument, an `Invocation`; its
    other parameters are its own options."""
    shared: dict[str, tuple[Any, Any]] = {
        "config": (ConfigFile, None),
        "bootstrap": (Bootstrap, None),
        "assignments": (Assignments, None),
    }
    return with_options(
        function,
        shared | ({"as_json": (AsJson, False)} if with_json else {}),
        lambda given: Invocation(**given),
        0,
    )


def rules_problems(settings: "Settings") -> list[str]:
    """Return the problems of the rule files, for `config.load`."""
    from stream_scrub.rules import Rulebook

    try:
        Rulebook.load(settings.rules.own_folder).narrowed(settings.rules.countries)
    except ConfigError as error:
        return error.problems
    return []


def quiet_log(settings: "Settings") -> Any:
    """Configure logging for commands on a terminal: errors only."""
    from stream_scrub.ops import logs

    if settings.log.level == "debug":
        return logs.configure("debug", settings.log.format)
    return logs.errors_only(settings.log.format)
