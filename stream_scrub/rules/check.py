"""From the bytes of one rule file to a `Country`, or to every problem in it, each with its line and its remedy. Pure.

Nothing is guessed: an unknown key or value is a problem, because a rule that is half read would allow calls that the
other half forbids.
"""

import re
import tomllib
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo, available_timezones

from stream_scrub.clock import zone
from stream_scrub.rules import purposes
from stream_scrub.rules.country import Country, Rule, digest_of, parent_of, text_of
from stream_scrub.rules.names import prefix_problem
from stream_scrub.rules.problem_sheet import ProblemSheet, nearest
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.rules.rule import emergencies, read_rule
from stream_scrub.toml_lines import syntax_error

_KEYS = ("country", "regions", "prefixes", "timezone", "evidence_days", "rule")
_CODE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")  # of a country (ISO 3166-1), or of a state (ISO 3166-2)
_REGION = re.compile(r"[A-Z]{2}|001")  # numbering plans use 001 for numbers of no country (+800, +870)
# Shipped files are under 8 KiB; a rule's canonical text is never twice as long as its file.
_BYTES_MAX = 1 << 18


def read_country(
    name: str,
    where: str,
    content: bytes,
    default_timezone: str | None = None,
    known: Vocabulary | None = None,
    *,
    kept: bool = False,
) -> Country | list[str]:
    """The country that a file describes, or the problems in it.

    `name` is the file's own name, as in `fr.toml`, `where` the path to show to people, and `default_timezone` for a
    file without one. `known` are the words for purposes, by default the shipped ones. `kept`: the content is a text from
    the log, which holds its own words.
    """
    if len(content) > _BYTES_MAX:
        return [
            f"{where}:1: the file is over {_BYTES_MAX} bytes: keep one country's rules in it and nothing else"
        ]
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [f"{where}:{line}: the file is not UTF-8: save it as UTF-8"]
    try:
        document = tomllib.loads(text)
    except RecursionError:
        return [f"{where}:1: the brackets are nested too deep: a rule file needs two levels"]
    except ValueError as error:  # tomllib's own error, and Python's for a number of thousands of digits
        line, reason = syntax_error(text, error)
        return [f"{where}:{line}: not valid TOML: {reason}: correct this line or the one before it"]
    sheet = ProblemSheet(where, text, document)
    country = _country(
        sheet, name, text, default_timezone, None if kept else purposes.shipped() if known is None else known
    )
    return sheet.problems() or country


def _country(
    sheet: ProblemSheet, name: str, text: str, default_timezone: str | None, known: Vocabulary | None
) -> Country:
    sheet.unknown(_KEYS)
    code = sheet.text("country", '"FR"')
    if code and not _CODE.fullmatch(code):
        sheet.wrong(
            "country",
            '`country` must be the two capital letters of ISO 3166-1, as in country = "FR", or the code of a state in '
            'ISO 3166-2, as in country = "US-CT"',
        )
    elif code and name != f"{code.lower()}.toml":
        sheet.wrong("country", f'`country` is "{code}" in a file called {name}: call it {code.lower()}.toml')
    state = bool(_CODE.fullmatch(code) and parent_of(code))
    regions = sheet.names("regions", _no_problem if state else _region_problem)
    if not sheet.table.get("regions"):
        sheet.wrong(
            "regions", '`regions` is missing or empty: list whose numbers it governs, as in regions = ["FR"]'
        )
    elif _CODE.fullmatch(code) and regions and code not in regions:
        sheet.wrong("regions", f'`regions` lacks "{code}", the country itself: add it')
    elif state and len(regions) > 1:
        sheet.wrong("regions", f'`regions` of a state is the state alone: regions = ["{code}"]')
    prefixes = _prefixes(sheet, code, state=state)
    timezone = _timezone(sheet, default_timezone)
    rules = _rules(sheet, code, regions, known)
    if _CODE.fullmatch(code):
        rules = _named(sheet, rules, regions, timezone, prefixes)
    evidence_days: int | None = 0
    if "evidence_days" in sheet.table:
        evidence_days = sheet.days("evidence_days", "evidence_days", sheet.table["evidence_days"])
    return Country(code, regions, timezone, rules, text, sheet.where, prefixes, evidence_days or 0)


