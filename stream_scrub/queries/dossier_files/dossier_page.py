"""The dossier as a page to read, print and file: one file without links to others, with its data as JSON inside.

The first pages answer, and the appendix has what they rest on: all rows, the grounds of each verdict, the requests word for
word, and the texts of the rules.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_scrub import __version__
from stream_scrub.clock import parse_zoned, zone
from stream_scrub.languages import day_in_words, local, offset, pages_in, read_in, say, translatable
from stream_scrub.model import RegisterKind
from stream_scrub.queries import lawful_days
from stream_scrub.queries.dossier import Dossier
from stream_scrub.queries.dossier_verdicts import DossierVerdict
from stream_scrub.queries.explain import Explanation
from stream_scrub.queries.file_results import FILE
from stream_scrub.queries.history import LoggedChange
from stream_scrub.rules.country import parent_of
from stream_scrub.terminal import document, one_line

TEMPLATES, TEMPLATE = Path(__file__).parent, "dossier_page.html.j2"
_ROWS_SHOWN = 8  # of a table before the appendix, which has all: so the answer has three pages at most
_CHARACTERS_SHOWN = 240  # of a cell before the appendix
# By what the parts of the page hold.
_PARTS = {"verdicts": "2", "registers": "3", "requests": "C", "calls": "4", "kept": "F"}
_ = translatable


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
            PageSection(_("the consent, word for word, with its proof"), ("requests",)),
            PageSection(_("for whom the call was, and on which contract it rested"), ("verdicts",)),
            PageSection(_("how many calls, when, and whether they kept the hours"), ("calls",)),
        ),
    ),
    "GB": (
        "ICO",
        (
            PageSection(
                _("when the number was screened, and of which day the TPS (for companies, CTPS) list was"),
                ("verdicts",),
            ),
            PageSection(_("objections to the caller itself"), ("registers",)),
        ),
    ),
    "US": (
        "FTC",
        (
            PageSection(
                _("which version of the National Do Not Call Registry was used"),
                ("verdicts", "registers"),
                _("The caller's own subscription number (SAN) is not in this system: add it."),
            ),
            PageSection(_("the business relationship with its date"), ("verdicts",)),
            PageSection(_("company-specific opt-outs"), ("registers",)),
        ),
    ),
    "DE": (
        "BNetzA",
        (
            PageSection(
                _("the consent, with its text and moment (§ 7a UWG)"),
                ("requests",),
                _("Keep it five years after the consent and after each use of it."),
            ),
            PageSection(_("each use of the consent"), ("verdicts", "calls")),
        ),
    ),
}
_DATA = {
    "FR": _("CNIL, or the person"),
    "GB": _("ICO, or the person"),
    "DE": _("the data protection authority of the Land, or the person"),
}
_DATA_ELSEWHERE = _("a data protection authority, or the person")
_ACCESS = (
    PageSection(_("what is held on the number, from which source"), ("registers", "verdicts")),
    PageSection(
        _("who received it"),
        ("calls", "kept"),
        _("The readers of the allowed topic are the operator's diallers: add their names."),
    ),
    PageSection(_("for how long"), ("kept",)),
    PageSection(_("corrections and withdrawals"), ("registers",)),
)


def profiles(region: str) -> list[tuple[str, Sequence[PageSection]]]:
    """Who may ask about a number of this region, what they ask, and where it is."""
    country = parent_of(region) or region
    asking = [_CALLS[country]] if country in _CALLS else []
    if country != "US":
        asking.append((say(_DATA.get(country, _DATA_ELSEWHERE)), _ACCESS))
    return asking


class VerdictGroup(NamedTuple):
    """Verdicts with the same answer and the same grounds, but for their moments and the ages of lists."""

    says: str
    decided: list[str]
    grounds: list[str]
    verdicts: list[DossierVerdict]


def grouped(verdicts: Sequence[DossierVerdict]) -> list[VerdictGroup]:
    """Join verdicts that differ in their moment only, in the order of the first ones."""
    groups: dict[Any, VerdictGroup] = {}
    for verdict in verdicts:
        key = _grounds_of(verdict)
        if key not in groups:
            groups[key] = _group_of(verdict)
        groups[key].verdicts.append(verdict)
    return list(groups.values())


def _group_of(verdict: DossierVerdict) -> VerdictGroup:
    explanation = verdict.explanation
    if explanation is None:
        return VerdictGroup(verdict.not_replayed, [], [], [])
    entries = explanation.numbers
    says = " ".join(entry.says for entry in entries)
    if verdict.blocked_for_another:
        says = say(
            "The lead was blocked for another of its numbers. This number itself: %(answer)s", answer=says
        )
    decided = [sentence for entry in entries for sentence in entry.decided]
    return VerdictGroup(says, decided, [one_line(line) for line in _grounds(explanation)], [])


def _grounds_of(verdict: DossierVerdict) -> Any:
    """What verdicts of one group have in common."""
    explanation = verdict.explanation
    if explanation is None:
        return verdict.verdict, verdict.reason, verdict.not_replayed
    common: list[Any] = [verdict.verdict, verdict.reason, verdict.blocked_for_another, explanation.same]
    common += [str(explanation.facts), *explanation.notes]
    for entry in explanation.numbers:
        registers = tuple((register.register, register.held, register.end) for register in entry.registers)
        rule = entry.rule and entry.rule.rules
        common += [entry.verdict, entry.reason, tuple(entry.decided), rule, registers]
    if not explanation.same:
        common += [verdict.topic, verdict.partition, verdict.offset]
    return tuple(common)


def _grounds(explanation: Explanation) -> Iterator[str]:
    """Yield whether the verdict is the same when repeated, and what the prospect and the rule say."""
    if explanation.same:
        yield say("The log, the rules and the prospect give the same verdict again.")
    else:
        yield say("The log, the rules and the prospect do not give this verdict again.")
    for difference in explanation.differences:
        yield say(
            "%(member)s: %(stamped)s in the stamp, %(replayed)s when repeated.",
            member=difference.field,
            stamped=document(difference.stamp),
            replayed=document(difference.replayed),
        )
    yield from _facts(explanation.facts)
    for entry in explanation.numbers:
        if entry.rule is not None:
            yield say("Rule: %(rule)s.", rule=entry.rule.rules)
        if entry.residence is not None:
            yield say("Rule of the person's residence: %(rule)s.", rule=entry.residence.rules)
        for name in entry.missing:
            yield say("The register %(register)s was not on the log, and counts as too old.", register=name)


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the prospect states."""
    if facts["purposes"]:
        yield say("Purpose: %(purpose)s.", purpose=", ".join(facts["purposes"]))
    if facts["campaigns"]:
        yield say("Campaign: %(campaign)s.", campaign=", ".join(facts["campaigns"]))
    if "channel" in facts:
        yield say("Channel: %(channel)s.", channel=facts["channel"])
    if "company" in facts:
        yield say("The prospect is a company.")
    if "relation" in facts:
        relation = facts["relation"]
        yield say(
            "Relation with the caller: %(kind)s of %(day)s.",
            kind=str(relation["kind"]),
            day=str(relation["since"]),
        )
    if "artificial" in facts:
        yield say("An artificial voice calls.")
    if "residence" in facts:
        yield say("The person lives in %(region)s.", region=facts["residence"])
    contract = facts["contract"]
    if contract is True:
        yield say("The prospect has a contract.")
    elif contract:
        yield say("The prospect has a contract until %(day)s.", day=str(contract))


