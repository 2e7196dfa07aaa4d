"""Finds what looks like a phone number, whoever wrote it and however: logs must show none, and names must hold none.

It would rather mask a count in a sentence than let a phone number through. So digits with anything but letters
between them are one number, whatever word stands before them. Only texts with a form of their own (dates, digests,
addresses) are kept.
"""

import re

MASK = "[number]"

# What may stand between two digits of one number: a few signs that are not letters, also in the spelling of URLs,
# JSON and HTML.
_BETWEEN = r"(?>(?:%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[a-z]|&\#?\w{1,6};|[\W_]){0,12})"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_ADDRESS = rf"(?:{_OCTET}\.){{3}}{_OCTET}:\d{{1,5}}(?!\d)"
_LOOKS = re.compile(
    rf"""
    (?P<keep>
        (?<![0-9A-Za-z])(?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}})(?![0-9A-Za-z])                    # digests
      | (?<![0-9A-Za-z])[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}(?![0-9A-Za-z])
      | (?<![\d+.])(?<!\d-)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])                                # dates
        (?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d|[.\-]\d)
      | (?<![\d:])\d\d:\d\d:\d\d[.,]\d{{1,9}}(?!{_BETWEEN}\d)                                               # times
      | (?<![0-9A-Za-z])ipv[46]\#(?={_ADDRESS})                                                             # the client
      | (?<![\d.]){_ADDRESS}(?:/\d{{1,5}}(?=:\ ))?                                                    # a broker's
    )
  | (?P<number>[+\uff0b(]{{0,3}}\d(?>(?:{_BETWEEN}\d){{6,}}))
    """,
    re.VERBOSE,
)


def masked(text: str) -> str:
    """The text with its numbers masked."""
    return _LOOKS.sub(lambda found: found["keep"] or MASK, text)


def names_a_number(name: str) -> bool:
    """Whether a name holds what looks like a phone number. It would be shown wherever names are shown."""
    return any(found["number"] for found in _LOOKS.finditer(name))
