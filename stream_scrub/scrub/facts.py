"""What a prospect says about itself, as the rules read it. What cannot be understood lifts nothing."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any, NamedTuple

from msgspec import UNSET

from stream_scrub.numbering import REGIONS
from stream_scrub.rules import COMPANY, RELATIONS, VOICE
from stream_scrub.spelling import plain

# True: a contract without a known end. A date: its last day. False: no contract.
Contract = bool | date

WORDS_MAX = 100  # purposes, or campaigns, of one prospect: each is compared, and nobody calls for more
_WORD_CHARS_MAX = 200  # no name that rules or registers know is longer, and no longer word is compared
_TEXT_MAX = 64  # characters; no identifier is longer, and no longer text is compared with a shape
_PIECE = re.compile(r"([#?])(\+?)|(.)", re.DOTALL)
_SIGNS = {"#": "[0-9]", "?": "[0-9a-z]"}
_UNTIL = "until"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RELATION = ["kind", "since"]
LIVE = "live"
NOWHERE = "ZZ"  # a region that ISO 3166-1 gives to no country
UNKNOWN_CHANNEL = "unknown"  # of a prospect whose channel cannot be understood; no rule may name it
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
# Among campaigns: somebody who is not named, or not in words, calls as well.
UNNAMED = ""
# Among purposes: one that cannot be understood. No rule knows it, so it lifts nothing, and a ban may mean it.
UNTOLD = ""
# Campaigns that no register is scoped for: no scope holds this sign, and no campaign that was read.
UNSCOPED = ("*",)

# What CRMs of the shipped rules' countries write for "no contract": a word that denies it must never lift a law.
_NO = frozenset(
    {
        *("", "-", "0", "false", "no", "none", "null", "nil", "n", "n/a", "na", "nan", "off", "undefined"),
        *(
            "non",
            "faux",
            "aucun",
            "nein",
            "falsch",
            "kein",
            "nee",
            "geen",
            "onwaar",
            "falso",
            "ninguno",
            "nessuno",
        ),
    }
)


class Relation(NamedTuple):
    """What binds a prospect to the caller, and the day of the purchase, the contract's end or the inquiry."""

    kind: str
    since: date


class Facts(NamedTuple):
    """What a prospect says about itself, as the rules read it: purposes in lower case, UNTOLD among them, whether it has a contract, with
    its last day if one is known, and campaigns as `spelling.plain` writes them. `channel` is how the person is to be
    reached, `company` whether it is a legal person, `relation` what it has to do with the caller, `artificial` whether
    no living voice speaks, and `residence` the region that the person says to live in. `house` is the operator's own
    campaign if it is one of those that call."""

    purposes: tuple[str, ...] = ()
    contract: Contract = False
    campaigns: tuple[str, ...] = ()
    channel: str = VOICE
    company: bool = False
    relation: Relation | None = None
    artificial: bool = False
    residence: str = ""
    house: str = ""

    @property
    def unnamed(self) -> bool:
        """Whether it may be anybody who calls."""
        return not self.campaigns or UNNAMED in self.campaigns


NO_FACTS = Facts()
# Makes facts from a prospect's members of any type, in the order of `Members.facts`. The last ones may be left out.
FactsOf = Callable[..., Facts]


def facts_of(
    purpose: Any = None,
    contract: Any = None,
    campaign: Any = None,
    channel: Any = None,
    who: Any = None,
    relation: Any = None,
    voice_kind: Any = None,
    residence: Any = None,
    *,
    default_purpose: str = "",
    default_campaign: str = "",
    contract_shapes: Sequence[str] | None = (),
    campaigns: Callable[[Any], Iterable[str]] | None = None,
    purposes: Callable[[Any], Iterable[str]] | None = None,
) -> Facts:
    """Facts from members of any type. What cannot be understood lifts nothing. A prospect without a purpose has the
    default one, and one without a campaign the default one, which is the house's own. `contract_shapes` None: by the first reading, which takes for a contract whatever does not say no.
    `campaigns` and `purposes` read these; None: as this reading does.
    """
    said = tuple((purposes or purposes_of)(purpose))
    callers = tuple(dict.fromkeys((campaigns or campaigns_of)(campaign)))
    callers = callers or ((default_campaign,) if default_campaign else ())
    return Facts(
        tuple(
            dict.fromkeys(
                word.replace(" ", "-").replace("_", "-") for word in said or words_of(default_purpose)
            )
        ),
        _is_yes(contract) if contract_shapes is None else contract_of(contract, contract_shapes),
        callers,
        _channel(channel),
        isinstance(who, str) and _word(who) == COMPANY,
        relation_of(relation),
        not _is_live(voice_kind),
        _residence(residence),
        default_campaign if default_campaign in callers else "",
    )


def of_three(purpose: Any = None, contract: Any = None, campaign: Any = None, *_: Any, **how: Any) -> Facts:
    """As `facts_of`, by the readings that took three facts from a prospect and no more."""
    return facts_of(purpose, contract, campaign, purposes=words_of, **how)


def _is_live(member: Any) -> bool:
    """Whether a person speaks: no kind of voice is said, or a live one. Whatever else is said is no person."""
    if isinstance(member, str):
        return _word(member) == LIVE or not member.strip()
    return member is None or member is UNSET


def _residence(member: Any) -> str:
    """The region in capitals; empty if none is said. A region that nobody knows has no rule, so nobody is called."""
    if member is None or member is UNSET or (isinstance(member, str) and not member.strip()):
        return ""
    region = member.strip().upper() if isinstance(member, str) else ""
    return region if region in REGIONS else NOWHERE


