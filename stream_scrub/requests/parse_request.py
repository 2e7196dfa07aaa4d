"""Parses requests, one record of `opposition.requests` or `opposition.lifts` at a time: bytes to a `ParsedRequest`, or a
refusal. Pure.

Opt-out and withdrawal restrict: their numbers are read as a prospect's are. An odd verb, a misspelt member or any other
odd member does not stop them, because a person who opposed must not be called. If it is not clear to whom an opposition
is, it is one to everybody. Consent and correction lift: every member that means something must be exact.
schemas/request.schema.json lists the members.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from typing import Any, NamedTuple

from stream_scrub import strict_json
from stream_scrub.imports.consents import MOMENT, ConsentLaw, OlderConsents, StatedWindow
from stream_scrub.imports.parsing.titles import PHONE
from stream_scrub.index import FIRST_ZONE
from stream_scrub.log.wire import END_MAX, PART_BYTES_MAX
from stream_scrub.model import (
    CONSENT,
    FOR,
    INTERNAL,
    OWN,
    RegisterKind,
    RegisterName,
    Window,
    family,
    scoped_name,
)
from stream_scrub.numbering import REGIONS, normalise, numbers_in, region_named
from stream_scrub.texts import plain, words

NUMBERS_MAX = 10_000
_REASON_MAX = 1_000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# A consent lifts, so its last day is over when it is over somewhere on earth.
_FIRST_ZONE = timezone(FIRST_ZONE)
_LAST_ZONE = timezone(timedelta(hours=-12))
# What other systems call an opposition, in the languages of the shipped rules: words, and parts of words. Whom it is
# meant for may be called otherwise there as well.
_OPPOSING = re.compile(
    r"(arret|baja|basta|block(ed)?|cancel(led)?|declined?|dnd|end|no|non|nein|nee|quit|reject(ed)?|remov(e|ed|al)"
    r"|removeme|retrait|refus(al|ed?)?)"
    # Diallers' dispositions: a code of theirs, or a phrase with it
    r"|x?dnc[a-z]?|(internal|addto)dnc|dnc(all|skill|campaign|forever)"
    # English
    r"|.*(optout|optedout|unsub|stop|nevercall|removefrom|takemeoff|donotdisturb|notinterested|nothanks|noconsent"
    r"|leavemealone|ceaseanddesist|forgetme|erase|erasure|delet|do?no?tcall|do?no?tcontact|donottext|dontcall|dontcontact|donotphone|nocalls"
    r"|nomorecalls|neveragain|dnclist|blocklist|blacklist|suppress|object|oppos|withdraw|revok|revoc|cancelconsent"
    # French
    r"|desinscri|desabonn|neplus|nepasappeler|nepascontacter|nepasrappel|pasdappel|appelezplus|arrete|arretdes"
    r"|listerouge|listenoire|bloctel|supprim|effac|resili|retraitconsentement|retraitduconsentement"
    # German
    r"|abmeld|abbestell|austrag|widerspr|widerruf|nichtanrufen|nichtmehranrufen|nichtkontaktieren|keineanrufe"
    r"|keinanruf|keinewerbung|(?<!ent)sperr|robinson|entfern|losch|loesch|keininteresse"
    # Dutch
    r"|afmeld|uitschrij|verzet|bezwaar|nietbellen|nietmeerbellen|belmeniet|nietcontacteren|nietbenaderen|intrekken"
    r"|intrekking|ingetrokken|verwijder|opzeg|nietstoren|geeninteresse|(?<!de)(?<!s)blo(kke|que|cca)"
    # Italian
    r"|disiscri|cancella|nonchiama|nonrichiama|noncontatta|nonricontatta|rimuov|rimozion|listanera|ritiroconsenso|diniego|opporsi|oppongo|disdetta"
    # Spanish
    r"|nollam|nomellam|nocontact|nomecontact|desuscri|novolver|nomolest|dardebaja|cancela|elimin|suprim|rechaz"
    r"|listanegra|retirarconsent|retirarelconsent|darsedebaja|darmedebaja|dadodebaja|oposicion|oponer|meopongo).*"
)
# What senders call this member, in any spelling and without hyphens.
_REGION_NAMES = words("region country countrycode pays codepays land landcode paese pais")
# A number of an unknown region is opposed as every region writes it. That takes 10 ms, hence the limit.
_OF_EVERY_REGION_MAX = 5
_DIVIDED_MAX = 20  # texts that may hold several numbers: each takes milliseconds
_EVERY_REGION = tuple(sorted(REGIONS))
# The members that mean something in a lift. A misspelt one would be left out, and the lift be wider.
_EXACT = words(
    "request number region scope register remove_from at from until purpose reason after_opt_out controller proof source"
)
_EXACT_PLAINLY = frozenset(map(plain, _EXACT))
_SETTLED = "settled"
_UNREAD_PLACE = re.compile(r"[A-Za-z0-9+/=_-]{1,64}/\d{1,10}/\d{1,19}", re.ASCII)


class RequestRefusal(StrEnum):
    """Why a request was refused, or some of its numbers. A closed set: it stands in the header `reason`."""

    UNREADABLE = "unreadable"
    UNKNOWN_REQUEST = "unknown-request"
    NO_NUMBER = "no-number"
    INVALID_NUMBER = "invalid-number"
    INVALID_REGION = "invalid-region"
    INVALID_REGISTER = "invalid-register"
    INVALID_UNTIL = "invalid-until"
    ENDED = "ended"
    INVALID_PURPOSE = "invalid-purpose"
    NO_DAY = "no-day"
    NO_PROOF = "no-proof"
    INVALID_AFTER_OPT_OUT = "invalid-after-opt-out"
    NO_REASON = "no-reason"
    TOO_LARGE = "too-large"
    TOO_MANY_SCOPES = "too-many-scopes"
    MAY_NOT_LIFT = "may-not-lift"
    SUPERSEDED = "superseded"
    SETTLED = "settled"  # no refusal: it settles a request that could not be read


class RegisterChange(NamedTuple):
    """What a request does to its numbers in one register: they are held until `end` (epoch seconds, 0: for good), or not."""

    register: str
    kind: RegisterKind
    held: bool
    end: int = 0


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """What a request asks for."""

    numbers: tuple[int, ...]
    changes: tuple[RegisterChange, ...]
    refused: int = 0  # invalid numbers; the others were taken all the same
    at_ms: int | None = None  # when it was said, if it says so (milliseconds since 1970)
    odd: RequestRefusal | None = None  # why an opposition was taken as a wider one
    older: OlderConsents | None = None  # consents that end as well, in every register
    settles: str = ""  # the refused request that it settles (`requests/unread.py: place_of`)


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What requests are parsed by."""

    registers: frozenset[str] = frozenset(OWN)  # that they may name, without scopes
    kinds: Mapping[str, RegisterKind] = field(default_factory=lambda: OWN)  # by name, with or without scope
    default_region: str = "FR"  # of national numbers
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    # The registers for one purpose or channel of a campaign (`Index.parts`).
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    law: ConsentLaw = field(default_factory=ConsentLaw)
    house: str = ""  # the operator's own campaign, to which consents without a campaign are given

    @property
    def consents(self) -> frozenset[str]:
        """The registers of consents that requests may change, without scopes."""
        return self.registers & self.law.families

    def kind_of(self, register: str) -> RegisterKind | None:
        """The kind of a register, existing or to come; None if unknown."""
        base = family(register)
        return OWN.get(base) or self.kinds.get(register) or self.kinds.get(base)


