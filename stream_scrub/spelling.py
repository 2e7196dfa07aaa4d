"""How words that people write are compared: purposes, campaigns, the verbs of requests. Every room may import this."""

import re
import unicodedata

_APART = re.compile(r"[\W_]+")
# Signs that nobody sees (Unicode's Default_Ignorable_Code_Point): a word that was copied with one is the same word.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def plain(word: str) -> str:
    """A word in the form in which words are compared: without case, accents and signs that nobody sees, with one hyphen
    for each run of other signs than letters and digits. What is in that form already stays as it is."""
    if word.isascii():
        return _APART.sub("-", word.lower()).strip("-")
    seen = unicodedata.normalize("NFKD", _UNSEEN.sub("", word))
    # Capitals may come of the first step (mathematical and raised letters), and composed signs of the second.
    apart = unicodedata.normalize("NFKD", seen.casefold())
    return _APART.sub("-", "".join(sign for sign in apart if not unicodedata.combining(sign))).strip("-")
