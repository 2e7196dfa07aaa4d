"""docs/reference/law.md, made from the shipped rules and what tests/golden/rules/matrix.toml says that they do not
model: `python -m tests.support.golden.law` writes it again."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path

from stream_scrub.model import RESTED
from stream_scrub.rules import Country, Rule, Rulebook, in_words
from stream_scrub.rules.country import parent_of
from tests.support.oracles import matrix
from tests.support.oracles.matrix import Land

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "law.md"
HEAD = """# The law, country by country

The requirements of the shipped rules in words, their legal sources and open points, generated from the rule files (`stream_scrub/rules`). The verdicts were written from the law separately, as tables (`tests/golden/rules/`); tests compare the two. It is not legal advice: have your counsel read your country's section, above all its open points.

* **Requirements** are today's rule in words. `stream-scrub rules show FR --on 2026-08-10` prints the rule of another day; [law.toml](../../tests/golden/rules/law.toml) has every first and last day.
* In every country a number that opposed to you (`internal`) is `opposed`; before the first day of a country's rules, and for a channel without a rule, the verdict is `no-rule`; a premium line is `not-callable`.
* An allowed verdict may be used for one day where no other time is stated, and never longer than its lists and consents allow.
* **A purchase** is the last purchase or payment, or the end of a contract.
* A number that rests is blocked as `too-often`. All calls of one professional count as attempts.
* `consent@campaign` is the register of the prospect's own campaign. A consent without a campaign counts for `prospect.default_campaign` only, in all rules that ask for a consent to the caller.
* **An artificial voice** needs a separate consent (`consent-artificial`) in every country; in the states of Massachusetts, Mississippi and Washington no consent is enough. The verdict is then good through the next day.
* **Open points** are doubts, how they were settled, and requirements that no verdict checks.
* [Hours](../hours.md) are on the verdict, by the person's own clock. Where a section names none, none were found in law. [Attempts](../dialler.md#how-often) count once they are reported.
* The day changes at midnight in the zone of the country.
"""
STATES = """### States of %s

A number with an area code of one of these states, or a person who lives there (`residence`), is judged by the state's own rule only. Each section has the differences from today's federal rule.
"""
AMERICAN_STATES = """What several states share is listed first. A list is good for as long as in the federal rule where nothing else is said. A company is exempt only if every purpose is known and none is office-supplies. An exemption without a source has the federal one; those of companies and customers rest on a law firm's chart of the states too. `stream-scrub rules show US-CT` names the area codes.
"""
# What each rule would repeat, and what stands for it; the top of the page says what is left out.
_REPEATED = {
    " of the prospect's own campaign": "",
    ", and never longer than its lists and consents": "",
    " on the person's own clock": "",
    " and its purposes are known, and none is ": ", for known purposes but ",
    "all its purposes are ": "it is for ",
    "the last purchase or the end of a contract is ": "a purchase is ",
    f": a number in {RESTED} is blocked as too-often. All calls of one professional count.": ".",
}
_COMPANIES = ", for known purposes but office-supplies"  # of every American state's companies; said once
_FEDERAL = ("16 CFR", "47 CFR", "FTC FAQ")  # how the federal sources begin
_SHARED_MIN = 2  # states with one note or sentence, from which on it is said once
_SHARED_WORDS_MIN = 6  # a shorter sentence is not worth its list of states
_AS_BEFORE = "with the same exceptions"
# A sentence on what is blocked, its exceptions, and how old a list may be.
_BLOCKED = re.compile(r"(.* blocked(?: as [a-z-]+)?), unless (.*?)\.( A list of .*)?")
_LIST_AGE = re.compile(r"A list of \S+ is good")  # the sentence names the register already
_USUAL_TIME = re.compile(r"An allowed verdict may be used for 1 day(?:, |\.)")
_NO_HOURS = "Hours: none found in law."
# Said once, at the top.
_COMMON = re.compile(
    r"This rule is for calls by |A number in internal is always blocked|Numbers of these types are never called: pager, premium rate, shared cost, voicemail\.$"
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
    yield f"Numbers of {', '.join(country.regions)}. Zone: {country.timezone}.\n"
    for rule in country.all_on(date.max):
        yield f"**Requirements{_by(rule)}** since {rule.start}:\n"
        yield "".join(f"* {sentence}\n" for sentence in _sentences(rule))
    yield from _notes(land, country)
    states = [each for each in matrix.lands().values() if parent_of(each.code) == land.code]
    if not states:
        return
    yield STATES % ("the United States" if land.code == "US" else land.name)
    if land.code == "US":
        yield AMERICAN_STATES
    points = {each.code: _open_points(each, book.countries[each.code]) for each in states}
    sentences = {each.code: _shareable(book.countries[each.code], country) for each in states}
    shared = [*_in_several(sentences), *_in_several(points)]
    if shared:
        yield "In several states:\n"
    for line in shared:
        where = [code[3:] for code in points if line in points[code] or line in sentences[code]]
        yield f"* {', '.join(where)}: {line}"
    yield ""
    for each in states:
        yield from _state(book.countries[each.code], each, country, shared)


def _in_several(lines: Mapping[str, list[str]]) -> list[str]:
    """The lines that are said of several states."""
    states = Counter(line for state in lines.values() for line in state)
    return [line for line, count in states.items() if count >= _SHARED_MIN]


def _shareable(state: Country, federal: Country) -> list[str]:
    """The sentences of a state's rule for calls that mean the same without their neighbours."""
    by_channel = {rule.channels: rule for rule in federal.all_on(date.max)}
    rule = state.of(matrix.VOICE)[-1]
    sentences = [*_sentences(rule, by_channel.get(rule.channels))]
    if any(_AS_BEFORE in sentence for sentence in sentences):
        sentences = [sentence for sentence in sentences if not _BLOCKED.fullmatch(sentence)]
    return [
        sentence
        for sentence in sentences
        if len(sentence.split()) >= _SHARED_WORDS_MIN and _AS_BEFORE not in sentence
    ]