class _Refused(Exception):  # `read` returns it as a value
    def __init__(self, reason: RequestRefusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


def read(value: bytes | None, terms: RequestTerms) -> ParsedRequest | RequestRefusal:
    """Parse one record. Never raises, whatever the bytes."""
    if len(value or b"") > PART_BYTES_MAX:  # it cannot be kept as evidence
        return RequestRefusal.TOO_LARGE
    try:
        members = _members(value)
        settles = _settles(members)
        if members.get("request") == _SETTLED:
            return ParsedRequest((), (), settles=settles) if settles else RequestRefusal.UNREADABLE
        if (reader := _LIFTING.get(str(members.get("request")))) is not None:
            if any(name not in _EXACT and plain(name) in _EXACT_PLAINLY for name in members):  # misspelt
                return RequestRefusal.UNREADABLE
            parsed = reader(members, terms)
            return replace(parsed, at_ms=said_ms(members.get("at"), restricts=False))
        members = in_any_spelling(members)
        parsed = _opposition(members, terms)
    except _Refused as refused:
        return refused.reason
    return replace(parsed, at_ms=said_ms(members.get("at"), restricts=True), settles=settles)


def _settles(members: Mapping[str, Any]) -> str:
    place = members.get("settles")
    return place if isinstance(place, str) and _UNREAD_PLACE.fullmatch(place) else ""


def _opposition(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    """A request that restricts, by its verb; an opposition to everybody if it is not clear to whom it is."""
    verb = _verb(members)
    reader = _RESTRICTING.get(verb)
    if reader is None and not _OPPOSING.fullmatch(verb):
        raise _Refused(RequestRefusal.UNKNOWN_REQUEST)
    numbers, refused, odd = _numbers_leniently(members, terms)
    if reader is None:
        return _to_everybody(numbers, refused, RequestRefusal.UNKNOWN_REQUEST)
    try:
        changes = reader(members, terms)
        older = _taken_back(changes, members, terms)
        return ParsedRequest(numbers, changes, refused, odd=odd, older=older)
    except _Refused as why:
        return _to_everybody(numbers, refused, why.reason)


def _to_everybody(numbers: tuple[int, ...], refused: int, odd: RequestRefusal) -> ParsedRequest:
    return ParsedRequest(numbers, (RegisterChange(INTERNAL, RegisterKind.DENY, held=True),), refused, odd=odd)


def _verb(members: Mapping[str, Any]) -> str:
    return plain(str(members.get("request"))).replace("-", "")


def may_oppose(value: bytes | None) -> bool:
    """Whether a refused request may be a person's opposition: only a consent or a correction, in any spelling, is none."""
    try:
        return _verb(in_any_spelling(_members(value))) not in _NO_OPPOSITION
    except _Refused:
        return True


def _opt_out(members: Mapping[str, Any], terms: RequestTerms) -> tuple[RegisterChange, ...]:
    registers = [
        _register(meant, INTERNAL, RegisterKind.DENY, terms, lenient=True) for meant in _meant(members, terms)
    ]
    channels = _channels(members, terms)
    if channels and all(family(register) == INTERNAL for register in registers):
        names = [RegisterName.split(register) for register in registers]
        registers = [str(each._replace(scope=f"{each.scope}{FOR}{c}")) for each in names for c in channels]
    return tuple(RegisterChange(register, RegisterKind.DENY, held=True) for register in registers)


def _channels(members: Mapping[str, Any], terms: RequestTerms) -> tuple[str, ...]:
    """The only channels of an opt-out; empty if it is for all, or if one of them is unknown."""
    said = members.get("only_channel", members.get("only-channel"))
    words = said if isinstance(said, list) else [said]
    found = tuple(dict.fromkeys(plain(word) if isinstance(word, str) else "" for word in words))
    return found if found and terms.law.channels.issuperset(found) else ()


def _withdrawal(members: Mapping[str, Any], terms: RequestTerms) -> tuple[RegisterChange, ...]:
    changes = []
    for meant in _meant(members, terms):
        register = _register(meant, CONSENT, RegisterKind.ALLOW, terms, lenient=True)
        ended = (register, *terms.parts.get(register, ()))
        if terms.house and RegisterName.split(register).campaign == terms.house:
            ended += (family(register),)
        changes.append(RegisterChange(_internal_for(register), RegisterKind.DENY, held=True))
        changes += [RegisterChange(each, RegisterKind.ALLOW, held=False) for each in ended]
    return tuple(changes)


def _taken_back(
    changes: tuple[RegisterChange, ...], members: Mapping[str, Any], terms: RequestTerms
) -> OlderConsents | None:
    """A withdrawal without a campaign ends every consent. None for other requests."""
    ended = [change.register for change in changes if change.kind is RegisterKind.ALLOW]
    if not ended or RegisterName.split(ended[0]).scope:
        return None
    named = {ended[0]} if members.get("register") is not None else terms.consents
    return OlderConsents(named, "", ended[0], ended)


def _meant(members: Mapping[str, Any], terms: RequestTerms) -> Iterator[Mapping[str, Any]]:
    """The members, and if their scope is written as a register's is, `acme+insurance`, also with its campaign alone: an
    opposition is for every purpose, and `acme+insurance` may also be the name of a campaign."""
    yield members
    scope = members.get("scope")
    campaign, plus, purpose = scope.partition(FOR) if isinstance(scope, str) else ("", "", "")
    whole = scoped_name(CONSENT, plain(campaign))
    known = plain(purpose) in terms.law.known or f"{whole}{FOR}{plain(purpose)}" in terms.parts.get(whole, ())
    if plus and plain(campaign) and known:
        yield {**members, "scope": campaign}


def _consent(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    if members.get("scope") is None and any(plain(name) == "campaign" for name in members):
        raise _Refused(RequestRefusal.INVALID_REGISTER)  # the campaign stands in a member that is not read
    register = _register(members, CONSENT, RegisterKind.ALLOW, terms, lenient=False)
    window = _window(register, members, terms)
    end = _until(members.get("until"), terms.now) if window is None else window.end
    after = members.get("after_opt_out", False)
    if not isinstance(after, bool):
        raise _Refused(RequestRefusal.INVALID_AFTER_OPT_OUT)
    numbers, registers = _numbers_strictly(members, terms), _for_purposes(register, members, terms)
    undated = said_ms(members.get("at"), restricts=False) is None
    if undated and terms.law.lacks_day(register, numbers, terms.now):
        raise _Refused(RequestRefusal.NO_DAY)
    unproven = registers == [register] or undated
    if terms.law.lacks_proof(register, {} if unproven else members, numbers, terms.now):
        raise _Refused(RequestRefusal.NO_PROOF)
    ended: list[RegisterChange] = []
    if window is not None:
        registers, ended = _for_window(registers, window, terms)
    changes = [RegisterChange(each, RegisterKind.ALLOW, held=True, end=end) for each in registers]
    changes += ended
    lifted = _lifted(register, terms) if after else ()
    changes.extend(RegisterChange(each, RegisterKind.DENY, held=False) for each in lifted)
    campaign = RegisterName.split(register).campaign
    older = OlderConsents(terms.consents, campaign, registers[0], registers, lifted) if lifted else None
    return ParsedRequest(numbers, tuple(changes), older=older)


def _lifted(register: str, terms: RequestTerms) -> tuple[str, ...]:
    """The registers of opposition that a consent lifts: to the same campaign, by every channel or by its own."""
    internal, channels = _internal_for(register), terms.law.channels_of(family(register))
    whole = internal if RegisterName.split(internal).scope else scoped_name(internal, "")
    return (
        internal,
        *(name for name in terms.parts.get(whole, ()) if RegisterName.split(name).purpose in channels),
    )


def _for_purposes(register: str, members: Mapping[str, Any], terms: RequestTerms) -> list[str]:
    """The registers that a consent goes to: one for each purpose that it names. A purpose without a campaign is no
    consent."""
    purposes, name = terms.law.purposes(members.get("purpose")), RegisterName.split(register)
    if purposes is None or (purposes and (not name.scope or name.purpose not in ("", *purposes))):
        raise _Refused(RequestRefusal.INVALID_PURPOSE)
    # A purpose spelt as a window would open one that was not stated.
    if any(RegisterName(name.base, f"{name.campaign}{FOR}{each}").window for each in purposes):
        raise _Refused(RequestRefusal.INVALID_PURPOSE)
    if not purposes or name.purpose:
        return [register]
    return [f"{register}{FOR}{purpose}" for purpose in purposes]


def _window(register: str, members: Mapping[str, Any], terms: RequestTerms) -> StatedWindow | None:
    """The window that a consent to other hours states, from `from` to `until`; None if it states none. A window for
    anything else would mean a consent that begins later, which no register can say."""
    if RegisterName.split(register).window is not None:  # stated by its name alone
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    if members.get("from") is None:
        return None
    if family(register) not in terms.law.to_hours or not RegisterName.split(register).scope:
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    window = StatedWindow.of(members["from"], members.get("until"))
    if window is None or window.end > END_MAX:
        raise _Refused(RequestRefusal.INVALID_UNTIL)
    if window.end <= terms.now.timestamp():
        raise _Refused(RequestRefusal.ENDED)
    return window


def _for_window(
    registers: Sequence[str], window: StatedWindow, terms: RequestTerms
) -> tuple[list[str], list[RegisterChange]]:
    """The registers of windows of that length, for the purposes of these registers; and the changes that end the windows
    of other lengths, because the latest window for a purpose counts."""
    chosen: list[str] = []
    ended: list[RegisterChange] = []
    for register in registers:
        name = RegisterName.split(register)
        whole = name.whole or register
        wanted = Window(name.purpose, window.minutes)
        chosen.append(wanted.register(whole))
        for part in terms.parts.get(whole, ()):
            other = RegisterName.split(part).window
            if other is not None and other.purpose == wanted.purpose and other != wanted:
                ended.append(RegisterChange(part, RegisterKind.ALLOW, held=False))
    return chosen, ended


def _correction(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    """A correction removes numbers from one register that they came into by mistake: it names the register and the reason."""
    if not isinstance(members.get("remove_from"), str):
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    named = {"register": members["remove_from"], "scope": members.get("scope")}
    register = _register(named, "", None, terms, lenient=False)
    kind = terms.kind_of(register)
    if kind is None:
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    reason = members.get("reason")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > _REASON_MAX:
        raise _Refused(RequestRefusal.NO_REASON)
    return ParsedRequest(_numbers_strictly(members, terms), (RegisterChange(register, kind, held=False),))


def _register(
    members: Mapping[str, Any], usual: str, kind: RegisterKind | None, terms: RequestTerms, *, lenient: bool
) -> str:
    """The register that the members name, its campaign as campaigns are compared. Raises _Refused unless requests may
    change it and it is of that kind."""
    name, scope = members.get("register"), members.get("scope")
    name = usual if name is None else name
    if lenient and isinstance(scope, int) and not isinstance(scope, bool):
        scope = str(scope)
    if scope is None or (lenient and isinstance(scope, str) and not scope.strip()):
        scope = ""
    elif not isinstance(scope, str) or not (scope := plain(scope)):
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    if not isinstance(name, str):
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    parts = RegisterName.split(name)
    base = plain(parts.base) if lenient else parts.base
    if "@" in name:
        own = parts.campaign if lenient else parts.plainly.scope  # an opposition is for every purpose
        name = f"{base}@{own}"
    else:
        name = f"{base}@{scope}" if scope else base
    register = RegisterName.parse(name)
    if register is None or register.base not in terms.registers or (scope and register.campaign != scope):
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    if kind is not None and terms.kind_of(name) is not kind:
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    return name


def _internal_for(register: str) -> str:
    """The register of oppositions to you for the same campaign."""
    return str(RegisterName(INTERNAL, RegisterName.split(register).campaign))


def _numbers_leniently(
    members: Mapping[str, Any], terms: RequestTerms
) -> tuple[tuple[int, ...], int, RequestRefusal | None]:
    """The valid numbers, the count of invalid ones, and a note about their region."""
    regions = _regions(members, terms.default_region)
    numbers, invalid = _numbers(members, regions, lenient=True)
    if not numbers:
        raise _Refused(RequestRefusal.INVALID_NUMBER)
    return numbers, invalid, RequestRefusal.INVALID_REGION if len(regions) > 1 else None


def _regions(members: Mapping[str, Any], default: str) -> Sequence[str]:
    """The region that the members name; if it is unknown, all of them, the default one first."""
    said = members.get("region")
    blank = said is None or (isinstance(said, str) and not said.strip())
    region = default if blank else region_named(said)
    return (region,) if region else (default, *_EVERY_REGION)


def _numbers_strictly(members: Mapping[str, Any], terms: RequestTerms) -> tuple[int, ...]:
    """The numbers, all of them valid in the region that is named."""
    region = members.get("region")
    if not (region := region_named(terms.default_region if region is None else region)):
        raise _Refused(RequestRefusal.INVALID_REGION)
    numbers, invalid = _numbers(members, (region,), lenient=False)
    if invalid:
        raise _Refused(RequestRefusal.INVALID_NUMBER)
    return numbers


def _numbers(
    members: Mapping[str, Any], regions: Sequence[str], *, lenient: bool
) -> tuple[tuple[int, ...], int]:
    """The distinct valid numbers, as any of the regions writes them, and how many could not be read."""
    spelt = _spelt(members)
    if not spelt or all(each is None for each in spelt):
        raise _Refused(RequestRefusal.NO_NUMBER)
    if len(spelt) > NUMBERS_MAX:
        raise _Refused(RequestRefusal.TOO_LARGE)
    numbers, invalid = dict[int, None](), 0
    for _, found, whole in _readings(spelt, regions, lenient=lenient):
        numbers.update(dict.fromkeys(found))
        invalid += not (found and whole)
    return tuple(numbers), invalid


def _spelt(members: Mapping[str, Any]) -> list[Any]:
    number = members.get("number")
    return number if isinstance(number, list) else [number]


def _readings(
    spelt: Iterable[Any], regions: Sequence[str], *, lenient: bool
) -> Iterator[tuple[Any, Collection[int], bool]]:
    """Each number as it is spelt, the valid numbers that it may be, and whether these are all. `lenient`: several numbers
    in one text come one by one, so that nobody is shown another's."""
    national = divided = 0
    for each in spelt:
        text = str(each) if isinstance(each, int) and not isinstance(each, bool) else each
        if not isinstance(text, str):
            yield each, (), True
            continue
        everywhere = text.lstrip().startswith("+")  # the same number in every region
        national += not everywhere
        skipped = len(regions) > 1 and national > _OF_EVERY_REGION_MAX
        read = [normalise(text, region) for region in (regions[:1] if everywhere or skipped else regions)]
        found, whole = dict.fromkeys(each[0] for each in read if each is not None), not skipped
        if lenient and read[0] is None and divided < _DIVIDED_MAX:
            divided += 1
            several, divisible = numbers_in(text, regions[0])
            if divisible or not found:
                yield from ((f"+{number}", (number,), True) for number in several)
            if several and divisible and len(regions) == 1:
                continue
        yield each, found, whole


def named_in(request: Mapping[str, Any], default_region: str) -> Iterator[tuple[Any, Collection[int]]]:
    """What the members of an applied request call its numbers, and the numbers that each of these was taken for."""
    members = request if request.get("request") in _LIFTING else in_any_spelling(request)
    lenient = members is not request
    for each, found, _ in _readings(_spelt(members), _regions(members, default_region), lenient=lenient):
        yield each, found


def _until(until: Any, now: datetime) -> int:
    """The moment that a consent ends, in epoch seconds, its last day included; 0 when it says none."""
    if until is None:
        return 0
    end = _epoch_s(until, _FIRST_ZONE, days=1)
    if end is None or int(end) > END_MAX:
        raise _Refused(RequestRefusal.INVALID_UNTIL)
    if int(end) <= now.timestamp():
        raise _Refused(RequestRefusal.ENDED)
    return int(end)


# By verb: lifts, in exactly this spelling, and restrictions, in any, without hyphens.
_LIFTING = {"consent": _consent, "correction": _correction}
_RESTRICTING = {"optout": _opt_out, "withdrawal": _withdrawal}
_NO_OPPOSITION = frozenset([*_LIFTING, "optin", "subscribe", _SETTLED])


def _members(value: bytes | None) -> dict[str, Any]:
    """The members of one JSON object (RFC 8259). An object with two members of one name is refused: it is unclear which is
    meant."""
    try:
        found = _DECODER.decode((value or b"").decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Refused(RequestRefusal.UNREADABLE) from None
    if not isinstance(found, _Once):
        raise _Refused(RequestRefusal.UNREADABLE)
    return found


class _Once(dict[str, Any]):
    """An object in which every name occurs once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Nested objects, such as a proof, are evidence and mean nothing here: any will do.
    members = dict(pairs)
    return _Once(members) if len(members) == len(pairs) else members


_DECODER = strict_json.decoder(_object)


def said_ms(at: Any, *, restricts: bool) -> int | None:
    """The moment at which a request says it was made, in milliseconds since 1970; None when it names none that can be
    read. A day without an hour is read so that it protects: what restricts was said at its end, what lifts at its
    beginning."""
    moment = _epoch_s(at, _LAST_ZONE, days=1) if restricts else _epoch_s(at, _FIRST_ZONE, days=0)
    return None if moment is None else int(moment * 1000)


def _epoch_s(text: Any, zone: timezone, days: int) -> float | None:
    """A moment with a zone, or so many days after the beginning of a day in `zone`, in epoch seconds; None for others."""
    if not isinstance(text, str):
        return None
    try:
        if MOMENT.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
        if _DAY.fullmatch(text):
            begins = datetime.combine(date.fromisoformat(text), time(), zone)
            return (begins + timedelta(days=days)).timestamp()
    except (ValueError, OverflowError):
        pass
    return None


def in_any_spelling(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members under the names that they mean, spelt in any way. Of several spellings the exact one counts, and of
    numbers all; where none is exact and they differ, their list, which no member may be. Members with another system's
    name of `number` count where `number` holds nothing."""
    meant, numbers, others = dict(members), list[Any](), list[Any]()
    for name, value in members.items():
        compared = plain(name)
        word = compared.replace("-", "")
        if word in PHONE:
            (numbers if word == "number" else others).extend(value if isinstance(value, list) else [value])
            continue
        compared = "region" if word in _REGION_NAMES else compared
        if compared not in members:
            meant[compared] = value if meant.get(compared, value) == value else [meant[compared], value]
    if all(each is None or each == "" for each in numbers):
        numbers = others or numbers
    if numbers and not (len(numbers) == 1 and numbers[0] is None):
        meant["number"] = numbers
    return meant


def with_numbers(members: Mapping[str, Any], numbers: list[Any]) -> dict[str, Any]:
    """The members of a request with these numbers in place of its own, whatever it calls them."""
    shown = {
        name: value
        for name, value in members.items()
        if name == "number" or plain(name).replace("-", "") not in PHONE
    }
    return {**shown, "number": numbers}
