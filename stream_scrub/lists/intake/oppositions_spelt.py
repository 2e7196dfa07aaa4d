"""How other systems write that somebody opposes: the words that they have for it, and the spellings of members' names."""

from collections.abc import Collection, Iterable
from typing import Any

from stream_scrub.spelling import plain

# What other systems call an opposition. Whom it is meant for may be called otherwise there as well.
OPPOSING_WORDS = frozenset(
    {
        *(
            "optedout",
            "unsubscribe",
            "unsubscribed",
            "stop",
            "donotcall",
            "dnc",
            "dncr",
            "blocklist",
            "blacklist",
        ),
        *(
            "object",
            "objection",
            "oppose",
            "opposed",
            "opposition",
            "withdraw",
            "withdrawn",
            "withdrawconsent",
        ),
        *(
            "revoke",
            "revoked",
            "revocation",
            "optoutrequest",
            "baja",
            "widerspruch",
            "widerruf",
            "opposizione",
        ),
    }
)


def in_any_spelling(members: dict[str, Any]) -> dict[str, Any]:
    """The members under the names that they mean, spelt in any way. Of several spellings the exact one counts, and of
    numbers all; where none is exact and they differ, their list, which nobody can place."""
    meant = dict(members)
    numbers: list[Any] = []
    for name, value in members.items():
        compared = plain(name)
        if compared == "number":
            numbers.extend(value if isinstance(value, list) else [value])
        elif compared not in members:
            meant[compared] = value if meant.get(compared, value) == value else [meant[compared], value]
    if numbers and not (len(numbers) == 1 and numbers[0] is None):
        meant["number"] = numbers
    return meant


def misspelt(members: Iterable[str], exact: Collection[str]) -> bool:
    """Whether a name means one of the exact ones and is spelt otherwise."""
    compared = {plain(name) for name in exact}
    return any(name not in exact and plain(name) in compared for name in members)
