"""A second opinion on prospects, written from the contract, not from the code, with the standard library's JSON,
phonenumbers and plain sets. It is slow and short, and shares nothing with the engine.
"""

import json
import re
import tomllib
import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

import phonenumbers

from tests.support.oracles.mistreated_numbers import at_home

FACTS = (
    "country",
    "purpose",
    "contract",
    "campaign",
    "channel",
    "who",
    "relation",
    "voice_kind",
    "residence",
)
NAMES = {"phone": [["phone"]], **{name: [name] for name in FACTS}}
ABSENT = object()
RULES = Path(__file__).parents[3] / "stream_scrub" / "rules"
_MAY_HAVE_TWO_READINGS = re.compile(r"\d\s*[,~#;A-Za-z]\s*\d")


class Pairs(list):
    """An object with all its members."""


class Law(NamedTuple):
    """A law of one country as sets."""

    regions: frozenset[str]
    internal: frozenset[int]
    deny: frozenset[int]
    consent: frozenset[int] | None
    lifted_by: frozenset[str]
    banned: frozenset[str]
    types: frozenset[int] = frozenset()
    prefix: str = "none"
    campaign: tuple[str, frozenset[int]] = ("", frozenset())


def _refuse(word):
    raise ValueError(word)


def parse(value: bytes | None) -> Pairs | None:
    """All members of a prospect; None if it is no JSON object."""
    if value is None:
        return None
    try:
        pairs = json.loads(
            value.decode("utf-8"),
            object_pairs_hook=Pairs,
            parse_constant=_refuse,
            parse_int=lambda digits: int(digits) if len(digits) < 99 else digits,
        )
    except (ValueError, RecursionError):
        return None
    return pairs if isinstance(pairs, Pairs) else None


def alike(one: str, other: str, case: str = "any") -> bool:
    """Whether any parser takes two names for one: (a) if they are equal up to a NUL, where a text in C ends, or (b) for a
    parser that ignores case, if Unicode leads from one to the other through capital and small letters, where every i is
    the same letter."""
    one, other = one.split("\0", maxsplit=1)[0], other.split("\0", maxsplit=1)[0]
    return one == other or (case == "any" and _caseless(one) == _caseless(other))


def _caseless(name: str) -> str:
    return "".join("i" if sign in "Ii\u0130\u0131" else sign.upper().lower().casefold() for sign in name)


def _equal(one, other) -> bool:
    """Whether two values are the same to everybody."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Pairs):
        names = [name for name, _ in one]
        return (
            len(set(names)) == len(one) == len(other)
            and set(names) == {name for name, _ in other}
            and all(_equal(value, dict(other)[name]) for name, value in one)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


class Ambiguous(Exception):
    """Raised when two parsers may find different members."""


def follow(pairs, path: list[str], case: str):
    """The value at a path, if it is the same for every parser; ABSENT if the path leads nowhere. Raises Ambiguous."""
    found = pairs
    for wanted in path:
        if not isinstance(found, Pairs):
            return ABSENT
        those = [(name, value) for name, value in found if alike(name, wanted, case)]
        if len({name for name, _ in those}) < len(those):
            raise Ambiguous
        if not all(_equal(those[0][1], value) for _, value in those[1:]):
            raise Ambiguous
        found = those[0][1] if those else ABSENT
    return found


def told(pairs: Pairs | None, names=NAMES, case: str = "any") -> dict | None:
    """The values of the members with these names, with the phones in a list; None if not every parser reads them
    alike."""
    if pairs is None:
        return None
    try:
        found = {name: follow(pairs, path, case) for name, path in names.items() if name != "phone"}
        phones = [follow(pairs, path, case) for path in names["phone"]]
    except Ambiguous:
        return None
    return {name: value for name, value in found.items() if value is not ABSENT} | {"phone": phones}


def region_of(members: dict) -> str | None:
    """The region that national numbers are read in; None for an unknown country."""
    asked = members.get("country")
    if asked is None or (isinstance(asked, str) and not asked.strip()):
        return "FR"
    region = asked.strip().upper() if isinstance(asked, str) else ""
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


@cache
def number(text: str, region: str) -> tuple[int, str, int] | None:
    """(E.164 digits, region, type) of a valid number."""
    try:
        parsed = at_home(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return None
    if parsed is None or not phonenumbers.is_valid_number(parsed):
        return None
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return int(e164[1:]), phonenumbers.region_code_for_number(parsed), phonenumbers.number_type(parsed)


def may_have_two_readings(value: bytes | None) -> bool:
    """Whether a number in a prospect has a sign that phonenumbers drops or takes for an extension, or a letter that may begin
    an exponent: `336333333,33`, `07400 q23456`. The engine may refuse these."""
    return value is not None and _MAY_HAVE_TWO_READINGS.search(value.decode(errors="replace")) is not None


def words(member, *, hyphens: bool) -> set[str]:
    """What a purpose or a campaign says."""
    if isinstance(member, Pairs):
        return set()
    said = member if isinstance(member, list) else [member]
    texts = [str(each) for each in said if isinstance(each, str) or type(each) is int]
    folded = [text.strip().casefold() for text in texts]
    return {w.replace(" ", "-").replace("_", "-") if hyphens else w for w in folded if w}


def callers(member) -> set[str]:
    """Who calls, as names are compared; an empty one for somebody who is not named."""
    parts = member if isinstance(member, list) and not isinstance(member, Pairs) else [member]
    found = set()
    for part in parts:
        if part is not None and not (isinstance(part, str) and not part.strip()):
            said = words(part, hyphens=False)
            found.add(bare(said.pop()) if len(said) == 1 else "")
    return found or {""}


def has_contract(member) -> bool:
    """Whether it is a contract, if no identifiers are declared and no contract has a last day."""
    return member is True or (isinstance(member, str) and member.strip().lower() == "true")


def is_voice(member) -> bool:
    """Whether the person is to be called: no channel is said, or the voice."""
    return member is None or (isinstance(member, str) and (not member.strip() or bare(member) == "voice"))


def is_person(member) -> bool:
    """Whether a person speaks: no kind of voice is said, or a live one."""
    return member is None or (isinstance(member, str) and bare(member) == "live") or not str(member).strip()


def reasons(members: dict | None, law: Law) -> list[tuple[str, int | None]] | str:
    """The reason for each number in a prospect's members, or the one reason for a prospect without numbers."""
    if members is None:
        return "unreadable"
    region = region_of(members)
    if region is None:
        return "unknown-country"
    offered = []
    for phone in members["phone"]:
        offered += phone if isinstance(phone, list) and not isinstance(phone, Pairs) else [phone]
    offered = [
        one
        for one in offered
        if one is not ABSENT and one is not None and not (isinstance(one, str) and one.strip() == "")
    ]
    found = []
    for one in offered:
        text = str(one) if type(one) is int else one
        answer = number(text, region) if isinstance(text, str) else None
        found.append(
            ("invalid-number", None) if answer is None else (decide(*answer, members, law), answer[0])
        )
    return found or "invalid-number"


