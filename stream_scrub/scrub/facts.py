"""What a prospect says about itself, as the rules read it. What cannot be understood lifts nothing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stream_scrub.scrub.contracts import Contract, contract_of

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
    """What a prospect says about itself, as the rules read it: purposes and campaigns in lower case, and whether it
    has a contract, with its last day if one is known."""

    purposes: tuple[str, ...] = ()
    contract: Contract = False
    campaigns: tuple[str, ...] = ()


NO_FACTS = Facts()
# Makes facts from a prospect's purpose, contract and campaign, in this order, each of any type.
FactsOf = Callable[[Any, Any, Any], Facts]


def facts_of(
    purpose: Any,
    contract: Any,
    campaign: Any,
    default_purpose: str = "",
    contract_shapes: Sequence[str] | None = (),
) -> Facts:
    """Facts from members of any type. What cannot be understood lifts nothing. A prospect without a purpose has the
    default one. `contract_shapes` None: by the first reading, which takes for a contract whatever does not say no.
    """
    return Facts(
        tuple(
            dict.fromkeys(
                word.replace(" ", "-").replace("_", "-")
                for word in _words(purpose) or _words(default_purpose)
            )
        ),
        _is_yes(contract) if contract_shapes is None else contract_of(contract, contract_shapes),
        tuple(dict.fromkeys(_words(campaign))),
    )


def _words(member: Any) -> tuple[str, ...]:
    if isinstance(member, str):
        word = member.strip().casefold()
        return (word,) if word else ()
    if isinstance(member, int) and not isinstance(member, bool):
        return (str(member),)
    if isinstance(member, list):
        return tuple(word for part in member if not isinstance(part, list) for word in _words(part))
    return ()


def _is_yes(member: Any) -> bool:
    """Whether it is a contract by the first reading: `true` or an identifier is one. A word that denies it, an empty
    member, a list or an object is none."""
    if isinstance(member, bool):
        return member
    if isinstance(member, str):
        return member.strip().casefold() not in _NO
    return isinstance(member, int) and member != 0
