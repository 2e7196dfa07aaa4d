"""`rules check` and `rules show`: what the rules do today, in words, and what is wrong or doubtful about them."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from stream_scrub import terminal
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, ScrubError, Unavailable
from stream_scrub.index import Index
from stream_scrub.queries import rules_report
from stream_scrub.rules import Country, Rulebook, Survey, survey
from stream_scrub.wiring import scrubbing


def check(settings: Settings, read_index: Callable[[], Index] | None, *, as_json: bool) -> int:
    """Explain every country's rule of today and tell what is wrong or doubtful. Returns the exit code: 2 when a file
    is wrong. `read_index` None: the log is not asked.

    A log that cannot be asked is a warning: the rest is told all the same. Raises Corrupt, after that.
    """
    found = survey(Path(settings.rules.folder) if settings.rules.folder else None)
    now = datetime.now(UTC)
    warnings = rules_report.warnings(found.countries, survey().countries, now)
    position: int | None = None
    corrupt: Corrupt | None = None
    if read_index is not None:
        try:
            index = read_index()
        except (Unavailable, Refused) as error:
            warnings.append(_unasked(error))
        except Corrupt as error:
            corrupt = error
        else:
            position = index.position
            warnings += rules_report.log_warnings(found.countries, index, now)
    told = [
        {**rules_report.of_day(each, rules_report.today(each, now)), "from_folder": each.code in found.own}
        for each in found.countries
    ]
    if as_json:
        terminal.machine(
            {"countries": told, "position": position, "warnings": warnings, "errors": list(found.problems)}
        )
    else:
        _print_check(told, found, warnings)
    if corrupt is not None:
        raise corrupt
    return 2 if found.problems else 0


def _unasked(error: ScrubError) -> str:
    return f"the log could not be asked, so what it holds was not held against the rules: {error}"


def _print_check(told: list[dict[str, Any]], found: Survey, warnings: list[str]) -> None:
    console = terminal.People()
    for each in told:
        code = each["country"]
        whose = (
            "replaces the shipped one" if code in found.replaced else "your own" if code in found.own else ""
        )
        console.print(f"{code}  {each['where']}{f' ({whose})' if whose else ''}")
        _print_day(console, each)
    for title, lines in (("warning", warnings), ("error", found.problems)):
        for line in lines:
            console.print(f"{title}: {line}")
    console.print(f"{len(told)} countries, {len(warnings)} warnings, {len(found.problems)} errors")


def _print_day(console: terminal.People, told: dict[str, Any]) -> None:
    rule, following = told["rule"], told["next"]
    if rule is None:
        console.print(f"  no rule on {told['on']}: nobody is called")
    else:
        console.print(f"  {rule['rules']}, {_period(rule)}: {rule['source']}")
        for sentence in rule["says"]:
            console.print(f"  - {sentence}")
    if following is not None:
        console.print(f"  next, from {following['from']}: {following['rules']}: {following['source']}")


def _period(rule: dict[str, Any]) -> str:
    return f"from {rule['from']}" + (f" to {rule['to']}" if rule["to"] else "")


def show_rule(settings: Settings, asked: str, on: str, *, only_text: bool, as_json: bool) -> None:
    """The rule of a day for a country or a region, or the one of a digest. Raises ConfigError."""
    rulebook = scrubbing.rulebook(settings)
    country, day = _asked(rulebook, asked, on)
    told = rules_report.of_day(country, day)
    if only_text and told["rule"] is not None:
        terminal.raw(told["rule"]["text"].encode())  # exactly the text: its digest is that of these bytes
        return
    if as_json:
        terminal.machine(told)
        return
    console = terminal.People()
    console.print(f"{country.code} on {day}: numbers of {', '.join(country.regions)}")
    console.print(f"  {country.where}, days of {country.timezone}")
    _print_day(console, told)
    for note in told["rule"]["uncertain"] if told["rule"] else ():
        console.print(f"  not proven: {note}")


def _asked(rulebook: Rulebook, asked: str, on: str) -> tuple[Country, date]:
    if "@" in asked:
        return _of_digest(rulebook, asked.lower())
    region = asked.upper()
    country = rulebook.country(region)
    if country is None:
        known = ", ".join(sorted(region for each in rulebook.countries.values() for region in each.regions))
        raise ConfigError([f"no rules for {asked!r}, so nobody there is called: there are rules for {known}"])
    if not on:
        return country, rules_report.today(country, datetime.now(UTC))
    try:
        return country, datetime.strptime(on, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise ConfigError([f"--on: {on!r} is no day; write it as 2026-08-10"]) from error


def _of_digest(rulebook: Rulebook, digest: str) -> tuple[Country, date]:
    """The country and the first day of the rule that a stamp names."""
    for country in rulebook.countries.values():
        for rule in country.rules:
            if rule.digest == digest:
                return country, rule.start
    raise ConfigError(
        [f"{digest}: no rule in force here has that digest; an older one may be kept on the log"]
    )
