"""What a consent must say by the law of the numbers that it is about: for which purposes it is, what proves it, and how
long it can last. A part of reading a request or a list, and as pure.

A person may also say more than their number. A withdrawal that names no campaign ends all of them, to every
company. A person who opposed and consents again agrees to this request alone: the opposition stands above the older consents,
so the request that lifts it must end these. Only the registers say which there are.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.call import VOICE
from stream_scrub.imports.parsing.cells import begins_with
from stream_scrub.index import Numbers, Register, as_bitmap, as_numbers
from stream_scrub.index.deltas import Delta, Ends, StatedEnds
from stream_scrub.model import CONSENT, INTERNAL, WINDOW_MINUTES_MAX, RegisterKind, RegisterName, family
from stream_scrub.numbering import e164, normalise
from stream_scrub.rules import Rule, Rulebook
from stream_scrub.rules.purposes import Vocabulary, purpose_of
from stream_scrub.texts import plain

MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)  # with a zone
_HOUR = re.compile(r"T\d{2}:\d{2}", re.ASCII | re.IGNORECASE)  # in a moment; a day has none


class ConsentLaw:
    """The rules that consents are read by. With `proof_required` one that proves nothing is refused where the law asks
    for a consent before the call. `families` are the names of all registers of consents, without scopes; `channels` and
    `known` are all channels and purposes that rules know."""

    def __init__(self, book: Rulebook | None = None, *, proof_required: bool = False) -> None:
        self.book = book or Rulebook([])
        self.proof_required = proof_required
        rules = self.book.rules
        self.known: Vocabulary = next((rule.purposes for rule in rules if rule.purposes), {})
        self.families = frozenset({CONSENT, *(name for rule in rules for name in rule.consents)})
        self.own_families = self.families | {INTERNAL}  # of registers that a company itself keeps
        self.channels = frozenset({VOICE, *(channel for rule in rules for channel in rule.channels)})
        # Registers of consents to other hours, which may state a window.
        self.to_hours = frozenset(name for rule in rules if rule.hours for name in rule.hours.lifted_by)
        self._limits = any(rule.consent_days for rule in rules)
        self._channels_of: dict[str, frozenset[str]] = {}
        for rule in rules:
            for name in rule.consents:
                self._channels_of[name] = self.channels_of(name).union(rule.channels)

    def channels_of(self, register: str) -> frozenset[str]:
        """The channels for which some rule asks for, or counts, consents of that register."""
        return self._channels_of.get(register, frozenset())

    def purposes(self, member: Any) -> tuple[str, ...] | None:
        """The purposes that the member names, as registers name them; none if it is absent; None if one of them is
        unclear, or may mean another one."""
        words = member if isinstance(member, list) else [] if member is None else [member]
        found = tuple(dict.fromkeys(purpose_of(w, self.known) if isinstance(w, str) else "" for w in words))
        clear = all(word.isascii() and word and len(self.known.get(word, (word,))) == 1 for word in found)
        return found if clear and (words or member is None) else None

    def lacks_proof(
        self, register: str, members: Mapping[str, Any], numbers: Iterable[int], now: datetime
    ) -> bool:
        """Whether a consent that goes to that register lacks what proves it, and the law of one of its numbers asks for
        one: the text that was shown, its moment (read by the caller), who passes it on, to whom it was given, and what
        for; and what that law asks besides (`Rule.consent_proof`)."""
        if not self.proof_required:
            return False
        asking = [rule for number in numbers for rule in self._asking(register, number, now)]
        if not asking:
            return False
        proof = members.get("proof")
        stated = proof if isinstance(proof, Mapping) else {}
        texts = (
            stated.get("text"),
            members.get("source"),
            members.get("controller", stated.get("controller")),
            members.get("scope", members.get("register")),
        )
        found = {
            "hour": _HOUR.search(str(members.get("at"))),
            "until": members.get("until"),
            "withdrawal": _is_text(stated.get("withdrawal")),
            "access": _is_text(stated.get("access")),
        }
        lacking = (name for rule in asking for name in rule.consent_proof if not found[name])
        return not all(map(_is_text, texts)) or any(lacking)

    def lacks_day(self, register: str, numbers: Iterable[int], now: datetime) -> bool:
        """Whether by the law of one of these numbers a consent in that register counts only with the day on which it was
        given."""
        rules = (self._rule(number, now) for number in numbers)
        return any(rule is not None and family(register) in rule.dated_consents for rule in rules)

    def _asking(self, register: str, number: int, now: datetime) -> Iterator[Rule]:
        """The rules of the number's country, for any channel, by which no one is called without such a consent."""
        found = normalise(e164(number), "ZZ")
        country = None if found is None else self.book.country(self.book.region_of(number, found[1].region))
        if found is None or country is None:
            return
        for rule in country.all_on(country.day(now)):
            for_type = rule.require_named_for.get(found[1].type, ())
            asked = {*rule.require, *rule.require_named, *for_type, *rule.artificial_voice}
            if not asked.isdisjoint({CONSENT, family(register)}):
                yield rule

    def end(self, register: str, number: int, end: int, said_ms: int | None, now: datetime) -> int | None:
        """The end of a consent (epoch seconds, 0: none) that was given at `said_ms` (None: unknown, now), by the law
        of its number; None if it is over by now."""
        rule = self._rule(number, now) if self._limits else None
        days = None if rule is None else rule.consent_days.get(family(register))
        if days is None:
            return end
        given = min(datetime.fromtimestamp(said_ms / 1000, UTC) if said_ms is not None else now, now)
        last = int((given + timedelta(days=days)).timestamp())
        # A window that ended earlier would begin earlier, too.
        if last <= now.timestamp() or (end > last and RegisterName.split(register).window is not None):
            return None
        return min(end, last) if end else last

    def _rule(self, number: int, now: datetime) -> Rule | None:
        found = normalise(e164(number), "ZZ")
        return None if found is None else self.book.rule(self.book.region_of(number, found[1].region), now)


