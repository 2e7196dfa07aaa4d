"""What the page says of a scrubbed file: how many may be called, until when, and what would make it more."""

from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_scrub.files.summary import REASONS, RegisterUsed, Summary
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.languages import translatable
from stream_scrub.model import INTERNAL, Reason, Verdict, family
from stream_scrub.rules import Rulebook
from stream_scrub.rules.public_names import PublicRegister, public

_SUMMARY = msgspec.json.Decoder(Summary)

_BAR = 100  # the width of a bar for all rows
_CONSENTS = translatable("Upload the list of the people who consented, and enter the campaign")
# The next step for the rows blocked by a reason: what to do, and the part of the page where it is done.
_STEPS = {
    Reason.OPPOSED: (translatable("Do not call these people: they asked for it"), ""),
    Reason.NO_CONSENT: (_CONSENTS, "consents"),
    Reason.NOT_WASHED: (translatable("Send the numbers to the registry, and upload its answer"), "national"),
    Reason.BANNED_PURPOSE: (
        translatable("Choose another purpose if this one is wrong; no list changes it"),
        "purpose",
    ),
    Reason.UNKNOWN_PURPOSE: (translatable("Say what the call is for"), "purpose"),
    Reason.NOT_CALLABLE: (translatable("Leave them out: these are service or special-rate numbers"), ""),
    Reason.INVALID_NUMBER: (translatable("Check the columns of numbers, and the country"), "columns"),
    Reason.UNKNOWN_COUNTRY: (translatable("Check the column of the country"), "columns"),
    Reason.UNREADABLE: (translatable("Save the file as a workbook (XLSX), and upload that"), ""),
    Reason.NO_RULE: (
        translatable("Ask your operator for the rules of these countries, or check how they are reached"),
        "call",
    ),
    Reason.STALE_REGISTER: (translatable("Upload a current list"), "national"),
    Reason.TOO_OFTEN: (translatable("Scrub again in a few days: these people were called lately"), ""),
}


class ReasonShown(NamedTuple):
    """A reason that occurs: its rows, the width of its bar, and the next step (`where`: a part of the page)."""

    reason: str
    means: str
    rows: int
    width: float
    is_allowed: bool
    step: str = ""
    where: str = ""


class NeededList(NamedTuple):
    """A list without which rows are blocked."""

    register: str
    public: PublicRegister
    rows: int
    missing: bool


class ListUsed(NamedTuple):
    """An own list with which the file was scrubbed. `name`: of its register, for the public."""

    name: str
    file: str
    is_opt_outs: bool


class LastDay(NamedTuple):
    """Until when so many leads of a scrub may be called: of a file that is kept, or a scrub `at` a moment."""

    last: date
    allowed: int
    file: str = ""
    id: str = ""
    at: str = ""


class Result(NamedTuple):
    """The answers. `until`: the last day on which every allowed row may be called."""

    rows: int
    allowed: int
    until: date | None
    reasons: list[ReasonShown]
    needed: list[NeededList]
    own: list[ListUsed]

    @property
    def has_steps(self) -> bool:
        """Whether a next step is on the page of the file."""
        return any(each.where for each in self.reasons)


def result_of(path: Path, rulebook: Rulebook) -> Result:
    """The answers in a summary. Raises OSError, msgspec.MsgspecError."""
    made = _SUMMARY.decode(path.read_bytes())
    washes = made.reasons.get(str(Reason.NOT_WASHED), 0)
    law = ConsentLaw(rulebook)
    stale = [
        NeededList(each.register, public(each.register), each.rows, each.missing)
        for each in made.stale
        if family(each.register) not in law.own_families
    ]
    if washes:
        digests = {rule.rules for rule in made.rules}
        used = [rule for rule in rulebook.rules if rule.digest in digests]
        asked = {name for rule in used for name in (*rule.wash, *rule.wash_named)}
        named = {each.register for each in stale}
        stale += [NeededList(name, public(name), washes, True) for name in sorted(asked - named)]
    return Result(
        made.rows,
        made.allowed,
        made.scrub_again_by,
        _reasons(made, law.families),
        stale,
        [_used(each) for each in made.registers if each.file],
    )


def _reasons(made: Summary, consents: Collection[str]) -> list[ReasonShown]:
    """The reasons that occur, those that allow first, then by rows."""
    shown = []
    for reason in Reason:
        if rows := made.reasons.get(str(reason), 0):
            step, where = _step(reason, made, consents)
            is_allowed = reason.verdict is Verdict.ALLOWED
            width = max(0.5, _BAR * rows / made.rows)
            shown.append(ReasonShown(str(reason), REASONS[reason], rows, width, is_allowed, step, where))
    return sorted(shown, key=lambda each: (not each.is_allowed, -each.rows))


def _step(reason: Reason, made: Summary, consents: Collection[str]) -> tuple[str, str]:
    """The next step for the rows blocked by a reason, and the part of the page where it is done. `consents`: the registers
    of consents."""
    lacking = {family(each.register) for each in made.stale}
    if reason is Reason.STALE_REGISTER and INTERNAL in lacking:
        return translatable("Upload the list of the people who asked you not to call"), "opt_outs"
    if reason is Reason.STALE_REGISTER and lacking and lacking <= {*consents}:
        return _STEPS[Reason.NO_CONSENT]
    return _STEPS.get(reason, ("", ""))


def _used(used: RegisterUsed) -> ListUsed:
    return ListUsed(public(used.register).name, used.file, family(used.register) == INTERNAL)
