"""What a prospect says about itself, read for the rules. What cannot be understood lifts nothing."""

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
    """What a prospect says about itself, read for the rules: purposes and campaigns in lower case, and the last day of the
    contract where it has one."""

    purposes: tuple[str, ...] = ()
    contract: Contract = False
    campaigns: tuple[str, ...] = ()


NO_FACTS = Facts()
# From a prospect's purpose, contract and campaign, of any type.
FactsOf = Callable[[Any, Any, Any], Facts]


def facts_of(
    purpose: Any,
    contract: Any,
    campaign: Any,
    default_purpose: str = "",
    contract_shapes: Sequence[str] | None = (),
) -> Facts:
    """Facts from members of any type. What cannot be understood lifts nothing; who says no purpose has the default.
    `contract_shapes` None: by the first reading, to which whatever does not say no is a contract.
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
    """By the first reading: `true` or an identifier; not a word that denies it, nor an empty or structured member."""
    if isinstance(member, bool):
        return member
    if isinstance(member, str):
        return member.strip().casefold() not in _NO
    return isinstance(member, int) and member != 0
