"""The scrubber, rules and index of the offline benches, as the worker would have them, without a broker."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.harness import data
from stream_scrub.index import Index, Register, as_bitmap
from stream_scrub.model import RegisterKind
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import backend
from stream_scrub.scrub.batch import Scrubber, Terms
from stream_scrub.scrub.decode import Members

BATCH = 10_000


@contextmanager
def rulebook_of_bench() -> Iterator[Rulebook]:
    with tempfile.TemporaryDirectory(prefix="stream-scrub-bench-") as folder:
        yield Rulebook.load(data.write_rules(Path(folder) / "rules"))


def make_index(numbers: np.ndarray) -> Index:
    """An index with the register, as a follower would have made it."""
    empty = Register.empty(data.REGISTER, RegisterKind.DENY, datetime.now(UTC))
    bitmap, filter_ = empty.changed(
        as_bitmap(np.sort(numbers).astype(np.uint64)), as_bitmap(np.empty(0, np.uint64))
    )
    return Index.empty().with_register(replace(empty, numbers=bitmap, filter=filter_, seq=1, position=7))


def make_scrubber(rulebook: Rulebook, stamp: str, by: backend.Backend | None = None) -> Scrubber:
    """As the default settings make it, unless `by` another hand."""
    members = Members.of(("phone",), "country")
    return Scrubber(Terms(members, stamp="header" if stamp == "header" else "value"), rulebook, by)
