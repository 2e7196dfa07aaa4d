"""The facts of a prospect, as the rules read them. What cannot be understood lifts nothing."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import starmap
from types import MappingProxyType
from typing import Any, NamedTuple

from stream_scrub.call import RELATIONS, VOICE, day_in
from stream_scrub.numbering import NOWHERE, is_blank, residence_named
from stream_scrub.rules.country import COMPANY
from stream_scrub.texts import plain

# True: a contract without a known end. A date: its last day. False: no contract.
Contract = bool | date

WORDS_MAX = 100  # purposes, or campaigns, of one prospect: each is compared, and no call is for more
_WORD_CHARS_MAX = 200  # no purpose or campaign is longer, and no longer word is compared
_TEXT_MAX = 64  # characters: no identifier is longer, and no longer text is compared with a shape
_PIECE = re.compile(r"([#?])(\+?)|(.)", re.DOTALL)
_SIGNS = {"#": "[0-9]", "?": "[0-9a-z]"}
_UNTIL = "until"
_RELATION = ["kind", "since"]
LIVE = "live"
UNKNOWN_CHANNEL = "unknown"  # of a prospect whose channel cannot be understood; no rule may name it
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
UNNAMED = ""  # among campaigns: one that is not in words
UNCLEAR = ""  # among purposes: one that is not in words; no rule knows it, so it lifts nothing, and a ban may mean it
UNSCOPED = ("*",)  # campaigns without scoped registers: neither a scope nor a campaign holds this sign


class Relation(NamedTuple):
    """A relation with the caller, and the day of the purchase, the contract's end or the inquiry."""

    kind: str
    since: date


class Facts(NamedTuple):
    """The facts of one prospect."""

    purposes: tuple[str, ...] = ()  # in lower case with hyphens, or UNCLEAR
    contract: Contract = False
    campaigns: tuple[str, ...] = ()  # as `texts.plain` writes them, or UNNAMED
    channel: str = VOICE  # how the person is reached
    company: bool = False  # whether it is a legal person
    relation: Relation | None = None
    artificial: bool = False  # a recorded or synthetic voice
    residence: str = ""  # the region, or state, where the person lives
    house: str = ""  # the operator's own campaign, if it is one of `campaigns`
    professionals: tuple[str, ...] = ()  # for whom the call may be, of those that the settings name

    @property
    def unnamed(self) -> bool:
        """Whether any campaign may be calling."""
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
    contract_shapes: Sequence[str] = (),
    professionals: Mapping[str, str] = MappingProxyType({}),
) -> Facts:
    """Facts from members of any type. `default_purpose` is that of prospects without one, and `default_campaign`, the
    operator's own, that of prospects without one. `professionals` names that of each campaign."""
    purposes = tuple(purposes_of(purpose)) or words_of(default_purpose)
    campaigns = tuple(dict.fromkeys(campaigns_of(campaign)))
    campaigns = campaigns or ((default_campaign,) if default_campaign else ())
    return Facts(
        tuple(dict.fromkeys(word.replace(" ", "-").replace("_", "-") for word in purposes)),
        contract_of(contract, contract_shapes),
        campaigns,
        _channel(channel),
        isinstance(who, str) and _word(who) == COMPANY,
        relation_of(relation),
        # Anything but LIVE may be a machine.
        not (is_blank(voice_kind) or (isinstance(voice_kind, str) and _word(voice_kind) == LIVE)),
        _residence(residence),
        default_campaign if default_campaign in campaigns else "",
        professionals_of(campaigns, professionals),
    )


def professionals_of(campaigns: Collection[str], by_campaign: Mapping[str, str]) -> tuple[str, ...]:
    """The professionals for whom these campaigns may be: all of them if a campaign is unknown, or none is named."""
    known = campaigns and by_campaign.keys() >= {*campaigns}
    return tuple(sorted({by_campaign[each] for each in (campaigns if known else by_campaign)}))


def _residence(member: Any) -> str:
    """The region or state that the member names; empty for a blank member. An unknown one has no rule, so no call is
    allowed."""
    return "" if is_blank(member) else residence_named(member) or NOWHERE


