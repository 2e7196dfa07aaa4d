"""Names that no other test has."""

import random
import string

_random = random.SystemRandom()  # Hypothesis seeds the other one


def unique_name() -> str:
    """Eight letters. No digits: the product's log hides a run of them, which may be a phone number, and a test that waits
    for its topic's name there would wait in vain."""
    return "".join(_random.choices(string.ascii_lowercase, k=8))
