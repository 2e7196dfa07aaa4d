"""How hard a test tries: as hard as it can where nobody waits for it, a third of that at a desk."""

import os

CI = bool(os.environ.get("CI"))


def examples(most: int) -> int:
    """How many examples to try of a space that nothing covers: more of them find more, and one run is not the last."""
    return most if CI else most // 3


def places(length: int, *, first: int = 0, step: int = 1) -> range:
    """Which of so many places to try, each `step`th: all of these where nobody waits, every third of them at a desk,
    from another one on for another `first`."""
    return range(0, length, step) if CI else range(first * step % (3 * step), length, 3 * step)
