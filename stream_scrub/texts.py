"""Texts that people write, with what looks like a phone number in them (`masked`, `names_a_number`), and as words
that are compared (`plain`).

Logs must show no number, and names must hold none. So a count in a sentence is rather masked than a number let through:
digits with anything but letters between them are one number. Only dates, digests, private addresses and settings of Kafka
(`max.message.bytes=1048588`) are kept; a date also as in export_20261128.csv.
"""

import re
import unicodedata

MASK = "[number]"

# A digit, also in the spelling of URLs, JSON and HTML.
_DIGIT = r"(?:\d|%3[0-9]|\\u003[0-9]|\\x3[0-9]|&\#(?:0{0,5}(?:4[89]|5[0-7])|[xX]0{0,5}3[0-9]);)"
# What may stand between two digits of one number: a few signs that are not letters, in the same spellings.
_BETWEEN = (
    rf"(?>(?:(?!{_DIGIT})"
    r"(?:%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[a-z]|&\#?\w{1,6};|[\W_])){0,12})"
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# The private addresses of brokers (RFC 1918, RFC 6598, loopback). Any other one may be a number: 33.61.23.45:678.
_HOST = (
    rf"(?:10\.{_OCTET}|127\.0|192\.168|172\.(?:1[6-9]|2\d|3[01])|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))"
    rf"\.{_OCTET}\.{_OCTET}"
)
_ADDRESS = rf"{_HOST}:\d{{4,5}}(?!\d)"
_LOOKS = re.compile(
    rf"""
    (?P<keep>
        (?<![0-9A-Za-z])(?=[0-9-]*[a-f])(?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}})(?![0-9A-Za-z])                    # digests
      | (?<![0-9A-Za-z])(?=[0-9-]*[a-f])[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}(?![0-9A-Za-z])
      | (?<![\d+.])(?<!\d-)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])                                # dates
        (?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d|[.\-]\d)
      | (?<![\d+(])(?<![\d+(][\W_])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])           # a file's day
        (?:[T_-]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?=[._-][A-Za-z])
      | (?<![\d:])(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d[.,](?:\d{{3}}){{1,3}}(?!{_BETWEEN}\d)                                               # times
      | (?<![0-9A-Za-z])ipv[46]\#(?={_ADDRESS})                                                             # the client
      | (?<![\d.]){_ADDRESS}(?:/\d{{1,5}}(?=:\ ))?                                                    # a broker's
      | (?:(?<=http://)|(?<=https://)){_HOST}(?::\d{{1,5}})?(?![^\s\w]*\d)                                               # a URL's
      | (?<![\w.])(?:[a-z]+\.)+(?:bytes|ms)=\d{{1,19}}(?![\d.])                                        # a setting of Kafka
    )
  | (?P<number>[+\uff0b(]{{0,3}}{_DIGIT}(?>(?:{_BETWEEN}{_DIGIT}){{6,}}))
    """,
    re.VERBOSE,
)


def words(text: str) -> frozenset[str]:
    """Words between spaces."""
    return frozenset(text.split())


def masked(text: str) -> str:
    """The text with its numbers masked."""
    # No word before digits proves that they are no number: `offset 33612345678` may be a file's name.
    return _LOOKS.sub(lambda match: match["keep"] or MASK, text)


def names_a_number(name: str) -> bool:
    """Whether a name holds what looks like a phone number. Names are shown everywhere; numbers must not be."""
    return any(match["number"] for match in _LOOKS.finditer(name))


def shown(title: str) -> str:
    """A title as people may see it; one that looks like a phone number is not shown."""
    seen = _UNSEEN.sub("", title)  # some turn the text around that stands behind them
    return "..." if names_a_number(title) or names_a_number(seen) else seen[:60]


_APART = re.compile(r"[\W_]+")
# Invisible signs (Unicode's Default_Ignorable_Code_Point): a word that was copied with one is the same word.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def plain(word: str) -> str:
    """A word as words are compared: without case, accents and invisible signs, with one hyphen for each run of signs
    that are no letters or digits. The function is idempotent."""
    if word.isascii():
        return _APART.sub("-", word.lower()).strip("-")
    seen = unicodedata.normalize("NFKD", _UNSEEN.sub("", word))
    # Capitals may come of the first step (mathematical and raised letters), and composed signs of the second.
    apart = unicodedata.normalize("NFKD", seen.casefold())
    return _APART.sub("-", "".join(sign for sign in apart if not unicodedata.combining(sign))).strip("-")
