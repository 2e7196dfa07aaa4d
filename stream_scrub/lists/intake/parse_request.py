"""What people ask for, one record of `opposition.requests` or `opposition.lifts` at a time: bytes to an order, or a
refusal. Pure.

Opt-out and withdrawal restrict: they are read as a prospect's number is. Whatever is odd about their verb, the spelling
of their members' names, or their other members does not stop them, for whoever opposed must not be called. If nobody can
tell whom an opposition is meant for, it is one to everybody. Consent and correction lift: every member that means
something must be exact. schemas/request.schema.json lists the members.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from stream_scrub import strict_json
from stream_scrub.lists.intake.consents import ConsentLaw
from stream_scrub.lists.intake.older_consents import OlderConsents
from stream_scrub.lists.intake.oppositions_spelt import OPPOSING_WORDS, in_any_spelling, misspelt
from stream_scrub.lists.intake.request_moments import end_of, said_ms
from stream_scrub.lists.log.wire import END_MAX
from stream_scrub.model import CONSENT, FOR, INTERNAL, OWN, RegisterKind, RegisterName, family, scoped_name
from stream_scrub.numbering import REGIONS, normalise
from stream_scrub.spelling import plain

NUMBERS_MAX = 10_000
_REASON_MAX = 1_000


class RequestRefusal(StrEnum):
    """Why a request was not taken, or not wholly. A closed set: it stands in the header `reason`."""

    UNREADABLE = "unreadable"
    UNKNOWN_REQUEST = "unknown-request"
    NO_NUMBER = "no-number"
    INVALID_NUMBER = "invalid-number"
    INVALID_REGION = "invalid-region"
    INVALID_REGISTER = "invalid-register"
    INVALID_UNTIL = "invalid-until"
    ENDED = "ended"
    INVALID_PURPOSE = "invalid-purpose"
    NO_PROOF = "no-proof"
    INVALID_AFTER_OPT_OUT = "invalid-after-opt-out"
    NO_REASON = "no-reason"
    TOO_LARGE = "too-large"
    TOO_MANY_SCOPES = "too-many-scopes"
    MAY_NOT_LIFT = "may-not-lift"
    SUPERSEDED = "superseded"


class RegisterChange(NamedTuple):
    """What is to become of the numbers in one register: held until `end` (epoch seconds, 0: for good), or not held."""

    register: str
    kind: RegisterKind
    held: bool
    end: int = 0


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """What a request asks for. `refused` of its numbers are invalid; the others were taken all the same. `at_ms` is when
    it was said, where it says so (milliseconds since 1970). `odd` is what nobody could understand of an opposition that
    was taken all the same, as one to everybody. `older` are the consents that end as well, wherever numbers are held."""

    numbers: tuple[int, ...]
    changes: tuple[RegisterChange, ...]
    refused: int = 0
    at_ms: int | None = None
    odd: RequestRefusal | None = None
    older: OlderConsents | None = None


@dataclass(frozen=True, slots=True)
class RequestTerms:
    """What requests are read by: the registers that they may name (without scopes), the kinds of those that are known,
    by their names with or without scope, the region of national numbers that say none, and the moment. `spelt` has the
    registers whose campaign is spelt in another way, and those of its purposes (`Index.spelt`); `law` is what consents
    are read by; `house` is the operator's own campaign, to whom consents are that name nobody.
    """

    registers: frozenset[str] = frozenset(OWN)
    kinds: Mapping[str, RegisterKind] = field(default_factory=lambda: OWN)
    default_region: str = "FR"
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    spelt: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    law: ConsentLaw = field(default_factory=ConsentLaw)
    house: str = ""

    @property
    def consents(self) -> frozenset[str]:
        """The registers of consents that requests may change, without scopes."""
        return self.registers & self.law.families

    def spellings(self, register: str) -> tuple[str, ...]:
        """The register of that name, and those on the log whose campaign is the same in another spelling."""
        return (register, *self.spelt.get(register, ()))

    def kind_of(self, register: str) -> RegisterKind | None:
        """The kind that a register is of, or will be; None when nobody knows."""
        base = family(register)
        return OWN.get(base) or self.kinds.get(register) or self.kinds.get(base)


class _Refused(Exception):  # goes no further than `read`, which turns it into a value
    def __init__(self, reason: RequestRefusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


def read(value: bytes | None, terms: RequestTerms) -> ParsedRequest | RequestRefusal:
    """What one record asks for. Never raises, whatever the bytes."""
    try:
        members = _members(value)
        if (reader := _LIFTING.get(str(members.get("request")))) is not None:
            if misspelt(members, _EXACT):
                return RequestRefusal.UNREADABLE
            order = reader(members, terms)
            return replace(order, at_ms=said_ms(members.get("at"), restricts=False))
        members = in_any_spelling(members)
        order = _opposition(members, terms)
    except _Refused as refused:
        return refused.reason
    return replace(order, at_ms=said_ms(members.get("at"), restricts=True))


def _opposition(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    """What restricts, by its verb; as an opposition to everybody where whom it is meant for cannot be understood."""
    verb = plain(str(members.get("request"))).replace("-", "")
    numbers_of = partial(_numbers_leniently, members, terms)
    if verb in OPPOSING_WORDS:
        return _to_everybody(*numbers_of(), RequestRefusal.UNKNOWN_REQUEST)
    if (reader := _RESTRICTING.get(verb)) is None:
        raise _Refused(RequestRefusal.UNKNOWN_REQUEST)
    numbers, refused = numbers_of()
    try:
        changes = reader(members, terms)
        return ParsedRequest(numbers, changes, refused, older=_taken_back(changes, members, terms))
    except _Refused as why:
        return _to_everybody(numbers, refused, why.reason)


def _to_everybody(numbers: tuple[int, ...], refused: int, odd: RequestRefusal) -> ParsedRequest:
    return ParsedRequest(numbers, (RegisterChange(INTERNAL, RegisterKind.DENY, held=True),), refused, odd=odd)


def _opt_out(members: Mapping[str, Any], terms: RequestTerms) -> tuple[RegisterChange, ...]:
    registers = [
        _register(meant, INTERNAL, RegisterKind.DENY, terms, lenient=True) for meant in _meant(members, terms)
    ]
    channels = _channels(members, terms)
    if channels and all(family(register) == INTERNAL for register in registers):
        told = [RegisterName.split(register) for register in registers]
        registers = [str(each._replace(scope=f"{each.scope}{FOR}{c}")) for each in told for c in channels]
    return tuple(RegisterChange(register, RegisterKind.DENY, held=True) for register in registers)


def _channels(members: Mapping[str, Any], terms: RequestTerms) -> tuple[str, ...]:
    """The channels that an opt-out is to and no more; none if it is to all, or if one of them is not known."""
    said = members.get("only_channel", members.get("only-channel"))
    words = said if isinstance(said, list) else [said]
    found = tuple(dict.fromkeys(plain(word) if isinstance(word, str) else "" for word in words))
    return found if found and terms.law.channels.issuperset(found) else ()


def _withdrawal(members: Mapping[str, Any], terms: RequestTerms) -> tuple[RegisterChange, ...]:
    changes = []
    for meant in _meant(members, terms):
        register = _register(meant, CONSENT, RegisterKind.ALLOW, terms, lenient=True)
        ended = (*terms.spellings(register), *terms.spelt.get(register + FOR, ()))
        if terms.house and RegisterName.split(register).campaign == terms.house:
            ended += (family(register),)
        changes.append(RegisterChange(_internal_beside(register), RegisterKind.DENY, held=True))
        changes += [RegisterChange(each, RegisterKind.ALLOW, held=False) for each in ended]
    return tuple(changes)


def _taken_back(
    changes: tuple[RegisterChange, ...], members: Mapping[str, Any], terms: RequestTerms
) -> OlderConsents | None:
    """Whoever takes consents back and names no campaign does so to everybody; None for any other request."""
    ended = [change.register for change in changes if change.kind is RegisterKind.ALLOW]
    if not ended or RegisterName.split(ended[0]).scope:
        return None
    named = {ended[0]} if members.get("register") is not None else terms.consents
    return OlderConsents(named, "", ended[0], ended)


def _meant(members: Mapping[str, Any], terms: RequestTerms) -> Iterator[Mapping[str, Any]]:
    """The members, and if their scope is written as a register's is, `acme+insurance`, also with its campaign alone: who
    opposes does so for every purpose, and nobody knows that it is not the name of a campaign."""
    yield members
    scope = members.get("scope")
    campaign, plus, purpose = scope.partition(FOR) if isinstance(scope, str) else ("", "", "")
    told = f"{CONSENT}@{plain(campaign)}{FOR}"
    known = plain(purpose) in terms.law.known or f"{told}{plain(purpose)}" in terms.spelt.get(told, ())
    if plus and plain(campaign) and known:
        yield {**members, "scope": campaign}


def _consent(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    if members.get("scope") is None and any(plain(name) == "campaign" for name in members):
        raise _Refused(RequestRefusal.INVALID_REGISTER)  # whom it is to is said where nobody looks for it
    register = _register(members, CONSENT, RegisterKind.ALLOW, terms, lenient=False)
    end = _until(members.get("until"), terms.now)
    after = members.get("after_opt_out", False)
    if not isinstance(after, bool):
        raise _Refused(RequestRefusal.INVALID_AFTER_OPT_OUT)
    numbers, registers = _numbers_strictly(members, terms), _for_purposes(register, members, terms)
    unproven = registers == [register] or said_ms(members.get("at"), restricts=False) is None
    if terms.law.lacks_proof(register, {} if unproven else members, numbers, terms.now):
        raise _Refused(RequestRefusal.NO_PROOF)
    changes = [RegisterChange(each, RegisterKind.ALLOW, held=True, end=end) for each in registers]
    lifted = _lifted(register, terms) if after else ()
    changes.extend(RegisterChange(each, RegisterKind.DENY, held=False) for each in lifted)
    campaign = RegisterName.split(register).campaign
    older = OlderConsents(terms.consents, campaign, registers[0], registers, lifted) if lifted else None
    return ParsedRequest(numbers, tuple(changes), older=older)


def _lifted(register: str, terms: RequestTerms) -> tuple[str, ...]:
    """The registers of opposition that a consent lifts: to the same campaign, by every channel or by its own."""
    beside, channels = _internal_beside(register), terms.law.channels_of(family(register))
    whole = beside if RegisterName.split(beside).scope else scoped_name(beside, "")
    to_one = (
        name for name in terms.spelt.get(whole + FOR, ()) if RegisterName.split(name).purpose in channels
    )
    return (*terms.spellings(beside), *to_one)


def _for_purposes(register: str, members: Mapping[str, Any], terms: RequestTerms) -> list[str]:
    """The registers that a consent goes to: one for each purpose that it names. A purpose without a campaign is nobody's
    consent."""
    purposes, name = terms.law.purposes(members.get("purpose")), RegisterName.split(register)
    if purposes is None or (purposes and (not name.scope or name.purpose not in ("", *purposes))):
        raise _Refused(RequestRefusal.INVALID_PURPOSE)
    if not purposes or name.purpose:
        return [register]
    return [f"{register}{FOR}{purpose}" for purpose in purposes]


def _correction(members: Mapping[str, Any], terms: RequestTerms) -> ParsedRequest:
    """Takes numbers out of one register that they came into by mistake: it names that register, and says why."""
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
    changes = (RegisterChange(each, kind, held=False) for each in terms.spellings(register))
    return ParsedRequest(_numbers_strictly(members, terms), tuple(changes))


def _register(
    members: Mapping[str, Any], usual: str, kind: RegisterKind | None, terms: RequestTerms, *, lenient: bool
) -> str:
    """The register that is meant, its campaign as campaigns are compared. Raises _Refused unless requests may touch it
    and it is of that kind."""
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
    told = RegisterName.split(name)
    base = plain(told.base) if lenient else told.base
    if "@" in name:
        own = told.campaign if lenient else told.plainly.scope  # who opposes does so for every purpose
        name = f"{base}@{own}"
    else:
        name = f"{base}@{scope}" if scope else base
    register = RegisterName.parse(name)
    if register is None or register.base not in terms.registers or (scope and register.campaign != scope):
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    if kind is not None and terms.kind_of(name) is not kind:
        raise _Refused(RequestRefusal.INVALID_REGISTER)
    return name


def _internal_beside(register: str) -> str:
    """The register of oppositions to you for the same campaign."""
    return str(RegisterName(INTERNAL, RegisterName.split(register).campaign))


def _numbers_leniently(members: Mapping[str, Any], terms: RequestTerms) -> tuple[tuple[int, ...], int]:
    """The valid numbers and how many are not, read as a prospect's: an unknown region is the default one."""
    region = members.get("region")
    region = region.strip().upper() if isinstance(region, str) else ""
    spelled = _spelled(members)
    found = _read_all(spelled, region if region in REGIONS else terms.default_region)
    numbers = tuple(dict.fromkeys(number for number in found if number is not None))
    if not numbers:
        raise _Refused(RequestRefusal.INVALID_NUMBER)
    return numbers, found.count(None)


