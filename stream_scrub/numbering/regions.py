"""Which region a word names."""

import json
import re
from functools import cache
from typing import Any, Final

from msgspec import UNSET
from phonenumbers import region_code_for_country_code

from stream_scrub.errors import ConfigError
from stream_scrub.languages import by_door, say
from stream_scrub.numbering.tables import FOLDER, REGIONS
from stream_scrub.texts import plain

US_STATES: Final = frozenset(  # ISO 3166-2; the territories are regions of their own
    f"US-{state}"
    for state in (
        *("AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DC", "DE", "FL", "GA", "HI", "IA"),
        *("ID", "IL", "IN", "KS", "KY", "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS"),
        *("MT", "NC", "ND", "NE", "NH", "NJ", "NM", "NV", "NY", "OH", "OK", "OR", "PA"),
        *("RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT", "WA", "WI", "WV", "WY"),
    )
)
AU_STATES: Final = frozenset(f"AU-{state}" for state in ("ACT", "NSW", "NT", "QLD", "SA", "TAS", "VIC", "WA"))
STATES: Final = US_STATES | AU_STATES  # in which a person may live
NAMES: Final = FOLDER / "regions.json"
UNKNOWN: Final = "unknown region: write its code or name, as in FR, FRA, UK or United Kingdom"
NOWHERE: Final = "ZZ"  # a region that ISO 3166-1 gives to no country
_CHARS_MAX = 80  # no country's name is longer
_CALLING = re.compile(r"(?:\+|00)([1-9]\d{0,2})", re.ASCII)
# A language tag with a region (BCP 47): nl-NL, zh-Hant-TW; an underscore as in POSIX locales.
_LANGUAGE_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?[-_]([A-Za-z]{2})")
_IN_PARENTHESES = re.compile(r"([^()]*)\(\s*([A-Za-z]{2,3})\s*\)")  # "Nederland (NL)"


def region_named(word: Any) -> str:
    """The region (ISO 3166-1, two letters) that a word names: by its code of two or three letters, by UK or EL, by its
    calling code (+44), by the code of an American or Australian state (US-CT), by the country's name in its own languages or in
    those of the shipped rules, by a language tag (nl-NL), or by a code in parentheses, as in "Nederland (NL)". Empty if it
    names none, or more than one."""
    if not isinstance(word, str) or len(word) > _CHARS_MAX:
        return ""
    code = word.strip().upper()
    if code in REGIONS:
        return code
    if (calling := _CALLING.fullmatch(code)) is not None:
        region = region_code_for_country_code(int(calling[1]))
        return region if region in REGIONS else ""
    if code in STATES:
        return code.partition("-")[0]
    return _names().get(compared(word), "") or _of_language_tag(word.strip()) or _in_parentheses(word.strip())


def _of_language_tag(word: str) -> str:
    """The region of a language tag. Empty for one that may be a country's part instead: `de-BE` is German in Belgium, and
    `DE-BE` may be Berlin (ISO 3166-2)."""
    tag = _LANGUAGE_TAG.fullmatch(word)
    if tag is None:
        return ""
    language, code = tag.groups()
    region, other = region_named(code), region_named(language)
    is_written_as_tag = language.islower() and code.isupper()
    return region if other in ("", region) or is_written_as_tag else ""


def _in_parentheses(word: str) -> str:
    """The region whose code ends the word in parentheses. Empty if the text before it names another region."""
    match = _IN_PARENTHESES.fullmatch(word)
    if match is None:
        return ""
    before, region = region_named(match[1]), region_named(match[2])
    return region if before in ("", region) else ""


def is_blank(member: Any) -> bool:
    """Whether a member that may name a country names none: then the default region holds."""
    return member is None or member is UNSET or (isinstance(member, str) and not member.strip())


def region_of_user(word: str) -> str:
    """The region that a user names for national numbers. Raises ConfigError."""
    if not (region := region_named(word)):
        page = say("“Country of numbers without a country code” is not known: choose a country")
        raise ConfigError([by_door(f"--region: {UNKNOWN}", page)])
    return region


def residence_named(word: Any) -> str:
    """The region that a word names as `region_named` says, or the state by its code in ISO 3166-2 ("US-CT"). Empty for a
    state that does not exist."""
    region = region_named(word)
    return word.strip().upper() if region and word.strip().upper() in STATES else region


def compared(word: str) -> str:
    """A region's name as names are compared: without case, accents, spaces and signs."""
    return plain(word).replace("-", "")


@cache
def _names() -> dict[str, str]:
    names_of = json.loads(NAMES.read_text(encoding="utf-8"))
    return {word: region for region, words in names_of.items() for word in words}
