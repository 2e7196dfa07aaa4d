"""The names in a rule file. Each function returns a name's fault as the end of a sentence, or None. Pure."""

import re

from stream_scrub.model import RegisterName
from stream_scrub.rules.country import HOURS, LIFTS, PROOFS
from stream_scrub.rules.problem_sheet import nearest
from stream_scrub.texts import names_a_number, plain

# The names that `phonenumbers` gives to kinds of numbers, in lower case.
NUMBER_TYPES = frozenset(
    {
        *("fixed_line", "mobile", "fixed_line_or_mobile", "toll_free", "premium_rate", "shared_cost"),
        *("voip", "personal_number", "pager", "uan", "voicemail", "unknown"),
    }
)
_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")
_CHANNEL = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NO_CHANNEL = "unknown"  # the channel of a prospect whose own cannot be understood


def register_problem(name: str) -> str | None:
    """Of a register without a scope."""
    if names_a_number(name):  # checked first, because it may not be a register's name at all
        return (
            "a register's name looks like a phone number: choose another, because names are shown everywhere"
        )
    register = RegisterName.parse(name)
    if register is not None and not register.scope:
        return None
    if "@" in name:
        return f'"{name}" has a scope: name the register alone, a prospect\'s campaign adds its scopes'
    return f'"{name}" is not a register name: use lower-case letters, digits and hyphens, as in "us-dnc"'


def purpose_problem(word: str) -> str | None:
    """Of a purpose, or the contract. Prospects' purposes are compared in small letters with hyphens."""
    compared = word.strip().casefold().replace(" ", "-").replace("_", "-")
    if not compared:
        return "a word is empty: remove it"
    return None if word == compared else f'"{word}" would never match: write it "{compared}"'


def channel_problem(word: str) -> str | None:
    """Of a channel."""
    if _CHANNEL.fullmatch(word) and plain(word) == word and word != _NO_CHANNEL:
        return None
    return f'"{word}" is not a channel: use lower-case letters, digits and hyphens, at most 32, as in "sms"'


def prefix_problem(name: str) -> str | None:
    """Of the first digits of numbers."""
    if _PREFIX.fullmatch(name):
        return None
    return f'"{name}" is not a prefix: write a plus and 1 to 15 digits without a leading 0, as in "+33162"'


def not_callable_problem(name: str) -> str | None:
    """Of a type of numbers, or their first digits."""
    if name in NUMBER_TYPES:
        return None
    if name[:1] == "+" or name.isdecimal():
        return prefix_problem(name)
    return f'"{name}" is not a type of number{nearest(name, NUMBER_TYPES)}'


def lift_problem(name: str) -> str | None:
    """Of what an exemption may lift."""
    liftable = (*LIFTS, HOURS)
    return None if name in liftable else f'"{name}" cannot be lifted: use {" or ".join(liftable)}'


def proof_problem(name: str) -> str | None:
    """Of what a consent must state."""
    return None if name in PROOFS else f'"{name}" is not a proof of a consent: use {", ".join(PROOFS)}'


def note_problem(note: str) -> str | None:
    """Of a doubt."""
    return None if note.strip() else "a note is empty: say what is uncertain, or remove it"