def _prefixes(sheet: ProblemSheet, code: str, *, state: bool) -> tuple[str, ...]:
    """The first digits of a state's numbers; of a country's, if only these have its rules."""
    prefixes = sheet.names("prefixes", prefix_problem)
    if state and not prefixes:
        sheet.wrong(
            "prefixes",
            f'`prefixes` is missing: list how the numbers of {code} begin, as in ["+1203", "+1475"]',
        )
    return tuple(prefix[1:] for prefix in prefixes)


def _timezone(sheet: ProblemSheet, default: str | None) -> str:
    if "timezone" not in sheet.table and default is not None:
        return default
    key = sheet.text("timezone", '"Europe/Paris"')
    if key and not is_timezone(key):
        sheet.wrong("timezone", f'`timezone`: no zone is called "{key}"{nearest(key, available_timezones())}')
    return key


def is_timezone(key: str) -> bool:
    """Whether the zone database knows this name."""
    try:
        ZoneInfo(key)  # refuses paths
        zone(key)
    # No such zone, no sound path, a folder, an odd package name.
    except (KeyError, ValueError, OSError, ImportError):
        return False
    return True


def _rules(
    sheet: ProblemSheet, code: str, regions: tuple[str, ...], known: Vocabulary | None
) -> tuple[Rule, ...]:
    """The rules with their last days. Notes a problem for each rule that does not start after the one above it for the
    same channels, and for channels that are together in one rule and apart in another."""
    tables = sheet.table.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        sheet.wrong("rule", "`rule` must be tables: write [[rule]] above each rule's keys")
        return ()
    if not tables:
        sheet.wrong("rule", "no rule: add [[rule]] and below it `from`, `source` and `deny` or `require`")
    rules: list[Rule] = []
    for at, table in enumerate(tables):
        here = sheet.of_rule(at, table)
        rule = read_rule(here, code, regions, known)
        if rule is None:
            continue
        same = [rule_at for rule_at, other in enumerate(rules) if set(other.channels) & set(rule.channels)]
        if same:
            rules[same[-1]] = _followed(here, rules[same[-1]], rule)
        for other in (rules[rule_at] for rule_at in same):
            if set(other.channels) != set(rule.channels):
                shared = next(channel for channel in rule.channels if channel in other.channels)
                here.wrong(
                    "channels",
                    f'"{shared}" is with other channels in the rule from {other.start}: give each channel '
                    "rules of its own, or the same channels to all of them",
                )
                break
        rules += [replace(part, table=at) for part in emergencies(here, rule)]
    return tuple(rules)


def _followed(sheet: ProblemSheet, rule: Rule, following: Rule) -> Rule:
    """The rule with its last day, given the rule below it in the file, which is that of the sheet."""
    if following.start == rule.start:
        sheet.wrong(
            "from", f"two rules start on {rule.start}: give each its own day or channel, or make them one"
        )
    elif following.start < rule.start:
        sheet.wrong(
            "from",
            f"the rule from {following.start} is below the one from {rule.start}: put the oldest first",
        )
    elif rule.end is None:
        return replace(rule, end=following.start - timedelta(days=1))
    elif following.start <= rule.end:
        sheet.wrong("from", f"the rule above lasts to {rule.end}: start after it, or take its `to` away")
    return rule


def _named(
    sheet: ProblemSheet,
    rules: tuple[Rule, ...],
    regions: tuple[str, ...],
    timezone: str,
    prefixes: tuple[str, ...],
) -> tuple[Rule, ...]:
    """The rules with their texts and digests. Notes a problem if two rules have one digest."""
    by_digest: dict[str, Rule] = {}
    for rule in rules:
        if rule.hours is not None:
            rule = replace(rule, hours=rule.hours.within(rule.start, rule.end))  # noqa: PLW2901
        text = text_of(rule, regions, timezone, prefixes)
        digest = digest_of(text)
        first = by_digest.setdefault(digest, replace(rule, text=text, digest=digest))
        if first.text != text:
            sheet.of_rule(rule.table, {}).wrong(
                "source",
                f"its digest {digest} is that of the rule from {first.start} as well: change a word of the source",
            )
    return tuple(by_digest.values())


def _no_problem(_name: str) -> None:
    return None


def _region_problem(name: str) -> str | None:
    return (
        None if _REGION.fullmatch(name) else f'"{name}" is not a region: use two capital letters, as in "FR"'
    )
