"""`rules`: explains the rules, checks their files, and publishes their texts to the log."""

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from stream_scrub import terminal
from stream_scrub.cli.options import Invocation, RulesFolder, argument, option, quiet_log
from stream_scrub.errors import ConfigError, Corrupt, Refused, Unavailable

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.config import Settings
    from stream_scrub.log.replay import Replay
    from stream_scrub.publisher.publish_rules import RulesPublished
    from stream_scrub.queries.rules_report import CountryDay, RulesCheck
    from stream_scrub.rules import Country, Rulebook
    from stream_scrub.terminal.console import People


def check(
    call: Invocation,
    folder: RulesFolder = None,
    no_log: Annotated[bool, option("--no-log", "Check the files only, without the log.")] = False,
) -> None:
    """Explain today's rules, with warnings and errors. Exit 2 if a file is wrong."""
    from stream_scrub.config import load
    from stream_scrub.kafka import clients
    from stream_scrub.ops import read_log

    settings = load(
        flags=call.flags(rules__folder=folder),
        config_file=call.config,
        extra_checks=[clients.refused_properties],
    )
    replayed = None if no_log else lambda: read_log.replayed(settings, quiet_log(settings))
    raise typer.Exit(report(call, settings, replayed))


def show(
    call: Invocation,
    what: Annotated[str, argument("REGION", "A region, as in FR or GP; or a stamp's digest.")],
    on: Annotated[str, option("DATE", "The rule of that day; default today.")] = "",
    channel: Annotated[str, option("CHANNEL", "The channel: voice, or another such as sms.")] = "voice",
    folder: RulesFolder = None,
) -> None:
    """Explain the rule of a day: what it blocks, what lifts that, its source, the next rule."""
    settings = call.settings(rules__folder=folder)
    show_rule(call, settings, what, on, channel)


def purposes(call: Invocation, folder: RulesFolder = None) -> None:
    """List the purposes of calls, with the words for each."""
    from stream_scrub.rules.purposes import purposes_in
    from stream_scrub.scrub import scrubbing

    settings = call.settings(rules__folder=folder)
    known = purposes_in(scrubbing.vocabulary(scrubbing.law(settings)))
    call.write(
        known,
        lambda each: terminal.people().rows(
            ("purpose", "also understood"), [(name, ", ".join(words)) for name, words in each.items()]
        ),
    )


def publish(call: Invocation, folder: RulesFolder = None) -> None:
    """Write the texts of the rules in use to the log, so that their stamps can be replayed later."""
    from stream_scrub.publisher import publish_rules

    settings = call.settings(rules__folder=folder)
    call.write(publish_rules.run(settings, quiet_log(settings)), show_published)


def report(call: Invocation, settings: "Settings", replayed: "Callable[[], Replay] | None") -> int:
    """Print the report; returns the exit code. `replayed` None: without the log. An unreadable log is a warning.
    Raises Corrupt after printing."""
    from stream_scrub.queries import rules_report
    from stream_scrub.rules import survey
    from stream_scrub.rules.book import in_use, unknown_countries
    from stream_scrub.rules.shipped import shipped

    files = survey(settings.rules.own_folder, always_query=settings.rules.reassigned_query == "always")
    codes = settings.rules.countries
    unknown = unknown_countries(files.countries, codes)
    files = files._replace(countries=in_use(files.countries, codes), problems=(*files.problems, *unknown))
    now = datetime.now(UTC)
    prospect = settings.prospect
    warnings = rules_report.warnings(
        files.countries,
        survey().countries,
        now,
        files.purposes,
        prospect.default_purpose,
        prospect.default_campaign,
    )
    position: int | None = None
    corrupt: Corrupt | None = None
    if replayed is not None:
        try:
            log = replayed()
        except (Unavailable, Refused) as error:
            warnings.append(f"the rules were not compared with the log: {error}")
        except Corrupt as error:
            corrupt = error
        else:
            position = log.index.position
            warnings += rules_report.log_warnings(files.countries, log.index, now, prospect.default_campaign)
            warnings += rules_report.not_on_log(files.countries, log.rules.texts, now)
    result = rules_report.RulesCheck(
        countries=[
            checked
            for each in files.countries
            for checked in rules_report.checked(each, now, from_folder=each.code in files.own)
        ],
        edition=f"{shipped().edition} ({shipped().where})",
        position=position,
        warnings=warnings,
        errors=list(files.problems),
    )
    call.write(result, lambda checked: show_check(checked, files.replaced))
    if corrupt is not None:
        raise corrupt
    return 2 if files.problems else 0