class StatedWindow(NamedTuple):
    """The day and time at which a person agreed to be called, in whole minutes."""

    minutes: int
    end: int  # epoch seconds

    @classmethod
    def of(cls, begin: Any, end: Any) -> "StatedWindow | None":
        """The window between two moments with a zone; None if it is empty or longer than a day, or if a moment cannot be
        read. What is no whole minute opens late and closes early."""
        begins, ends = _moment(begin), _moment(end)
        if begins is None or ends is None:
            return None
        first, last = math.ceil(begins / 60), math.floor(ends / 60)
        if not 0 < last - first <= WINDOW_MINUTES_MAX:
            return None
        return cls(last - first, last * 60)


def _moment(text: Any) -> float | None:
    """Epoch seconds of a moment with a zone; None for anything else."""
    if not isinstance(text, str) or not MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_text(member: Any) -> bool:
    return isinstance(member, str) and bool(plain(member))


# The first digits of numbers, and after how many days a consent of such a number is over by law.
ConsentDays = Sequence[tuple[str, int]]


def limited(
    listed: BitMap64, stated: StatedEnds, known: Ends, days: ConsentDays, given: datetime, now: datetime
) -> tuple[BitMap64, StatedEnds]:
    """What a list of consents comes to by law: its numbers without those whose consents are over, and when they end.
    The list says at best that they were `given` by its own day; an import does not make a consent younger that the
    register holds with its end, `known`, unless the list states a later one."""
    for digits, most in days:
        last = int((min(given, now) + timedelta(days=most)).timestamp())
        numbers = as_numbers(listed)
        numbers = numbers[begins_with(numbers, digits)]
        if last <= now.timestamp():
            listed = listed - as_bitmap(numbers)
            stated = _without(stated, numbers)
            continue
        said = Ends.none().changed(BitMap64(), stated).of_each(numbers)
        held = known.of_each(numbers)
        own = np.where(said > 0, said, np.where(held > 0, held, last))
        others = _without(stated, numbers)
        stated = StatedEnds(
            np.concatenate((others.numbers, numbers)), np.concatenate((others.ends, np.minimum(own, last)))
        )
    return listed, stated


