"""How hard a test tries. Each run tries other examples, so a run need not try many."""

import os

CI = bool(os.environ.get("CI"))


def examples(most: int) -> int:
    """How many examples to try of a space that no number of examples covers: half of `most` in CI, a fifth at a desk."""
    return most // (2 if CI else 5)


def places(length: int, *, first: int = 0, step: int = 1) -> range:
    """Which of so many places to try: each `step`th. (a) In CI: all of these. (b) At a desk: every fifth of them,
    beginning at another one for another `first`."""
    return range(0, length, step) if CI else range(first * step % (5 * step), length, 5 * step)