def _numbers_strictly(members: Mapping[str, Any], terms: RequestTerms) -> tuple[int, ...]:
    """The numbers, all of them valid in the region that is named."""
    region = members.get("region", terms.default_region)
    region = terms.default_region if region is None else region
    if not isinstance(region, str) or region.strip().upper() not in REGIONS:
        raise _Refused(RequestRefusal.INVALID_REGION)
    found = _read_all(_spelled(members), region.strip().upper())
    numbers = tuple(dict.fromkeys(number for number in found if number is not None))
    if None in found:
        raise _Refused(RequestRefusal.INVALID_NUMBER)
    return numbers


def _spelled(members: Mapping[str, Any]) -> Sequence[Any]:
    number = members.get("number")
    spelled = number if isinstance(number, list) else [number]
    if not spelled or all(each is None for each in spelled):
        raise _Refused(RequestRefusal.NO_NUMBER)
    if len(spelled) > NUMBERS_MAX:
        raise _Refused(RequestRefusal.TOO_LARGE)
    return spelled


def _read_all(spelled: Sequence[Any], region: str) -> list[int | None]:
    found: list[int | None] = []
    for each in spelled:
        text = str(each) if isinstance(each, int) and not isinstance(each, bool) else each
        answer = normalise(text, region) if isinstance(text, str) else None
        found.append(None if answer is None else answer[0])
    return found


