"""The options that commands share, and the settings that they give. Part of the console (`app.py`)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError

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
        help="The day or moment that the list speaks of; default: as it says, or now for a full list.",
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


def flags(bootstrap: str | None, assignments: list[str] | None, **more: Any) -> dict[str, Any]:
    """Flags as dotted settings. Raises ConfigError."""
    found: dict[str, Any] = {}
    problems = []
    for assignment in assignments or []:
        key, equals, value = assignment.partition("=")
        if not equals:
            problems.append(f"--set {assignment}: write KEY=VALUE, as in worker.batch_ms=10")
        found[key.strip()] = value
    if problems:
        raise ConfigError(problems)
    found["kafka.bootstrap_servers"] = (
        found.get("kafka.bootstrap_servers") if bootstrap is None else bootstrap
    )
    found.update({key.replace("__", "."): value for key, value in more.items() if value is not None})
    return {key: value for key, value in found.items() if value is not None}


def settings_of(config: Path | None, given: dict[str, Any]) -> Settings:
    """The settings that a command runs by. Raises ConfigError with every problem."""
    from stream_scrub.wiring import clients

    return load(flags=given, config_file=config, extra_checks=[clients.refused_properties, rules_problems])


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
