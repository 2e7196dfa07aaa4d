"""How hard a test tries. Each run tries other examples, so a run need not try many."""

import os

ALL = os.environ.get("STREAM_SCRUB_TEST_ALL") == "1"  # as `make test-all` says


def examples(most: int) -> int:
    """How many examples to try of a space that no number of examples covers: half of `most` in `make test-all`, else a
    fifth."""
    return most // (2 if ALL else 5)


def places(length: int, *, first: int = 0, step: int = 1) -> range:
    """Which of so many places to try: each `step`th. (a) In `make test-all`: all of these. (b) Else every fifth of them,
    beginning at another one for another `first`."""
    return range(0, length, step) if ALL else range(first * step % (5 * step), length, 5 * step)