def proof_of_consent(change: LoggedChange) -> str:
    """What is kept of the proof of a consent; empty if a request has it, and for any other change."""
    if change.kind != RegisterKind.ALLOW or change.change not in {"added", "renewed"}:
        return ""
    if not change.requests:
        return say(
            "The proof of this consent was not kept: the log has the name and the SHA-256 of the list, and no cell of its"
            " rows. If the list has a column with the proof, it is in the file %(list)s.",
            list=one_line(change.source.name),
        )
    for request in change.requests:
        if "proof" in msgspec.json.decode(request.request, type=dict[str, Any]):
            return ""
    return say("The proof of this consent was not kept: the request states none.")


def rendered(dossier: Dossier) -> str:
    """Return the page, in the dossier's language. It depends on nothing but the dossier."""
    environment = pages_in(dossier.language, TEMPLATES)
    environment.filters |= {
        "day": day_in_words,
        "moment": _moment,
        "clipped": _clipped,
        "shortened": _shortened,
        "text": lambda raw: one_line(bytes(raw).decode("utf-8", "replace")),
    }
    environment.globals |= {
        "span": lawful_days.span,
        "summary": lawful_days.summary,
        "proof_of_consent": proof_of_consent,
        "file_topic": FILE,
    }
    with read_in(dossier.language, zone(dossier.times_of)):
        page: str = environment.get_template(TEMPLATE).render(
            dossier=dossier,
            profiles=profiles(dossier.region),
            parts=_PARTS,
            rows_shown=_ROWS_SHOWN,
            spans=lawful_days.merged(dossier.days),
            groups=grouped(dossier.verdicts),
            version=__version__,
            # Inside a script no character but this one could end it.
            data=msgspec.json.encode(dossier).decode().replace("<", "\\u003c"),
        )
    return page


def _moment(text: str | None) -> str:
    """A moment of the data by the clock of the place, with its distance from UTC."""
    if not text:
        return ""
    there = local(parse_zoned(text))
    return f"{there:%Y-%m-%d %H:%M:%S} {offset(there)}"


def _clipped(text: str) -> str:
    """A text for a cell before the appendix."""
    return text if len(text) <= _CHARACTERS_SHOWN else f"{text[:_CHARACTERS_SHOWN]} ..."


def _shortened(text: str) -> str:
    """A rule's text without the words by which purposes are known: pages of them."""
    start = "purposes = "
    return "\n".join(
        f"{start}... (the words by which purposes are known: in the JSON)" if line.startswith(start) else line
        for line in text.splitlines()
    )
