"""What many tenants cost: opt-outs with a scope each, a log of them, an index and its verdicts. `python -m bench.offline.tenants`.

No broker: the log is in memory, so what is measured is what this code writes, reads, holds and computes. Each number of
scopes has a process of its own, so that none lives on another's memory. `--scopes 1 5000 20000` says how many.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.harness import command
from bench.offline.scrubber import BATCH, make_index, make_scrubber, rulebook_of_bench
from stream_scrub.index import Index, Register
from stream_scrub.log.encode import records_of
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin, replay_to_end
from stream_scrub.log.wire import Cursor, DeltaSource
from stream_scrub.model import OWN, Deadline, Request
from stream_scrub.requests.lifts import Oppositions
from stream_scrub.requests.parse_request import RequestTerms
from stream_scrub.requests.requests_to_delta import KnownScopes, take
from tests.support.fakes.log import Log, Reader, Writer

NAME = "bench.offline.tenants"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BUILD = 500  # opt-outs in one transaction while the log is filled
ONES = 500  # opt-outs in a transaction each, which are measured
SIZES = (1, 5_000, 20_000)


@dataclass
class Figures:
    """Of one number of scopes. Bytes are values before compression."""

    scopes: int
    numbers: int
    log_mb: float = 0.0
    optout_bytes: float = 0.0
    optout_records: float = 0.0
    optout_ms: float = 0.0
    seal_bytes: int = 0
    value_bytes_max: int = 0
    start_s: float = 0.0
    start_records: int = 0
    log_records: int = 0
    batch_ms: float = 0.0
    batch_plain_ms: float = 0.0


class Daemon:
    """What the publisher daemon does with requests, without a broker."""

    def __init__(self) -> None:
        self.log = Log()
        self.writer = Writer(self.log)
        self.reader = Reader(self.log)
        self.replay: Replay = begin(self.reader, Deadline.after(5), keep_ends=True)
        self._asked = 0

    def opt_outs(self, named: list[tuple[str, int]]) -> None:
        """One transaction of opt-outs: scopes and numbers."""
        batch = []
        for scope, number in named:
            said = {"request": "opt-out", "number": f"+{number}", "scope": scope, "source": "dialler-7"}
            batch.append(Request(0, self._asked, 1, b"", json.dumps(said).encode()))
            self._asked += 1
        wanted, turned, _ = take(
            batch,
            RequestTerms(frozenset(OWN), now=NOW),
            self._told,
            Oppositions(),
            self.replay.index.registers,
            KnownScopes(),
        )
        assert not turned, "every request is taken"
        records = []
        names = sorted(wanted)
        for name in names:
            base = self.replay.index.registers.get(name) or Register.empty(name, wanted[name].kind, NOW)
            known = self.replay.known(name)
            told = known.asked
            cursor = Cursor(
                "opposition.requests", "0" * 22, {**(told.next if told else {}), **wanted[name].upto}
            )
            source = DeltaSource("opposition.requests", sha256(b"".join(wanted[name].lines)).hexdigest())
            some, _ = records_of(
                base,
                wanted[name].delta(base, known.ends),
                NOW,
                source,
                known=known,
                cursor=cursor,
                may_state=name == names[-1],
            )
            records += some
        self.writer.publish(records)
        replay_to_end(self.reader, Deadline.after(5), replay=self.replay)

    def _told(self, register: str) -> Cursor | None:
        return self.replay.known(register).asked


def measure(scopes: int, each: int) -> Figures:
    """One number of scopes, each register of so many numbers."""
    dice = random.Random(7)
    numbers = iter(range(33_600_000_000, 33_700_000_000))
    names = [f"tenant-{i:05}" for i in range(scopes)]
    daemon, figures = Daemon(), Figures(scopes, scopes * each)
    asked = [(name, next(numbers)) for _ in range(each) for name in names]
    dice.shuffle(asked)
    for at in range(0, len(asked), BUILD):
        daemon.opt_outs(asked[at : at + BUILD])
    before = len(daemon.log.records)
    started = time.process_time()
    for _ in range(ONES):
        daemon.opt_outs([(dice.choice(names), next(numbers))])
    figures.optout_ms = (time.process_time() - started) * 1000 / ONES
    written = daemon.log.records[before:]
    seals = [len(r.value or b"") for r in written if dict(r.headers)["part"] == b"seal"]
    figures.optout_bytes = sum(len(r.value or b"") + len(r.key or b"") for r in written) / ONES
    figures.optout_records = len(written) / ONES
    figures.seal_bytes = sorted(seals)[len(seals) // 2]
    figures.value_bytes_max = max(len(r.value or b"") for r in daemon.log.records)
    figures.log_records = len(daemon.log.records)
    figures.log_mb = sum(len(r.value or b"") for r in daemon.log.records) / 1e6
    log = daemon.log
    del daemon
    started = time.process_time()
    reader = Reader(log)
    replay = begin(reader, Deadline.after(600))
    index = replay_to_end(reader, Deadline.after(600), replay=replay)
    figures.start_s = time.process_time() - started
    figures.start_records = len(reader.read_offsets)
    _judge(figures, index, names, dice)
    return figures


def _judge(figures: Figures, index: Index, names: list[str], dice: random.Random) -> None:
    """One batch of prospects that each name a tenant, and one whose prospects name none."""
    with rulebook_of_bench() as rulebook:
        scrubber = make_scrubber(rulebook, "value")
        listed = make_index(np.arange(33_650_000_000, 33_650_100_000, dtype=np.uint64))
        for register in index.registers.values():
            listed = listed.with_register(register)
        now = datetime.now(UTC) + timedelta(seconds=1)
        plain = [
            b'{"phone":"+%d","id":%d}' % (33_600_000_000 + dice.randrange(99_999_999), i)
            for i in range(BATCH)
        ]
        named = [value[:-1] + b',"campaign":"%s"}' % dice.choice(names).encode() for value in plain]
        for values, field in ((plain, "batch_plain_ms"), (named, "batch_ms")):
            took = []
            for _ in range(5):
                started = time.perf_counter()
                scrubber.scrub(values, listed, now)
                took.append((time.perf_counter() - started) * 1000)
            setattr(figures, field, sorted(took)[len(took) // 2])


def work(given: argparse.Namespace) -> int:
    """Measure, print the table."""
    if given.one:
        print(json.dumps(asdict(measure(given.scopes[0], given.each))))
        return 0
    table = Table("", title=f"registers of {given.each} numbers each")
    rows = []
    for scopes in given.scopes:
        table.add_column(f"{scopes:,} scopes", justify="right")
        arguments = [sys.executable, "-m", NAME, "--one", "--scopes", str(scopes), "--each", str(given.each)]
        rows.append(json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout))
    for name in rows[0]:
        if name != "scopes":
            table.add_row(
                name,
                *(f"{row[name]:,.3g}" if isinstance(row[name], float) else f"{row[name]:,}" for row in rows),
            )
    Console().print(table)
    return 0


def main() -> int:
    """The exit code."""
    parser = command.parser(NAME, __doc__)
    parser.add_argument("--scopes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--each", type=int, default=2, help="numbers in each register")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    return command.ended(NAME, lambda: work(given))


if __name__ == "__main__":
    sys.exit(main())