def _sentences(rule: Rule, federal: Rule | None = None) -> Iterator[str]:
    """What the rule asks, without what is said at the top or by the federal rule. Sources of exemptions, and equal
    exceptions, are said once."""
    known = [] if federal is None else in_words(federal)
    said: set[str] = set()
    exceptions: set[str] = set()
    for sentence in in_words(rule):
        if sentence in known or _COMMON.match(sentence):
            continue
        if federal is None and _USUAL_TIME.match(sentence):
            continue
        shown = sentence
        for words, short in _REPEATED.items():
            shown = shown.replace(words, short)
        if federal is not None:
            shown = shown.replace(_COMPANIES, "")
        bare = shown
        for source in dict.fromkeys(exemption.source for exemption in rule.exempt):
            before, named, after = shown.partition(f" ({source})")
            if named:
                own = _own(source, rule)
                once = f" ({own})" if own and source not in said else ""
                shown = f"{before}{once}{after.replace(named, '')}"
                said.add(source)
            bare = bare.replace(f" ({source})", "")
        if rule.hours is not None:
            shown = shown.replace(f" ({rule.hours.source})", f" ({_own(rule.hours.source, rule)})").replace(
                " ()", ""
            )
        if (match := _BLOCKED.fullmatch(bare)) is not None:
            head, exception, age = match.groups()
            shown = f"{head}, {_AS_BEFORE}.{age or ''}" if exception in exceptions else shown
            exceptions.add(exception)
            if age and any(age in line for line in known):
                shown = shown.removesuffix(age)
        yield _LIST_AGE.sub("A list is good", shown)


def _own(source: str, rule: Rule) -> str:
    """The source, for a state without the federal ones; empty if it has no other."""
    if not parent_of(rule.country):
        return source
    return "; ".join(part for part in source.split("; ") if not part.startswith(_FEDERAL))


def _open_points(land: Land, country: Country) -> list[str]:
    notes = (note for rule in country.all_on(date.max) for note in rule.uncertain)
    return [note for note in dict.fromkeys((*land.not_modelled, *notes)) if note != _NO_HOURS]


def _notes(land: Land, country: Country, known: Collection[str] = ()) -> Iterator[str]:
    """What is not proven, and the sources of the rules in force, without those that are known."""
    open_points = [note for note in _open_points(land, country) if note not in known]
    if open_points:
        yield "**Open points:**\n"
        yield "".join(f"* {note}\n" for note in open_points)
    for rule in country.all_on(date.max):
        sources = [source for source in _own(rule.source, rule).split("; ") if source not in known]
        if sources:
            yield f"**Source**{_by(rule)}: {'; '.join(sources)}.\n"


def _by(rule: Rule) -> str:
    """The channels of a rule that is not for the voice."""
    return "" if rule.channels == (matrix.VOICE,) else f" by {', '.join(rule.channels)}"


def _state(state: Country, land: Land, federal: Country, shared: Collection[str]) -> Iterator[str]:
    rules = state.all_on(date.max)
    by_channel = {rule.channels: rule for rule in federal.all_on(date.max)}
    said = {*shared, *(note for rule in by_channel.values() for note in rule.uncertain)}
    said |= {source for rule in by_channel.values() for source in rule.source.split("; ")}
    shareable = _shareable(state, federal)
    yield f"#### {land.name} ({state.code})\n"
    for rule in rules:
        differences = [*_sentences(rule, by_channel.get(rule.channels))]
        if rule.channels == (matrix.VOICE,):
            differences = [each for each in differences if each not in shareable or each not in shared]
        if differences:
            yield f"**Requirements{_by(rule)}** since {rule.start}:\n"
            yield "".join(f"* {sentence}\n" for sentence in differences)
    yield from _notes(land, state, said)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