def _until(until: Any, now: datetime) -> int:
    """The moment that a consent ends, in epoch seconds; 0 when it says none."""
    end = 0 if until is None else end_of(until)
    if end is None or end > END_MAX:
        raise _Refused(RequestRefusal.INVALID_UNTIL)
    if until is not None and end <= now.timestamp():
        raise _Refused(RequestRefusal.ENDED)
    return end


# The members that mean something in what lifts. One in another spelling would be left out, and the lift be wider.
_EXACT = frozenset(
    {
        *(
            "request",
            "number",
            "region",
            "scope",
            "register",
            "remove_from",
            "at",
            "until",
            "purpose",
            "reason",
        ),
        *("after_opt_out", "controller", "proof", "source"),
    }
)
# By their verb: what lifts, in exactly this spelling, and what restricts, in any, without hyphens.
_LIFTING = {"consent": _consent, "correction": _correction}
_RESTRICTING = {"optout": _opt_out, "withdrawal": _withdrawal}


def _members(value: bytes | None) -> dict[str, Any]:
    """The members of one JSON object (RFC 8259). An object with two members of one name is refused: nobody knows which is
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
    """Nested objects, such as a proof, are evidence and mean nothing here: they may be as they like."""
    members = dict(pairs)
    return _Once(members) if len(members) == len(pairs) else members


_DECODER = strict_json.decoder(_object)
