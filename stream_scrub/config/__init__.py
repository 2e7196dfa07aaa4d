"""Typed, frozen settings: flags over environment over file over defaults, with every problem reported at once.

This is the only reader of the environment. It knows no other room: whoever loads the settings hands in
`extra_checks`, for instance of which client properties are allowed.
"""

import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_scrub.config.settings import (
    Http,
    Kafka,
    Lists,
    Log,
    ProspectSettings,
    Rules,
    Settings,
    Worker,
    address_of,
)
from stream_scrub.config.sources import PREFIX, PROPERTIES, Sources
from stream_scrub.config.topics import Topics
from stream_scrub.errors import ConfigError

__all__ = [
    "Http",
    "Kafka",
    "Lists",
    "Loaded",
    "Log",
    "ProspectSettings",
    "Rules",
    "Settings",
    "Topics",
    "Worker",
    "address_of",
    "library_environment",
    "load",
    "masked",
    "read",
]

Check = Callable[[Settings], list[str]]

# What an interpreter and its libraries may need to start: paths, languages, time zones, places of modules.
_LIBRARIES = re.compile(r"PATH|LD_\w+|DYLD_\w+|LANG|LANGUAGE|LC_\w+|TZ|TZDIR|TMPDIR|PYTHON\w*|VIRTUAL_ENV")
_MASK = "***"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found. If there are problems, `settings` is only for showing: each wrong setting has its default.

    `origins` says for each dotted key, and each client property, where its value comes from: "command line", the name of
    a variable, a file and line, or "default".
    """

    settings: Settings | None
    problems: list[str]
    origins: dict[str, str]


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    extra_checks: Sequence[Check] = (),
) -> Settings:
    """The settings, from flags (dotted keys; None: not given) over `environ` over the file over defaults.

    Raises ConfigError with every problem and its place. The problems that `extra_checks` find are in the same list.
    """
    found = read(flags=flags, config_file=config_file, environ=environ, cwd=cwd, extra_checks=extra_checks)
    if found.problems or found.settings is None:
        raise ConfigError(found.problems)
    return found.settings


def read(
    *,
    flags: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    extra_checks: Sequence[Check] = (),
) -> Loaded:
    """As `load`, but never raises: for showing the configuration together with its problems."""
    env = os.environ if environ is None else environ
    sources = Sources()
    sources.read_file(config_file, env.get(PREFIX + "CONFIG", ""), cwd or Path())
    sources.read_environment(env, cwd or Path())
    sources.read_flags(flags or {})
    sources.distrust_dropped(cwd or Path())
    settings = sources.settings()
    checked = [] if settings is None else [problem for check in extra_checks for problem in check(settings)]
    return Loaded(settings, sources.problems + checked, sources.origins())


def library_environment() -> dict[str, str]:
    """The environment of a process that needs none of our settings, and none of their secrets."""
    return {name: value for name, value in os.environ.items() if _LIBRARIES.fullmatch(name)}


def masked(settings: Settings, harmless: Container[str]) -> dict[str, Any]:
    """The effective configuration as nested plain values. The value of each client property that is not known to be
    `harmless` is ***: a mistyped name may hold a password.
    """
    shown = settings.model_dump(mode="json")
    for side in PROPERTIES:
        for name in shown["kafka"][side]:
            if name not in harmless:
                shown["kafka"][side][name] = _MASK
    return shown