def _channel(member: Any) -> str:
    """One word, as rules name channels; VOICE for a blank member. Anything else is a channel that no rule knows."""
    if is_blank(member):
        return VOICE
    word = _word(member) if isinstance(member, str) else ""
    return word if _CHANNEL.fullmatch(word) else UNKNOWN_CHANNEL


def _word(text: str) -> str:
    """A word as words are compared; empty for a text that is too long."""
    return plain(text) if len(text) <= _WORD_CHARS_MAX else ""


def _parts(member: Any) -> Sequence[Any]:
    """The parts of a member, which should be words. Too many count as one that is not a word."""
    parts = member if isinstance(member, list) else (member,)
    return parts if len(parts) <= WORDS_MAX else ([],)


def _is_too_long(part: Any) -> bool:
    if isinstance(part, list):
        return len(part) > WORDS_MAX
    return isinstance(part, str) and len(part) > _WORD_CHARS_MAX


def campaigns_of(member: Any) -> Iterable[str]:
    """The campaigns in a member, as they are compared; UNNAMED for each part without letters or digits, and for too
    many."""
    for part in _parts(member):
        words = () if _is_too_long(part) else words_of(part)
        if not is_blank(part):
            yield _word(words[0]) if len(words) == 1 else UNNAMED


def purposes_of(member: Any) -> Iterable[str]:
    """The words in a member, in lower case; UNCLEAR for each part that is not a word, such as an object, and for too
    many."""
    for part in _parts(member):
        words = () if isinstance(part, list) or _is_too_long(part) else words_of(part)
        if not (words or is_blank(part)):
            yield UNCLEAR
        yield from words


def words_of(member: Any) -> tuple[str, ...]:
    """The words in a member, in lower case: a text or an integer is one; a list has those of its parts."""
    if isinstance(member, str):
        word = member.strip().casefold()
        return (word,) if word else ()
    if isinstance(member, int) and not isinstance(member, bool):
        return (str(member),)
    if isinstance(member, list):
        return tuple(word for part in member if not isinstance(part, list) for word in words_of(part))
    return ()


def contract_of(member: Any, shapes: Sequence[str] = ()) -> Contract:
    """The contract that a prospect's member states. In `shapes`, `#` is a digit and `?` a letter or digit; a plus
    after either means one or more of them. All other signs stand for themselves, in any case."""
    if isinstance(member, bool):
        return member
    if isinstance(member, int):
        member = str(member) if abs(member) < 10**_TEXT_MAX else ""
    if isinstance(member, str):
        text = member.strip().lower()
        if text == "true" or len(text) > _TEXT_MAX or not text.strip("0"):  # no identifier is all zeros
            return text == "true"
        return any(match(text) for match in _matchers(tuple(shapes)))
    return _last_day(member) if isinstance(member, Mapping) else False


@cache
def _matchers(shapes: tuple[str, ...]) -> list[Callable[[str], object]]:
    def written(sign: str, plus: str, other: str) -> str:
        return f"{_SIGNS[sign]}{plus}" if sign else re.escape(other.lower())

    patterns = ("".join(starmap(written, _PIECE.findall(shape))) for shape in shapes)
    return [re.compile(pattern).fullmatch for pattern in patterns]


def _last_day(contract: Mapping[str, Any]) -> Contract:
    """The day in `until`. False if another parser could find another value there, or if it is not a day."""
    names = [name for name in contract if name.casefold() == _UNTIL]
    if names != [_UNTIL] or _UNTIL in getattr(contract, "twice", ()):
        return False
    return day_in(contract[_UNTIL]) or False


def relation_of(member: Any) -> Relation | None:
    """The relation in a member, which is an object with `kind` and `since`. None without one, or if another parser
    could find another one there."""
    if not isinstance(member, Mapping):
        return None
    names = sorted(name for name in member if name.casefold() in _RELATION)
    if names != _RELATION or {*_RELATION} & {*getattr(member, "twice", ())}:
        return None
    kind, since = member["kind"], day_in(member["since"])
    return Relation(kind, since) if kind in RELATIONS and since is not None else None
