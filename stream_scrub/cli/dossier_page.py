"""The dossier as a page to read, print and file: one file without links to others, with its data as JSON inside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_scrub import __version__
from stream_scrub.cli.evidence import answer_lines, change_lines, membership_line, proof_lines
from stream_scrub.clock import parse_zoned, zone
from stream_scrub.queries import answer as answers
from stream_scrub.queries import lawful_days
from stream_scrub.queries.dossier import Dossier, DossierVerdict
from stream_scrub.queries.explain import Explanation
from stream_scrub.queries.lawful_days import DayAnswer
from stream_scrub.rules.country import parent_of
from stream_scrub.terminal import one_line, pages

_AGAIN = {
    "same": "The log, the rules and the prospect give the same verdict again.",
    "different": "The log, the rules and the prospect do not give this verdict again:",
}
_PARTS = {"verdicts": "2", "registers": "3", "calls": "4", "kept": "8"}  # by what the parts of the page hold
_LAWFUL = {"yes": "yes", "no": "no", "part": "in part", "unproven": "not proven"}


class PageSection(NamedTuple):
    """Where to find what an authority asks. `note`: what else to add."""

    asks: str
    parts: Sequence[str]
    note: str = ""


# What authorities ask differs by the number's country. Sources: docs/evidence.md.
_CALLS: Mapping[str, tuple[str, Sequence[PageSection]]] = {
    "FR": (
        "DGCCRF",
        (
            PageSection("the consent, word for word, with its proof", ("registers",)),
            PageSection("for whom the call was, and on which contract it rested", ("verdicts",)),
            PageSection("how many calls, when, and whether they kept the hours", ("calls",)),
        ),
    ),
    "GB": (
        "ICO",
        (
            PageSection(
                "when the number was screened, and of which day the TPS (for companies, CTPS) list was",
                ("verdicts",),
            ),
            PageSection("objections to the caller itself", ("registers",)),
        ),
    ),
    "US": (
        "FTC",
        (
            PageSection(
                "which version of the National Do Not Call Registry was used",
                ("verdicts", "registers"),
                "The caller's own subscription number (SAN) is not in this system: add it.",
            ),
            PageSection("the business relationship with its date", ("verdicts",)),
            PageSection("company-specific opt-outs", ("registers",)),
        ),
    ),
    "DE": (
        "BNetzA",
        (
            PageSection(
                "the consent, with its text and moment (§ 7a UWG)",
                ("registers",),
                "Keep it five years after the consent and after each use of it.",
            ),
            PageSection("each use of the consent", ("verdicts", "calls")),
        ),
    ),
}
_DATA = {
    "FR": "CNIL, or the person",
    "GB": "ICO, or the person",
    "DE": "the data protection authority of the Land, or the person",
}
_ACCESS = (
    PageSection("what is held on the number, from which source", ("registers", "verdicts")),
    PageSection("who received it", ("calls", "kept"), "The readers of the allowed topic are the operator's diallers: add their names."),
    PageSection("for how long", ("kept",)),
    PageSection("corrections and withdrawals", ("registers",)),
)  # fmt: skip


def profiles(region: str) -> list[tuple[str, Sequence[PageSection]]]:
    """Who may ask about a number of this region, what they ask, and where it is."""
    country = parent_of(region) or region
    asking = [_CALLS[country]] if country in _CALLS else []
    if country != "US":
        asking.append((_DATA.get(country, "a data protection authority, or the person"), _ACCESS))
    return asking


class VerdictGroup(NamedTuple):
    """Verdicts with the same answer and the same grounds, but for their moments and the ages of lists."""

    title: str
    answer: list[tuple[int, str]]
    grounds: list[tuple[int, str]]
    verdicts: list[DossierVerdict]


def grouped(verdicts: Sequence[DossierVerdict]) -> list[VerdictGroup]:
    """Join verdicts that differ in their moment only, in the order of the first ones."""
    groups: dict[Any, VerdictGroup] = {}
    for each in verdicts:
        key = _grounds_of(each)
        if key not in groups:
            explanation = each.explanation
            answer = [each.not_replayed] if explanation is None else list(answer_lines(explanation))
            grounds = (
                [] if explanation is None else [_AGAIN.get(line, line) for line in _without_rule(explanation)]
            )
            if each.blocked_for_another:
                answer.insert(0, "The lead was blocked for another of its numbers. This number itself:")
            title = f"{each.verdict.capitalize()}: {each.reason}"
            groups[key] = VerdictGroup(title, _indented(answer), _indented(grounds), [])
        groups[key].verdicts.append(each)
    return list(groups.values())


def _without_rule(explanation: Explanation) -> Iterator[str]:
    """The proof without the sentences and the doubts of the rule: part 5 has them once."""
    for line in proof_lines(explanation):
        if not line.startswith(("  - ", "  uncertain: ")):
            yield line


def _grounds_of(verdict: DossierVerdict) -> Any:
    explanation = verdict.explanation
    if explanation is None:
        return verdict.verdict, verdict.reason, verdict.not_replayed
    entries = [
        (
            *(each.verdict, each.reason, tuple(each.decided), each.rule and each.rule.rules),
            tuple((register.register, register.held, register.end) for register in each.registers),
        )
        for each in explanation.numbers
    ]
    return (
        *(
            verdict.verdict,
            verdict.reason,
            verdict.blocked_for_another,
            explanation.same,
            str(explanation.facts),
            tuple(explanation.notes),
        ),
        *(entries if explanation.same else (*entries, verdict.topic, verdict.partition, verdict.offset)),
    )


def rendered(dossier: Dossier) -> str:
    """Return the page. It depends on nothing but the dossier."""
    environment = pages(Path(__file__).parent)
    environment.filters |= {
        "day": answers.day,
        "local": _localiser(dossier.times_of),
        "shortened": _shortened,
        "text": lambda raw: one_line(bytes(raw).decode("utf-8", "replace")),
    }
    return environment.get_template("dossier_page.html.j2").render(
        dossier=dossier,
        profiles=profiles(dossier.region),
        parts=_PARTS,
        span=span,
        spans=lawful_days.merged(dossier.days),
        lawful=lawful,
        groups=grouped(dossier.verdicts),
        changes=[_indented(list(change_lines(each))) for each in dossier.changes],
        registers=[membership_line(each) for each in dossier.registers],
        version=__version__,
        # Inside a script no character but this one could end it.
        data=msgspec.json.encode(dossier).decode().replace("<", "\\u003c"),
    )


def _localiser(name: str) -> Callable[[str | None], str]:
    """Moments in the zone of the days."""
    there = zone(name)

    def local(text: str | None) -> str:
        return "" if text is None else f"{parse_zoned(text).astimezone(there):%Y-%m-%d %H:%M:%S}"

    return local


def lawful(day: DayAnswer) -> str:
    """The answer of a day in a few words."""
    if day.lawful in {"yes", "part"} and not day.released:
        part = "" if day.lawful == "yes" else " in part"
        return f"would have been{part}; no lead was released"
    return _LAWFUL[day.lawful]


def _shortened(text: str) -> str:
    """A rule's text without the words by which purposes are known: pages of them."""
    known = "purposes = "
    return "\n".join(
        f"{known}... (the words by which purposes are known: in the JSON)" if line.startswith(known) else line
        for line in text.splitlines()
    )


def span(first: date, last: date) -> str:
    """The days from one to another in words."""
    return answers.day(first) if first == last else f"{answers.day(first)} to {answers.day(last)}"


def _indented(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return each line with its depth."""
    return [((len(line) - len(line.lstrip())) // 2, one_line(line.strip())) for line in lines]
