"""docs/reference/law.md, made from the shipped rules and what tests/golden/rules/matrix.toml says that they do not
model: `python -m tests.support.golden.law` writes it again."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import date
from pathlib import Path

from stream_scrub.rules import Country, Rule, Rulebook, in_words
from stream_scrub.rules.country import parent_of
from tests.support.oracles import matrix
from tests.support.oracles.matrix import Land

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "law.md"
HEAD = """# The law, country by country

The requirements of the shipped rules in words, their legal sources, and what is not proven. This page is generated from the rule files (`stream_scrub/rules`). The verdicts were written from the law separately, as tables: [matrix.toml](../../tests/golden/rules/matrix.toml) says for every country and day who may be called, [verdicts.toml](../../tests/golden/rules/verdicts.toml) and [hours.toml](../../tests/golden/rules/hours.toml) have single questions. A test judges every combination of the matrix on the day before and the day of each change. It is not legal advice: have your counsel read your country's section, above all what is not proven.

* **Requirements** are today's rule in words. `stream-scrub rules show FR --on 2026-08-10` prints the rule of another day; [law.toml](../../tests/golden/rules/law.toml) has every first and last day.
* In every country a number that opposed to you (`internal`) is `opposed`; before the first day of a country's rules, and for a channel without a rule, the verdict is `no-rule`; a premium line is `not-callable`.
* No verdict may be used for longer than its lists and consents allow.
* `consent@campaign` is the register of the prospect's own campaign. A consent without a campaign counts for `prospect.default_campaign` only, in all rules that ask for a consent to the caller.
* **An artificial voice** needs a separate consent (`consent-artificial`) in every country; in the states of Massachusetts, Mississippi and Washington no consent is enough. The verdict is then good through the next day.
* **Not proven and not modelled** lists open doubts, how they were settled, and requirements that no verdict checks. [Hours](../hours.md) are on the verdict, by the person's own clock, and [attempts](../dialler.md#how-often) count once they are reported.
"""
STATES = """### States of %s

A number with an area code of one of these states, or a person who lives there (`residence`), is judged by the state's own rule only. Each section has the differences from today's federal rule, whose sources count too. `stream-scrub rules show US-CT` names the area codes.
"""
# What each rule would repeat, and what stands for it; the top of the page says what is left out.
_REPEATED = {
    " of the prospect's own campaign": "",
    ", and never longer than its lists and consents": "",
    " on the person's own clock": "",
    " and its purposes are known, and none is ": ", for known purposes but ",
    "all its purposes are ": "it is for ",
}
_FEDERAL = ("16 CFR", "47 CFR")  # how the federal sources begin
_SHARED_MIN = 3  # states with one note, from which on it is said once
# A sentence on what is blocked, its exceptions, and how old a list may be.
_BLOCKED = re.compile(r"(.* blocked(?: as [a-z-]+)?), unless (.*?)\.( A list of .*)?")
# Said once, at the top.
_COMMON = re.compile(
    r"A number in internal is always blocked|Numbers of these types are never called: pager, premium rate, shared cost, voicemail\.$"
    r"|A consent in .* itself, without a campaign, counts for prospect\.default_campaign only"
    r"|A call by an artificial voice is blocked, unless the consent-artificial@campaign of the prospect's own campaign holds"
)


def page() -> str:
    """The whole page."""
    book, lands = Rulebook.load(), matrix.lands().values()
    return "\n".join(
        [HEAD, *(line for land in lands if not parent_of(land.code) for line in _section(book, land))]
    )


def _section(book: Rulebook, land: Land) -> Iterator[str]:
    country = book.countries[land.code]
    yield f"## {land.name}\n"
    yield f"Numbers of {', '.join(country.regions)}. The day changes at midnight in {country.timezone}.\n"
    for rule in country.all_on(date.max):
        yield f"**Requirements{_by(rule)}** since {rule.start}:\n"
        yield "".join(f"* {sentence}\n" for sentence in _sentences(rule))
    yield from _notes(land, country)
    states = [each for each in matrix.lands().values() if parent_of(each.code) == land.code]
    if not states:
        return
    yield STATES % ("the United States" if land.code == "US" else land.name)
    said = Counter(note for each in states for note in _open_points(each, book.countries[each.code]))
    shared = [note for note, count in said.items() if count >= _SHARED_MIN]
    if shared:
        yield "In several states:\n"
    for note in shared:
        where = [each.code[3:] for each in states if note in _open_points(each, book.countries[each.code])]
        yield f"* {', '.join(where)}: {note}"
    yield ""
    for each in states:
        yield from _state(book.countries[each.code], each, country, shared)


def _sentences(rule: Rule, federal: Rule | None = None) -> Iterator[str]:
    """What the rule asks, without what is said at the top or by the federal rule. Sources of exemptions, and equal
    exceptions, are said once."""
    known = [] if federal is None else in_words(federal)
    said: set[str] = set()
    exceptions: set[str] = set()
    for sentence in in_words(rule):
        if sentence in known or _COMMON.match(sentence):
            continue
        shown = sentence
        for words, short in _REPEATED.items():
            shown = shown.replace(words, short)
        bare = shown
        for source in dict.fromkeys(exemption.source for exemption in rule.exempt):
            before, named, after = shown.partition(f" ({source})")
            if named:
                once = "" if source in said else f" ({_own(source, rule)})"
                shown = f"{before}{once}{after.replace(named, '')}"
                said.add(source)
            bare = bare.replace(f" ({source})", "")
        if rule.hours is not None:
            shown = shown.replace(rule.hours.source, _own(rule.hours.source, rule))
        if (match := _BLOCKED.fullmatch(bare)) is not None:
            head, exception, age = match.groups()
            shown = f"{head}, with the same exceptions.{age or ''}" if exception in exceptions else shown
            exceptions.add(exception)
        yield shown


def _own(source: str, rule: Rule) -> str:
    """The source, without the federal ones behind a state's own."""
    first, *others = source.split("; ")
    if not parent_of(rule.country):
        return source
    return "; ".join([first, *(part for part in others if not part.startswith(_FEDERAL))])


def _open_points(land: Land, country: Country) -> list[str]:
    notes = (note for rule in country.all_on(date.max) for note in rule.uncertain)
    return list(dict.fromkeys((*land.not_modelled, *notes)))


def _notes(land: Land, country: Country, known: Collection[str] = ()) -> Iterator[str]:
    """What is not proven, without the notes that are known, and the sources of the rules in force."""
    open_points = [note for note in _open_points(land, country) if note not in known]
    if open_points:
        yield "**Not proven and not modelled:**\n"
        yield "".join(f"* {note}\n" for note in open_points)
    for rule in country.all_on(date.max):
        yield f"**Source**{_by(rule)}: {_own(rule.source, rule)}.\n"


def _by(rule: Rule) -> str:
    """The channels of a rule that is not for the voice."""
    return "" if rule.channels == (matrix.VOICE,) else f" by {', '.join(rule.channels)}"


def _state(state: Country, land: Land, federal: Country, shared: Collection[str]) -> Iterator[str]:
    rules = state.all_on(date.max)
    by_channel = {rule.channels: rule for rule in federal.all_on(date.max)}
    notes = {note for rule in by_channel.values() for note in rule.uncertain}
    yield f"#### {land.name} ({state.code})\n"
    for rule in rules:
        if differences := [*_sentences(rule, by_channel.get(rule.channels))]:
            yield f"**Requirements{_by(rule)}** since {rule.start}:\n"
            yield "".join(f"* {sentence}\n" for sentence in differences)
    yield from _notes(land, state, {*notes, *shared})


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