def _channel(member: Any) -> str:
    """One word, as rules name channels. Absent, null or empty is the voice. Whatever else is no such word is a channel
    that no rule knows."""
    if member is None or member is UNSET or (isinstance(member, str) and not member.strip()):
        return VOICE
    word = _word(member) if isinstance(member, str) else ""
    return word if _CHANNEL.fullmatch(word) else UNKNOWN_CHANNEL


def _word(text: str) -> str:
    """A word as words are compared; empty for a text that is longer than any."""
    return plain(text) if len(text) <= _WORD_CHARS_MAX else ""


def _parts(member: Any) -> Sequence[Any]:
    """The parts of a member, which are to be words. Of too many none is looked at: they are one that cannot be
    understood."""
    parts = member if isinstance(member, list) else (member,)
    return parts if len(parts) <= WORDS_MAX else ([],)


def _is_too_long(part: Any) -> bool:
    if isinstance(part, list):
        return len(part) > WORDS_MAX
    return isinstance(part, str) and len(part) > _WORD_CHARS_MAX


def campaigns_of(member: Any) -> Iterable[str]:
    """The campaigns that a member names, each as it is compared; UNNAMED for each part that names none in letters or
    digits, and for too many."""
    for part in _parts(member):
        said = () if _is_too_long(part) else words_of(part)
        blank = part is None or part is UNSET or (isinstance(part, str) and not part.strip())
        if not blank:
            yield _word(said[0]) if len(said) == 1 else UNNAMED


def purposes_of(member: Any) -> Iterable[str]:
    """The words in a member, in lower case; UNTOLD for each part that is no word, such as an object, and for too many: the
    call is for that as well."""
    for part in _parts(member):
        blank = part is None or part is UNSET or (isinstance(part, str) and not part.strip())
        said = () if isinstance(part, list) or _is_too_long(part) else words_of(part)
        if not (blank or said):
            yield UNTOLD
        yield from said


def words_of(member: Any) -> tuple[str, ...]:
    """The words in a member, in lower case: a text or an integer is one, and a list has those of its parts."""
    if isinstance(member, str):
        word = member.strip().casefold()
        return (word,) if word else ()
    if isinstance(member, int) and not isinstance(member, bool):
        return (str(member),)
    if isinstance(member, list):
        return tuple(word for part in member if not isinstance(part, list) for word in words_of(part))
    return ()


def _is_yes(member: Any) -> bool:
    """Whether it is a contract by the first reading: `true` or an identifier is one. A word that denies it, an empty
    member, a list or an object is none."""
    if isinstance(member, bool):
        return member
    if isinstance(member, str):
        return member.strip().casefold() not in _NO
    return isinstance(member, int) and member != 0


def contract_of(member: Any, shapes: Sequence[str] = ()) -> Contract:
    """The contract that a prospect's member states. In `shapes`, `#` is a digit and `?` a letter or digit; a plus
    after either means one or more of them. All other signs stand for themselves, in any case."""
    if isinstance(member, bool):
        return member
    if isinstance(member, int):
        member = str(member) if abs(member) < 10**_TEXT_MAX else ""
    if isinstance(member, str):
        text = member.strip().lower()
        return text == "true" or (len(text) <= _TEXT_MAX and _is_one(text, tuple(shapes)))
    return _last_day(member) if isinstance(member, Mapping) else False


def _is_one(text: str, shapes: tuple[str, ...]) -> bool:
    """Whether the text has one of the shapes and holds more than zeros."""
    return bool(shapes) and text.strip("0") != "" and any(made(text) for made in _matchers(shapes))


@cache
def _matchers(shapes: tuple[str, ...]) -> list[Callable[[str], object]]:
    return [re.compile(_pattern(shape)).fullmatch for shape in shapes]


def _pattern(shape: str) -> str:
    return "".join(
        f"{_SIGNS[sign]}{plus}" if sign else re.escape(other.lower())
        for sign, plus, other in _PIECE.findall(shape)
    )


def _last_day(told: Mapping[str, Any]) -> Contract:
    """The day in `until`. False if another parser could find another value there, or if it is no day."""
    named = [name for name in told if name.casefold() == _UNTIL]
    last = told.get(_UNTIL)
    if named != [_UNTIL] or _UNTIL in getattr(told, "twice", ()) or not isinstance(last, str):
        return False
    try:
        return date.fromisoformat(last) if _DAY.fullmatch(last) else False
    except ValueError:
        return False


def relation_spelt(text: str) -> dict[str, str] | None:
    """The member for a relation that is written in one text, as in "purchase:2026-01-31"; None for any other text."""
    kind, _, since = text.strip().partition(":")
    member = {"kind": kind.strip(), "since": since.strip()}
    return None if relation_of(member) is None else member


def relation_of(member: Any) -> Relation | None:
    """The relation that a prospect's member states: an object with its kind and since when. None if it states none, or
    if another parser could find another one there."""
    if not isinstance(member, Mapping):
        return None
    named = sorted(name for name in member if name.casefold() in _RELATION)
    if named != _RELATION or {*_RELATION} & {*getattr(member, "twice", ())}:
        return None
    kind, since = member["kind"], member["since"]
    if kind not in RELATIONS or not isinstance(since, str) or not _DAY.fullmatch(since):
        return None
    try:
        return Relation(str(kind), date.fromisoformat(since))
    except ValueError:
        return None