def show_check(result: "RulesCheck", replaced: Collection[str]) -> None:
    """Print each country's rules, the warnings and the errors."""
    console = terminal.people()
    for each in result.countries:
        own = "your own" if each.from_folder else ""
        whose = "replaces the shipped one" if each.country in replaced else own
        console.print(f"{each.country}{_by(each)}  {each.where}{f' ({whose})' if whose else ''}")
        _print_day(console, each)
    for title, lines in (("warning", result.warnings), ("error", result.errors)):
        for line in lines:
            console.print(f"{title}: {line}")
    codes = {each.country for each in result.countries}
    states = sum("-" in code for code in codes)
    of_files = f"{len(codes) - states} countries, {states} states"
    console.print(f"shipped rules of {result.edition}")
    console.print(f"{of_files}, {len(result.warnings)} warnings, {len(result.errors)} errors")


def _print_day(console: "People", day: "CountryDay") -> None:
    from stream_scrub.rules.country import parent_of

    rule, following = day.rule, day.next
    if rule is None:
        parent = parent_of(day.country)
        then = f"that of {parent} holds" if parent else "every prospect is blocked"
        console.print(f"  no rule on {day.on}: {then}{_by(day)}")
    else:
        until = f" to {rule.end}" if rule.end else ""
        console.print(f"  {rule.rules}, from {rule.start}{until}: {rule.source}")
        for sentence in rule.says:
            console.print(f"  - {sentence}")
    if following is not None:
        console.print(f"  next, from {following.start}: {following.rules}: {following.source}")


def _by(day: "CountryDay") -> str:
    """Return the channels, unless the only one is voice."""
    return "" if day.channels == ["voice"] else f" by {', '.join(day.channels)}"


def show_rule(call: Invocation, settings: "Settings", what: str, on: str, channel: str = "voice") -> None:
    """Print the rule of a region on a day, or of a digest. Raises ConfigError."""
    from stream_scrub.queries import rules_report
    from stream_scrub.scrub import scrubbing

    day = _country_day(scrubbing.law(settings), what, on, channel)
    call.write(rules_report.of_day(*day), show_country)


def show_country(day: "CountryDay") -> None:
    """Print one country's rule of a day."""
    console = terminal.people()
    whose = f"of {', '.join(day.regions)}"
    if "-" in day.country:
        whose = f"that begin with {', '.join(day.prefixes)}, and people who live there"
    elif day.prefixes:
        whose += "; no rule for those of areas that no file lists"
    console.print(f"{day.country}{_by(day)} on {day.on}: numbers {whose}")
    console.print(f"  {day.where}, days of {day.timezone}")
    _print_day(console, day)
    for note in day.rule.uncertain if day.rule is not None else ():
        console.print(f"  uncertain: {note}")


def show_published(result: "RulesPublished") -> None:
    """Print how many texts were published."""
    if result.position is None:
        terminal.people().print(f"all {len(result.rules)} rules in use are on the log already")
    else:
        terminal.people().print(
            f"published {len(result.added)} of {len(result.rules)} rules in use, at position {result.position}"
        )


def _country_day(rulebook: "Rulebook", what: str, on: str, channel: str) -> "tuple[Country, date, str]":
    """Return the country, day and channel for the command's arguments. Raises ConfigError."""
    from stream_scrub.numbering import residence_named
    from stream_scrub.texts import masked

    if "@" in what:
        for rule_country in rulebook.countries.values():
            for rule in rule_country.rules:
                if rule.digest == what.lower():
                    return rule_country, rule.start, rule.channels[0]
        raise ConfigError(
            [f"{what}: no rule in the rule files has this digest; an older one may be on the log"]
        )
    country = rulebook.country(residence_named(what) or what.upper())
    if country is None:
        known = ", ".join(sorted(region for each in rulebook.countries.values() for region in each.regions))
        raise ConfigError(
            [f"no rules for {masked(what)!r}, so every prospect there is blocked; rules exist for {known}"]
        )
    if channel not in country.channels:
        known = ", ".join(country.channels)
        raise ConfigError([f"--channel: {country.code} has no rule for {channel!r}, only for {known}"])
    if not on:
        return country, country.day(datetime.now(UTC)), channel
    from stream_scrub.queries import check

    return country, check.noon(on, "--on").date(), channel
