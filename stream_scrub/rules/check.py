"""From the bytes of one rule file to a `Country`, or to every problem in it, each with its line and its remedy.

Pure: bytes go in, a value comes out. Nothing here guesses: what is not understood is a problem, because a rule that
is half read would let calls through that the other half forbids.
"""

import re
import tomllib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from stream_scrub.rules import purposes
from stream_scrub.rules.country import Country, Rule
from stream_scrub.rules.problems import ProblemSheet, nearest
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.rules.rule import read_rule
from stream_scrub.rules.text import digest_of, text_of
from stream_scrub.toml_lines import syntax_error

_KEYS = ("country", "regions", "timezone", "rule")
_CODE = re.compile(r"[A-Z]{2}")
_REGION = re.compile(r"[A-Z]{2}|001")  # numbering plans use 001 for numbers of no country (+800, +870)
_BYTES_MAX = (
    1 << 18
)  # the shipped files are under 8 KiB; a rule's canonical text is never twice as long as its file


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

    `name` is the file's own name, such as `fr.toml`; `where` is the path to show to people. A file without `timezone`
    gets `default_timezone`, if there is one. `known` are the words for purposes, by default the shipped ones. `kept`:
    the content is the text behind a digest, and names the reading by which it is read; without a name it is the
    first.
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
        return [_syntax(where, text, error)]
    sheet = ProblemSheet(where, text)
    country = _country(
        sheet,
        document,
        name,
        text,
        default_timezone,
        None if kept else purposes.shipped() if known is None else known,
    )
    return sheet.problems() or country


def _syntax(where: str, text: str, error: ValueError) -> str:
    line, reason = syntax_error(text, error)
    return f"{where}:{line}: not valid TOML: {reason}: correct this line or the one before it"


def _country(
    sheet: ProblemSheet,
    document: dict[str, Any],
    name: str,
    text: str,
    default_timezone: str | None,
    known: Vocabulary | None,
) -> Country:
    sheet.unknown(None, document, _KEYS)
    code = sheet.text(None, document, "country", '"FR"')
    if code and not _CODE.fullmatch(code):
        sheet.wrong(
            None, "country", '`country` must be the two capital letters of ISO 3166-1, as in country = "FR"'
        )
    elif code and name != f"{code.lower()}.toml":
        sheet.wrong(
            None, "country", f'`country` is "{code}" in a file called {name}: call it {code.lower()}.toml'
        )
    regions = sheet.names(None, document, "regions", _region_problem)
    if not document.get("regions"):
        sheet.wrong(
            None,
            "regions",
            '`regions` is missing or empty: list whose numbers it governs, as in regions = ["FR"]',
        )
    elif _CODE.fullmatch(code) and regions and code not in regions:
        sheet.wrong(None, "regions", f'`regions` lacks "{code}", the country itself: add it')
    timezone = _timezone(sheet, document, default_timezone)
    rules = _rules(sheet, document, code, known)
    if _CODE.fullmatch(code):
        rules = _named(sheet, rules, regions, timezone)
    return Country(code=code, regions=regions, timezone=timezone, rules=rules, text=text, where=sheet.where)


def _timezone(sheet: ProblemSheet, document: dict[str, Any], default: str | None) -> str:
    if "timezone" not in document and default is not None:
        return default
    key = sheet.text(None, document, "timezone", '"Europe/Paris"')
    if key and not is_timezone(key):
        sheet.wrong(
            None, "timezone", f'`timezone`: no zone is called "{key}"{nearest(key, available_timezones())}'
        )
    return key


def is_timezone(key: str) -> bool:
    """Whether the zone database knows this name."""
    try:
        ZoneInfo(key)
    except (
        KeyError,
        ValueError,
        OSError,
        ImportError,
    ):  # no such zone, not a sound path, a folder, or an odd package name
        return False
    return True


def _rules(
    sheet: ProblemSheet, document: dict[str, Any], code: str, known: Vocabulary | None
) -> tuple[Rule, ...]:
    """The rules with their last days. Notes a problem for each rule that does not start after the one above it for the
    same channels, and for channels that some rules join and others part."""
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        sheet.wrong(None, "rule", "`rule` must be tables: write [[rule]] above each rule's keys")
        return ()
    if not tables:
        sheet.wrong(
            None, "rule", "no rule: add [[rule]] and below it `from`, `source` and `deny` or `require`"
        )
    rules: list[Rule] = []
    for at, table in enumerate(tables):
        rule = read_rule(sheet, at, table, code, known)
        if rule is None:
            continue
        met = [place for place, other in enumerate(rules) if set(other.channels) & set(rule.channels)]
        if met:
            rules[met[-1]] = _followed(sheet, at, rules[met[-1]], rule)
        for other in (rules[place] for place in met):
            if set(other.channels) != set(rule.channels):
                shared = next(channel for channel in rule.channels if channel in other.channels)
                sheet.wrong(
                    at,
                    "channels",
                    f'"{shared}" stands beside other channels in the rule from {other.start}: give each channel '
                    "rules of its own, or the same channels to all of them",
                )
                break
        rules.append(rule)
    return tuple(rules)


def _followed(sheet: ProblemSheet, at: int, rule: Rule, following: Rule) -> Rule:
    """The rule with its last day, given the rule below it in the file, which is in the table of index `at`."""
    if following.start == rule.start:
        sheet.wrong(
            at, "from", f"two rules start on {rule.start}: give each its own day or channel, or make them one"
        )
    elif following.start < rule.start:
        sheet.wrong(
            at,
            "from",
            f"the rule from {following.start} stands below the one from {rule.start}: put the oldest first",
        )
    elif rule.end is None:
        return replace(rule, end=following.start - timedelta(days=1))
    elif following.start <= rule.end:
        sheet.wrong(at, "from", f"the rule above lasts to {rule.end}: start after it, or take its `to` away")
    return rule


def _named(
    sheet: ProblemSheet, rules: tuple[Rule, ...], regions: tuple[str, ...], timezone: str
) -> tuple[Rule, ...]:
    """The rules with their texts and digests. Notes a problem if two rules have one digest."""
    named: dict[str, Rule] = {}
    for at, rule in enumerate(rules):
        text = text_of(rule, regions, timezone)
        digest = digest_of(text)
        first = named.setdefault(digest, replace(rule, text=text, digest=digest))
        if first.text != text:
            sheet.wrong(
                at,
                "source",
                f"its digest {digest} is that of the rule from {first.start} as well: change a word of the source",
            )
    return tuple(named.values())


def _region_problem(name: str) -> str | None:
    return None if _REGION.fullmatch(name) else f'"{name}" is no region: use two capital letters, as in "FR"'
