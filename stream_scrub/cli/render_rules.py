"""`rules check`, `rules show` and `rules publish` in words: what the rules do today, and what is wrong or doubtful
about them."""

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from pathlib import Path

from stream_scrub import terminal
from stream_scrub.cli.options import Invocation
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Corrupt, Refused, ScrubError, Unavailable
from stream_scrub.index import Index
from stream_scrub.publisher.publish_rules import RulesPublished
from stream_scrub.queries import rules_report
from stream_scrub.rules import VOICE, Country, Rulebook, survey
from stream_scrub.wiring import scrubbing


def check(call: Invocation, settings: Settings, read_index: Callable[[], Index] | None) -> int:
    """Explain every country's rule of today, and say what is wrong or doubtful about it. Returns the exit code: 2 when a
    file is wrong. `read_index` None: the log is not asked.

    A log that cannot be asked is a warning: the rest is said all the same. Raises Corrupt, after that.
    """
    found = survey(Path(settings.rules.folder) if settings.rules.folder else None)
    now = datetime.now(UTC)
    prospect = settings.prospect
    warnings = rules_report.warnings(
        found.countries,
        survey().countries,
        now,
        found.purposes,
        prospect.default_purpose,
        prospect.default_campaign,
    )
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
            warnings += rules_report.log_warnings(found.countries, index, now, prospect.default_campaign)
    result = rules_report.RulesCheck(
        countries=[
            checked
            for each in found.countries
            for checked in rules_report.checked(each, now, from_folder=each.code in found.own)
        ],
        position=position,
        warnings=warnings,
        errors=list(found.problems),
    )
    call.write(result, lambda checked: _print_check(checked, found.replaced))
    if corrupt is not None:
        raise corrupt
    return 2 if found.problems else 0


def _unasked(error: ScrubError) -> str:
    return f"the log could not be asked, so what it holds was not held against the rules: {error}"


def _print_check(result: rules_report.RulesCheck, replaced: Collection[str]) -> None:
    console = terminal.People()
    for each in result.countries:
        own = "your own" if each.from_folder else ""
        whose = "replaces the shipped one" if each.country in replaced else own
        console.print(f"{each.country}{_by(each)}  {each.where}{f' ({whose})' if whose else ''}")
        _print_day(console, each)
    for title, lines in (("warning", result.warnings), ("error", result.errors)):
        for line in lines:
            console.print(f"{title}: {line}")
    counts = (len({each.country for each in result.countries}), len(result.warnings), len(result.errors))
    console.print("{} countries, {} warnings, {} errors".format(*counts))


def _print_day(console: terminal.People, day: rules_report.CountryDay) -> None:
    rule, following = day.rule, day.next
    if rule is None:
        console.print(f"  no rule on {day.on}: nobody is {f'reached{_by(day)}' if _by(day) else 'called'}")
    else:
        until = f" to {rule.end}" if rule.end else ""
        console.print(f"  {rule.rules}, from {rule.start}{until}: {rule.source}")
        for sentence in rule.says:
            console.print(f"  - {sentence}")
    if following is not None:
        console.print(f"  next, from {following.start}: {following.rules}: {following.source}")


def _by(day: rules_report.CountryDay) -> str:
    """By which channels, unless by voice alone."""
    return "" if day.channels == [VOICE] else f" by {', '.join(day.channels)}"


def show_rule(
    call: Invocation, settings: Settings, asked: str, on: str, channel: str = VOICE, *, only_text: bool
) -> None:
    """The rule of a day for a country or a region and a channel, or the one of a digest. Raises ConfigError."""
    country, day, channel = _asked(scrubbing.rulebook(settings), asked, on, channel)
    result = rules_report.of_day(country, day, channel)
    if only_text and result.rule is not None:
        terminal.raw(result.rule.text.encode())  # exactly the text: its digest is that of these bytes
        return
    call.write(result, _print_country)


def _print_country(day: rules_report.CountryDay) -> None:
    console = terminal.People()
    console.print(f"{day.country}{_by(day)} on {day.on}: numbers of {', '.join(day.regions)}")
    console.print(f"  {day.where}, days of {day.timezone}")
    _print_day(console, day)
    for note in day.rule.uncertain if day.rule is not None else ():
        console.print(f"  not proven: {note}")


def published(result: RulesPublished) -> None:
    """How many texts were put on the log."""
    if result.position is None:
        terminal.People().print(f"all {len(result.rules)} rules in use are on the log already")
    else:
        terminal.People().print(
            f"{len(result.added)} of {len(result.rules)} rules in use were put on the log, at position {result.position}"
        )


def _asked(rulebook: Rulebook, asked: str, on: str, channel: str) -> tuple[Country, date, str]:
    if "@" in asked:
        return _of_digest(rulebook, asked.lower())
    region = asked.upper()
    country = rulebook.country(region)
    if country is None:
        known = ", ".join(sorted(region for each in rulebook.countries.values() for region in each.regions))
        raise ConfigError([f"no rules for {asked!r}, so nobody there is called: there are rules for {known}"])
    if channel not in country.channels:
        known = ", ".join(country.channels)
        raise ConfigError(
            [f"--channel: no rule of {country.code} is for {channel!r}: there are rules for {known}"]
        )
    if not on:
        return country, rules_report.today(country, datetime.now(UTC)), channel
    try:
        return country, datetime.strptime(on, "%Y-%m-%d").replace(tzinfo=UTC).date(), channel
    except ValueError as error:
        raise ConfigError([f"--on: {on!r} is no day; write it as 2026-08-10"]) from error


def _of_digest(rulebook: Rulebook, digest: str) -> tuple[Country, date, str]:
    """The country, the first day and a channel of the rule that a stamp names."""
    for country in rulebook.countries.values():
        for rule in country.rules:
            if rule.digest == digest:
                return country, rule.start, rule.channels[0]
    raise ConfigError(
        [f"{digest}: no rule in force here has that digest; an older one may be kept on the log"]
    )
