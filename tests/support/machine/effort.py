"""How hard a test tries: as hard as it can where nobody waits for it, a third of that at a developer's desk."""

import os

CI = bool(os.environ.get("CI"))


def examples(most: int) -> int:
    """How many examples to try of a space that no number of examples covers. More find more; later runs try
    others."""
    return most if CI else most // 3


def places(length: int, *, first: int = 0, step: int = 1) -> range:
    """Which of so many places to try: each `step`th. (a) Where nobody waits: all of these. (b) At a desk: every third
    of them, beginning at another one for another `first`."""
    return range(0, length, step) if CI else range(first * step % (3 * step), length, 3 * step)
