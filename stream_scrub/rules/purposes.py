"""What a call may be for: a closed set of purposes, and the words of several languages for them.

The text of a rule that bans or exempts purposes holds the vocabulary that it was read with, so an old verdict is given
again by the words that counted then. A `purposes.toml` in a user's folder adds words and purposes to the shipped ones.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache

from stream_scrub.rules.shipped import shipped as shipped_rules
from stream_scrub.texts import names_a_number, plain

FILE = "purposes.toml"
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_BYTES_MAX = 1 << 16  # the shipped file is under 8 KiB, and each rule that bans a purpose carries it
_WORD_MAX = 80

# For each word, as `plain` spells it: every purpose that it may mean.
Vocabulary = Mapping[str, tuple[str, ...]]


def vocabulary(purposes: Mapping[str, Iterable[str]]) -> Vocabulary:
    """The vocabulary, from the words of each purpose. A purpose is also a word for itself."""
    purposes_of: dict[str, set[str]] = {}
    for purpose, words in purposes.items():
        for word in (purpose, *words):
            purposes_of.setdefault(plain(word), set()).add(purpose)
    return {word: tuple(sorted(meanings)) for word, meanings in sorted(purposes_of.items())}


def purpose_of(word: str, known: Vocabulary) -> str:
    """The one purpose that a word means; the plain word itself if it means none or several."""
    compared = plain(word)
    meanings = known.get(compared, ())
    return meanings[0] if len(meanings) == 1 else compared


def purposes_in(known: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Each purpose with its words, except itself: the reverse of `vocabulary`."""
    words_of: dict[str, list[str]] = {}
    for word, meanings in known.items():
        for purpose in meanings:
            words_of.setdefault(purpose, []).append(word)
    return {purpose: tuple(sorted({*words} - {purpose})) for purpose, words in sorted(words_of.items())}


def joined(*known: Vocabulary) -> Vocabulary:
    """All words of these vocabularies, each with every purpose that it means in any of them."""
    purposes_of: dict[str, set[str]] = {}
    for each in known:
        for word, meanings in each.items():
            purposes_of.setdefault(word, set()).update(meanings)
    return {word: tuple(sorted(meanings)) for word, meanings in sorted(purposes_of.items())}


def problem_of(table: object) -> str | None:
    """What is wrong with a table of purposes and their words; None when nothing is."""
    if not isinstance(table, dict):
        return '`purposes` must be a table, as in [purposes] and below it press = ["newspaper"]'
    for purpose, words in table.items():
        if not _NAME.fullmatch(purpose) or plain(purpose) != purpose or names_a_number(purpose):
            return f'"{purpose}" is not a purpose: use lower-case letters, digits and hyphens, as in home-adaptation'
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return f'`{purpose}` must be a list of words, as in {purpose} = ["...", "..."]'
        if any(not plain(word) or len(word) > _WORD_MAX or names_a_number(word) for word in words):
            return f"`{purpose}`: a word is empty, over {_WORD_MAX} signs, or looks like a phone number"
    return None


def read(where: str, content: bytes) -> Vocabulary | list[str]:
    """The words in a `purposes.toml`, or the problem in it."""
    if len(content) > _BYTES_MAX:
        return [f"{where}:1: the file is over {_BYTES_MAX} bytes: keep purposes in it and nothing else"]
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return [f"{where}:1: not valid TOML in UTF-8: {error}"]
    if unknown := sorted({*document} - {"purposes"}):
        return [f'{where}:1: unknown key "{unknown[0]}": write [purposes] and below it a line for each']
    problem = problem_of(document.get("purposes", {}))
    return [f"{where}:1: {problem}"] if problem else vocabulary(document.get("purposes", {}))


@cache
def shipped() -> Vocabulary:
    """The vocabulary of this release."""
    words = read(FILE, shipped_rules().folder.joinpath(FILE).read_bytes())
    if isinstance(words, list):
        raise TypeError(words[0])
    return words
