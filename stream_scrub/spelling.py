"""How words that people write are compared: purposes, campaigns, the verbs of requests. Every room may import this."""

import re
import unicodedata

_APART = re.compile(r"[\W_]+")


def plain(word: str) -> str:
    """A word in the form in which words are compared: without case and accents, with one hyphen for each run of other
    signs than letters and digits."""
    if word.isascii():
        return _APART.sub("-", word.lower()).strip("-")
    apart = unicodedata.normalize("NFKD", word.casefold())
    return _APART.sub("-", "".join(sign for sign in apart if not unicodedata.combining(sign))).strip("-")
