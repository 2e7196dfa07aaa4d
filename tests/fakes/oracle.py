"""A second opinion on prospects, written from the contract and not from the code: the standard library's JSON,
phonenumbers and plain sets. Slow, short, and sharing nothing with the engine.
"""

import json
from functools import cache
from typing import NamedTuple

import phonenumbers

NEEDED = {"phone", "country", "purpose", "contract", "campaign"}
NO_CONTRACT = {
    *("", "-", "0", "false", "no", "none", "null", "nil", "n", "n/a", "na", "nan", "off", "undefined", "non"),
    *("faux", "aucun", "nein", "falsch", "kein", "nee", "geen", "onwaar", "falso", "ninguno", "nessuno"),
}


class Pairs(list):
    """An object, every member of it."""


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


def parse(value: bytes | None) -> dict | None:
    """The members of a prospect; None for what not every parser reads alike."""
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
    if not isinstance(pairs, Pairs):
        return None
    names = [name for name, _ in pairs if name in NEEDED]
    return None if len(names) > len(set(names)) else dict(pairs)


@cache
def number(text: str, region: str) -> tuple[int, str, int] | None:
    """(E.164 digits, region, type) of a valid number."""
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return int(e164[1:]), phonenumbers.region_code_for_number(parsed), phonenumbers.number_type(parsed)


def words(member, *, hyphens: bool) -> set[str]:
    """What a purpose or a campaign says."""
    if isinstance(member, Pairs):
        return set()
    said = member if isinstance(member, list) else [member]
    texts = [str(each) for each in said if isinstance(each, str) or type(each) is int]
    folded = [text.strip().casefold() for text in texts]
    return {w.replace(" ", "-").replace("_", "-") if hyphens else w for w in folded if w}


def has_contract(member) -> bool:
    """Whether it is a contract."""
    if isinstance(member, str):
        return member.strip().casefold() not in NO_CONTRACT
    return member is True or (type(member) is int and member != 0)


def reasons(value: bytes | None, law: Law) -> list[tuple[str, int | None]] | str:
    """The reason for each number in a prospect, or for the prospect that has none."""
    members = parse(value)
    if members is None:
        return "unreadable"
    asked = members.get("country")
    region = asked.strip().upper() if isinstance(asked, str) else ""
    region = region if region in phonenumbers.SUPPORTED_REGIONS else "FR"
    phone = members.get("phone")
    offered = phone if isinstance(phone, list) and not isinstance(phone, Pairs) else [phone]
    offered = [one for one in offered if one is not None and not (isinstance(one, str) and one.strip() == "")]
    found = []
    for one in offered:
        text = str(one) if type(one) is int else one
        answer = number(text, region) if isinstance(text, str) else None
        found.append(
            ("invalid-number", None) if answer is None else (decide(*answer, members, law), answer[0])
        )
    return found or "invalid-number"


def decide(digits: int, region: str, kind: int, members: dict, law: Law) -> str:
    """One number's reason, in the order of the contract."""
    purposes = words(members.get("purpose"), hyphens=True)
    contract = has_contract(members.get("contract")) and "contract" in law.lifted_by
    scope, own = law.campaign
    if digits in law.internal or (scope in words(members.get("campaign"), hyphens=False) and digits in own):
        return "opposed"
    if region not in law.regions:
        return "no-rule"
    if kind in law.types or str(digits).startswith(law.prefix):
        return "not-callable"
    if purposes & law.banned and not contract:
        return "banned-purpose"
    lacking = law.consent is not None and digits not in law.consent
    lift = "contract" if contract else "exempt" if (purposes - {"contract"}) & law.lifted_by else None
    if digits in law.deny or lacking:
        return lift or ("opposed" if digits in law.deny else "no-consent")
    return "clear" if law.consent is None else "consented"