@cache
def vocabulary() -> dict[str, set[str]]:
    """What each word may mean."""
    found: dict[str, set[str]] = {}
    told = tomllib.loads((RULES / "purposes.toml").read_text("utf-8"))["purposes"]
    for purpose, said in told.items():
        for word in (purpose, *said):
            found.setdefault(bare(word), set()).add(purpose)
    return found


def bare(word: str) -> str:
    """A word without case, accents and signs."""
    apart = unicodedata.normalize("NFKD", word.casefold())
    kept = "".join(sign if sign.isalnum() else " " for sign in apart if not unicodedata.combining(sign))
    return "-".join(kept.split())


def meanings(word: str, law: Law) -> set[str]:
    """The purposes that a word may mean to a law."""
    own = {name for name in (law.lifted_by | law.banned) if bare(name) == bare(word)}
    return own | vocabulary().get(bare(word), set())


def decide(digits: int, region: str, kind: int, members: dict, law: Law) -> str:
    """One number's reason, in the order of the contract."""
    scope, own = law.campaign
    lives = members.get("residence")
    here = lives is None or (isinstance(lives, str) and lives.strip().upper() in {"", *law.regions})
    ruled = region in law.regions and is_voice(members.get("channel"))
    meant_by = {scope, ""} if ruled else {scope}  # nobody is called without a rule, so nobody need be named
    if digits in law.internal or (digits in own and callers(members.get("campaign")) & meant_by):
        return "opposed"
    if not ruled:
        return "no-rule"
    found = by_rule(digits, kind, members, law)
    return found if here or found not in {"clear", "consented", "contract", "exempt"} else "no-rule"


def by_rule(digits: int, kind: int, members: dict, law: Law) -> str:
    """One number's reason by the only rule, if nobody opposed to the caller."""
    purposes = words(members.get("purpose"), hyphens=True) or {"other"}
    meant = [meanings(word, law) for word in purposes]
    contract = has_contract(members.get("contract")) and "contract" in law.lifted_by
    if kind in law.types or str(digits).startswith(law.prefix):
        return "not-callable"
    if any(each & law.banned for each in meant) and not contract:
        return "banned-purpose"
    if law.banned and not contract and not all(meant):
        return "unknown-purpose"
    lacking = law.consent is not None and digits not in law.consent
    lift = (
        "contract"
        if contract
        else "exempt"
        if all(each and each <= law.lifted_by - {"contract"} for each in meant)
        else None
    )
    if digits in law.deny or lacking:
        found = lift or ("opposed" if digits in law.deny else "no-consent")
    else:
        found = "clear" if law.consent is None else "consented"
    # The laws made for the tests know of no consent to machines.
    speaks = not is_person(members.get("voice_kind")) and found not in {"opposed", "no-consent"}
    return "no-consent" if speaks else found
