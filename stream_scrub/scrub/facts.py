"""What a prospect says about itself, as the rules read it. What cannot be understood lifts nothing."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET

from stream_scrub.rules import VOICE
from stream_scrub.scrub.contracts import Contract, contract_of
from stream_scrub.spelling import plain

UNKNOWN_CHANNEL = "unknown"  # of a prospect whose channel cannot be understood; no rule may name it
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
# Among campaigns: somebody who is not named, or not in words, calls as well.
UNNAMED = ""
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


class Facts(NamedTuple):
    """What a prospect says about itself, as the rules read it: purposes in lower case, whether it has a contract, with
    its last day if one is known, and campaigns as `spelling.plain` writes them. `channel` is how the person is to be
    reached."""

    purposes: tuple[str, ...] = ()
    contract: Contract = False
    campaigns: tuple[str, ...] = ()
    channel: str = VOICE

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
    *,
    default_purpose: str = "",
    contract_shapes: Sequence[str] | None = (),
    campaigns: Callable[[Any], Iterable[str]] | None = None,
) -> Facts:
    """Facts from members of any type. What cannot be understood lifts nothing. A prospect without a purpose has the
    default one. `contract_shapes` None: by the first reading, which takes for a contract whatever does not say no.
    `campaigns` reads the campaigns; None: as this reading does.
    """
    return Facts(
        tuple(
            dict.fromkeys(
                word.replace(" ", "-").replace("_", "-")
                for word in words_of(purpose) or words_of(default_purpose)
            )
        ),
        _is_yes(contract) if contract_shapes is None else contract_of(contract, contract_shapes),
        tuple(dict.fromkeys((campaigns or campaigns_of)(campaign))),
        _channel(channel),
    )


def of_three(purpose: Any = None, contract: Any = None, campaign: Any = None, *_: Any, **how: Any) -> Facts:
    """As `facts_of`, by the readings that took three facts from a prospect and no more."""
    return facts_of(purpose, contract, campaign, **how)


def _channel(member: Any) -> str:
    """One word, as rules name channels. Absent, null or empty is the voice. Whatever else is no such word is a channel
    that no rule knows."""
    if member is None or member is UNSET or (isinstance(member, str) and not member.strip()):
        return VOICE
    word = plain(member) if isinstance(member, str) else ""
    return word if _CHANNEL.fullmatch(word) else UNKNOWN_CHANNEL


def campaigns_of(member: Any) -> Iterable[str]:
    """The campaigns that a member names, each as it is compared; UNNAMED for each part that names none in letters or
    digits."""
    for part in member if isinstance(member, list) else (member,):
        said = words_of(part)
        blank = part is None or part is UNSET or (isinstance(part, str) and not said)
        if not blank:
            yield plain(said[0]) if len(said) == 1 else UNNAMED


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