def with_days(
    listed: BitMap64, stated: StatedEnds, known: Ends, days: ConsentDays, now: datetime, *, are_dated: bool
) -> tuple[BitMap64, StatedEnds]:
    """What a list of consents comes to where a consent counts only with the day on which it was given. The ends that a
    list states follow from these days if its consents `are_dated`. One without a day counts only if the register holds it
    with its end, `known`, which it keeps."""
    for digits, most in days:
        numbers = as_numbers(listed)
        numbers = numbers[begins_with(numbers, digits)]
        said = Ends.none().changed(BitMap64(), stated).of_each(numbers)
        held = known.of_each(numbers)
        ends = np.where(said > 0, said, held) if are_dated else held
        ends = np.minimum(ends, int((now + timedelta(days=most)).timestamp()))
        kept = ends > now.timestamp()
        listed = listed - as_bitmap(numbers[~kept])
        others = _without(stated, numbers)
        stated = StatedEnds(
            np.concatenate((others.numbers, numbers[kept])), np.concatenate((others.ends, ends[kept]))
        )
    return listed, stated


def belated(
    held: BitMap64, known: Ends, days: ConsentDays, given: datetime, now: datetime, dated: ConsentDays = ()
) -> Delta:
    """The delta after which every consent in a register ends as the law of its number says, also those that came before
    the law did. It is unknown when each was given: all count as `given` when the register began, and where the law asks
    for the day, `dated`, they leave. What is over by now leaves too."""
    endless = held - known.numbers()
    kept, stated = limited(endless, StatedEnds.none(), Ends.none(), days, given, now)
    kept, stated = with_days(kept, stated, Ends.none(), dated, now, are_dated=False)
    over = (endless - kept) | known.until(int(now.timestamp()))
    return Delta(BitMap64(), over, 0, ends=stated, reason="ended")


def _without(stated: StatedEnds, numbers: Numbers) -> StatedEnds:
    kept = ~np.isin(stated.numbers, numbers)
    return StatedEnds(stated.numbers[kept], stated.ends[kept])


class OlderConsents(NamedTuple):
    """What a request ends: the consents of these families to that campaign ("": to every one), and those without a
    campaign. Not those in `but`, which it gives. `witness` is a register that the request changes in any case. With
    `lifted` only those of numbers that one of these registers of opposition holds."""

    families: Collection[str]
    campaign: str
    witness: str
    but: Collection[str] = ()
    lifted: Collection[str] = ()

    def among(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the registers whose consents end."""
        for name in sorted(names):
            parts = RegisterName.split(name)
            meant = not self.campaign or not parts.scope or parts.campaign == self.campaign
            if meant and parts.base in self.families and name not in self.but:
                yield name


class ConsentsHeld:
    """The registers of consents that hold each of some numbers, as a batch of requests has left them."""

    def __init__(self, registers: Mapping[str, Register], families: Collection[str]) -> None:
        self._registers, self._families = registers, families
        self._of: defaultdict[int, set[str]] = defaultdict(set)

    def look(self, numbers: Iterable[int]) -> None:
        """Find these numbers in the registers. All of a batch at once: there may be thousands of registers."""
        asked = BitMap64(sorted(set(numbers)))
        for name, register in self._registers.items() if asked else ():
            if register.kind is RegisterKind.ALLOW and family(name) in self._families:
                for number in register.numbers & asked:
                    self._of[number].add(name)

    def note(self, register: str, numbers: Iterable[int], *, held: bool) -> None:
        """What the batch has made of numbers in a register of consents."""
        for number in numbers:
            (self._of[number].add if held else self._of[number].discard)(register)

    def of(self, number: int) -> Collection[str]:
        """The registers that hold the number."""
        return self._of.get(number, ())
