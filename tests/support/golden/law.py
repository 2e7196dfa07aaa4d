"""docs/reference/law.md, made from the shipped rules and tests/golden/rules/matrix.toml:
`python -m tests.support.golden.law` writes it again."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from stream_scrub.rules import Country, Rule, Rulebook, in_words
from stream_scrub.rules.country import parent_of
from tests.support.oracles import matrix
from tests.support.oracles.matrix import Land, Row

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "law.md"
HEAD = """# The law, country by country

The requirements of the shipped rules, how long a verdict is good, what is not modelled, and the legal sources. This page is generated from the rule files (`stream_scrub/rules`) and from a table of verdicts that was written from the law (`tests/golden/rules/matrix.toml`). A test judges every combination of its rows on the day before and the day of each change. It is not legal advice: have your counsel read your country's section, above all what is [not proven](#how-to-read-a-section).

## How to read a section

* **Requirements** are today's rule in words. `stream-scrub rules show FR --on 2026-08-10` prints the rule of another day.
* **Verdicts**: the first row that fits decides. In every country, a number that opposed to you (`internal`) is always `opposed`; before the first day of a country's rules, and for a channel without a rule, the verdict is `no-rule`; a premium line is `not-callable`.
* **Number** is its state in the registers: `consented` to this caller, `listed` in the country's opposition list, `clean` by your own wash (`clean of one`: of the first system only), `old`: the list or answer is older than the law allows, `area not bought`, `consented since` its registration, `messages`: consented to text messages. A consent without a campaign counts only for `prospect.default_campaign`.
* **Call** is what the prospect states: its purposes (`unnamed`: none that is known; `mixed`: a survey that also sells), a `contract`, a `purchase` or an `inquiry` within so many months, `company`, `consumer`. `+` means and, a comma means or, `not` excludes.
* **Good for** is the number of days for which the verdict may be used. It is never longer than the lists, answers, consents and relations allow, and ends on the last day before the next change of the law. A verdict that rests on a person's consent is good through the next day.
* **An artificial voice** needs a separate consent (`consent-artificial`) in every country; in the states of Massachusetts, Mississippi and Washington no consent is enough. The verdict is then good through the next day.
* **Not proven and not modelled** lists open doubts, how they were settled, and requirements that no verdict checks. [Hours](../hours.md) are on the verdict, and [attempts](../dialler.md#how-often) count once they are reported.
"""
STATES = """### States of the United States

A number with an area code of one of these states, or a person who lives there (`residence`), is judged only by the state's own rule. The requirements are the differences from today's federal rule. In the verdicts, `bound` is a number that is `listed`, `listed by the state`, on an `old` list or `old list of the state`, or in an `area not bought`.
"""


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
        by = "" if rule.channels == (matrix.VOICE,) else f" by {', '.join(rule.channels)}"
        yield f"**Requirements{by}** since {rule.start}:\n"
        yield "".join(f"* {sentence}\n" for sentence in in_words(rule))
    yield from _verdicts(land, country)
    states = [each for each in matrix.lands().values() if parent_of(each.code) == land.code]
    if states:
        yield STATES
    for each in states:
        yield from _state(book.countries[each.code], each, country)


def _verdicts(land: Land, country: Country) -> Iterator[str]:
    yield "**Verdicts:**\n"
    yield "| days | line | number | call | verdict | good for | the law | source |\n|---|---|---|---|---|---|---|---|"
    yield "".join(f"{_row(row)}\n" for row in land.rows)
    yield "**Not proven and not modelled:**\n"
    notes = dict.fromkeys(note for rule in country.all_on(date.max) for note in rule.uncertain)
    yield "".join(f"* {note}\n" for note in [*land.not_modelled, *notes])
    yield "**Sources**, by the first day of each rule:\n"
    yield "".join(f"* {_since(rule)}: {rule.source}.\n" for rule in country.rules)


def _since(rule: Rule) -> str:
    return (
        f"{rule.start}, {', '.join(rule.channels)}" if rule.channels != (matrix.VOICE,) else f"{rule.start}"
    )


def _row(row: Row) -> str:
    last = "" if row.last == date.max else f" to {row.last}"
    days = f"from {row.first}{last}"
    good = {None: "", 1: "1 day"}.get(row.days, f"{row.days} days")
    if row.days is None and row.verdict in matrix.ALLOWED:
        good = "no limit"
    cells = (days, row.line, row.number, row.call, f"`{row.verdict}`", good, row.law, row.source)
    return f"| {' | '.join(cells)} |"


def _state(state: Country, land: Land, federal: Country) -> Iterator[str]:
    (rule,), (whole,) = state.all_on(date.max), federal.all_on(date.max)
    known = in_words(whole)
    yield f"#### {land.name}\n"
    yield f"Area codes {', '.join(prefix.removeprefix('1') for prefix in state.prefixes)}; residence `{state.code}`.\n"
    yield f"**Requirements** since {rule.start}:\n"
    yield "".join(f"* {sentence}\n" for sentence in in_words(rule) if sentence not in known)
    yield from _verdicts(land, state)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
