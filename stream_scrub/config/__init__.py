"""Typed, frozen settings: flags over environment over file over defaults, with every problem reported at once.

Only this room reads the environment. It knows no other room: the caller passes `extra_checks`, for instance of the
client properties.
"""

import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_scrub.config.settings import Http, Kafka, Settings, Topics, address_of
from stream_scrub.config.sources import PREFIX, PROPERTIES, Sources
from stream_scrub.errors import ConfigError

__all__ = [
    "Http",
    "Kafka",
    "Loaded",
    "Settings",
    "Topics",
    "address_of",
    "library_environment",
    "load",
    "masked",
    "read",
    "shown_address",
]

Check = Callable[[Settings], list[str]]

# What an interpreter and its libraries may need to start: paths, languages, time zones, module folders, threads.
_LIBRARIES = re.compile(
    r"PATH|LD_\w+|DYLD_\w+|LANG|LANGUAGE|LC_\w+|TZ|TZDIR|TMPDIR|PYTHON\w*|VIRTUAL_ENV|OPENBLAS_\w+"
)
_MASK = "***"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings and their problems. With problems, `settings` is only for display: a wrong setting has its default.

    `origins` has the source of each dotted key and client property: "command line", a variable, a file and line, or
    "default".
    """

    settings: Settings | None
    problems: list[str]
    origins: dict[str, str]


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    config_file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    extra_checks: Sequence[Check] = (),
) -> Settings:
    """The settings, from flags (dotted keys; None: not given) over `environ` over the file over defaults.

    Raises ConfigError with every problem and its place, those of `extra_checks` included.
    """
    loaded = read(flags=flags, config_file=config_file, environ=environ, cwd=cwd, extra_checks=extra_checks)
    if loaded.problems or loaded.settings is None:
        raise ConfigError(loaded.problems)
    return loaded.settings


def read(
    *,
    flags: Mapping[str, Any] | None = None,
    config_file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    extra_checks: Sequence[Check] = (),
) -> Loaded:
    """As `load`, but it never raises: for displaying the configuration with its problems."""
    env = os.environ if environ is None else environ
    sources = Sources()
    sources.read_file(
        None if config_file is None else Path(config_file), env.get(PREFIX + "CONFIG", ""), cwd or Path()
    )
    sources.read_environment(env, cwd or Path())
    sources.read_flags(flags or {})
    sources.distrust_dropped(cwd or Path())
    settings = sources.settings()
    checked = [] if settings is None else [problem for check in extra_checks for problem in check(settings)]
    return Loaded(settings, sources.problems + checked, sources.origins())


def library_environment() -> dict[str, str]:
    """The environment for a child process that needs none of our settings and secrets."""
    return {name: value for name, value in os.environ.items() if _LIBRARIES.fullmatch(name)}


def masked(settings: Settings, harmless: Container[str]) -> dict[str, Any]:
    """The effective configuration as nested plain values. Client properties that are not in `harmless` show ***: a
    mistyped name may hold a password.
    """
    values_shown = settings.model_dump(mode="json")
    for side in PROPERTIES:
        for name in values_shown["kafka"][side]:
            if name not in harmless:
                values_shown["kafka"][side][name] = _MASK
    for target in values_shown["fanout"]["targets"].values():
        target["settings"] = {name: shown_address(value) for name, value in target["settings"].items()}
    return values_shown


def shown_address(value: str) -> str:
    """A setting of a target, without what may be a secret in a URL: its user, its password, and all behind the host."""
    match = re.match(r"(https?://)(?:.*@)?([^/?#@]*)(.*)", value, re.IGNORECASE | re.DOTALL)
    if match is None:
        return value
    hidden = match[3] not in {"", "/"} or "@" in value
    return f"{match[1]}{match[2]}/{_MASK}" if hidden else value
