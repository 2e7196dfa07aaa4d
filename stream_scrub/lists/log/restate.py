"""A register as one log holds it, stated whole on another one, and the seals that keep everybody from a log. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.index import Numbers, Register, as_bitmap
from stream_scrub.lists import deltas
from stream_scrub.lists.deltas import Delta, StatedEnds
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.log.encode import DeltaRecords, records_of, rules_records
from stream_scrub.lists.log.replay import LogRules, RegisterView, Replay
from stream_scrub.lists.log.wire import RENEWED, DeltaSource

_NEVER = 1 << 62


class Restated(NamedTuple):
    """The register's records, and how many numbers it keeps, how many of those end, and how many were left
    out."""

    records: DeltaRecords
    kept: int
    ending: int
    left_out: int


def restated(
    held: Register, known: RegisterView, without: Numbers | None, there: RegisterView, source: DeltaSource
) -> Restated:
    """The first deltas of `held` on another log, of which `there` knows what a replay does. `known` is what the replay
    that `held` comes from knows of it; `without` are numbers that are left out if it has them. It keeps its kind, its
    list's day and its areas.

    Empty deltas come first, one for each list whose bytes are known, with that list's day and digest: the same bytes
    under a later name would else make the register younger.
    """
    kept, ends = _kept(held, known.ends, without)
    base, there, records = Register.empty(held.name, held.kind, held.effective_at), _unmarked(there), []
    for digest, moment in known.listed.items():
        nothing = deltas.nothing(base.numbers, RENEWED)
        some, seal = records_of(
            base, nothing, moment, source=DeltaSource(source.name, digest), known=there, may_state=False
        )
        base = replace(base, seq=seal.seq, chain=seal.chain)
        records += some
    delta = Delta(kept, BitMap64(), 0, ends=ends.stated(), reason=RENEWED, areas=held.areas)
    some, _ = records_of(base, delta, held.effective_at, source, known=there, may_state=False)
    return Restated(records + some, len(kept), len(ends.numbers()), len(held.numbers) - len(kept))


def differing(old: Replay, without: Mapping[str, Numbers], new: Replay) -> Iterator[str]:
    """The registers that a new log does not hold as `restated` would state those of the old one. Both replays keep ends."""
    was, now = old.index.registers, new.index.registers
    for name in sorted(was.keys() | now.keys()):
        if name not in was or name not in now:
            yield name
            continue
        kept, ends = _kept(was[name], old.known(name).ends, without.get(name))
        same = all(
            getattr(was[name], each) == getattr(now[name], each) for each in ("kind", "effective_at", "areas")
        )
        if not same or now[name].numbers != kept or not new.known(name).ends.are(ends.stated()):
            yield name


def marked(
    rules: LogRules, reason: str, source: DeltaSource, at: datetime, known: RegisterView
) -> DeltaRecords:
    """A seal of the rules that changes none, and whose reason keeps everybody from the log, or lets them go on
    (`ledger.LogMark`)."""
    records, _ = rules_records(
        rules, {}, at, source, known=_unmarked(known), full_every=_NEVER, reason=reason
    )
    return records


def _kept(held: Register, ends: Ends, without: Numbers | None) -> tuple[BitMap64, Ends]:
    gone = BitMap64() if without is None else as_bitmap(without) & held.numbers
    return held.numbers - gone, ends.changed(gone, StatedEnds.none())


def _unmarked(known: RegisterView) -> RegisterView:
    """The same for whoever set the mark."""
    return known._replace(log=known.log._replace(mark=None))
