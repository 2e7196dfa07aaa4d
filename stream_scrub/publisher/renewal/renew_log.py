"""`lists renew`: states every register of the log on a new one, behind a proof of the old, so that the old can be
deleted. Decision 14 says why erasure is done so.

1. No publisher lives, and no request waits. 2. The old log is proven, and the proof is filed. 3. The registers as they
are at its end are put on the new log, without requests and proofs. 4. The rules in use follow. 5. The old log must not
have grown meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.atomic_file import atomic_file
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.index import Numbers, Register
from stream_scrub.lists.intake.plan_import import ImportOrder
from stream_scrub.lists.log.encode import nbytes_of
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.restate import Restated, restated
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import LogReader, Progress, RegisterKind, family
from stream_scrub.publisher import import_list, ownership, publish_rules
from stream_scrub.wiring import clients, preflight, topics_report

# Numbers that go into one transaction, unless one register has more: some 8 MB as a rule.
_TOGETHER = 4_000_000
_MODE = 0o600


class FiledProof(NamedTuple):
    """What `lists verify --json` says of a log, whether the log is sound, and the log's end."""

    content: bytes
    sound: bool
    end: int


@dataclass(frozen=True)
class RenewOrder:
    """The file for the proof of the old log, and which numbers of which registers of consents are left out."""

    cut: Path
    without: Mapping[str, Numbers]


class RegisterRenewed(msgspec.Struct, frozen=True):
    """One register on the new log: how many numbers it holds, how many of them end, and how many were left out."""

    register: str
    kind: RegisterKind
    count: int
    ending: int
    left_out: int


class LogRenewed(msgspec.Struct, frozen=True):
    """The old log up to its position, the file of its proof and that file's SHA-256, and what the new log holds."""

    old: str
    position: int
    cut: str
    cut_sha256: str
    new: str
    registers: list[RegisterRenewed]


def left_out(said: Sequence[str], settings: Settings) -> dict[str, Numbers]:
    """The numbers of each `REGISTER=FILE`; the file is a list in any format. Raises ConfigError, BadList."""
    found: dict[str, Numbers] = {}
    for each in said:
        register, equals, file = each.partition("=")
        if not (register and equals and file):
            raise ConfigError([f"--without {each}: write REGISTER=FILE"])
        order = ImportOrder(
            file=Path(file),
            register=import_list.named(register, settings),
            change="removes",
            kind=None,
            effective_at=None,
            region=settings.prospect.default_region,
            column="",
            max_bad=settings.lists.max_bad,
            dry_run=True,
        )
        if order.register in found:
            raise ConfigError([f"--without {each}: {order.register} is named twice"])
        found[order.register] = import_list.numbers_in(order)
    return found


def run(
    order: RenewOrder,
    old: Settings,
    new: Settings,
    prove: Callable[[LogReader], FiledProof],
    log: FilteringBoundLogger,
    stage: Progress,
) -> LogRenewed:
    """Renew the log. `old` and `new` are the same settings but for `topics.log`; `prove` proves a log from its first record
    to its last.

    Nothing on the old log is changed. Raises ConfigError (the cut or the new log's name is taken, a register whose numbers
    may not be left out), Refused (a live publisher, requests that wait, an old log that is not sound or that grew
    meanwhile, a new log that holds something already), Corrupt, Unavailable, Uncertain, Migrated.
    """
    if old.topics.log == new.topics.log:
        raise ConfigError([f"TOPIC: {new.topics.log} is the log that there is: name a new one"])
    if order.cut.exists():
        raise ConfigError([f"--cut: {order.cut} is there already, and may be the proof of an earlier log"])
    _need_quiet(old, log)
    with clients.reading(old, log) as reader:
        proof = prove(reader)
    if not proof.sound:
        raise Refused(f"{old.topics.log} is not sound: `stream-scrub lists verify` says in what")
    replay = clients.replayed(old, log, keep_ends=True)
    _need_consents(order.without, replay.index.registers)
    there = _made(new, log)
    _file(order.cut, proof.content)
    digest = sha256(proof.content).hexdigest()
    source = DeltaSource(f"{old.topics.log} up to position {replay.index.position}", digest)
    registers = [each for _, each in sorted(replay.index.registers.items())]
    written: list[RegisterRenewed] = []
    for some in _together(registers):
        stage("stating the registers", len(written), len(registers))
        there, made = _state(some, order.without, replay, there, source, new, log)
        written += [
            RegisterRenewed(each.name, each.kind, done.kept, done.ending, done.left_out)
            for each, done in zip(some, made, strict=True)
        ]
    publish_rules.keep_rules(new, log, there)
    _need_same_end(old, new, order.cut, proof.end, log)
    return LogRenewed(old.topics.log, replay.index.position, str(order.cut), digest, new.topics.log, written)


def _need_quiet(settings: Settings, log: FilteringBoundLogger) -> None:
    for lifts in (False, True):
        reader = clients.requests(settings, log, lifts=lifts)
        try:
            if not lifts:
                ownership.need_free(reader.note, reader.note().registers)
            if waiting := reader.lag():
                raise Refused(
                    f"{waiting} requests wait on {reader.topic}: let a publisher take them (`stream-scrub lists publish`),"
                    " and stop it"
                )
        finally:
            reader.close()


def _need_consents(without: Mapping[str, Numbers], held: Mapping[str, Register]) -> None:
    """An opposition is needed for as long as anybody calls, and leaving one out would allow that call."""
    for name in without:
        if name not in held or held[name].kind is not RegisterKind.ALLOW:
            raise ConfigError([f"--without: {name!r} is no register of consents that the log holds"])


def _made(settings: Settings, log: FilteringBoundLogger) -> Replay:
    """Make the new log; returns what is on it, which is nothing."""
    topics_report.make_log(settings)
    with clients.topics(settings, log) as there:
        preflight.need(there, settings, "import")
        preflight.need_log(there, settings)
    replay = clients.replayed(settings, log, keep_ends=True)
    if replay.index.registers:
        raise Refused(f"{settings.topics.log} holds registers already: name a new topic")
    return replay


def _file(cut: Path, content: bytes) -> None:
    try:
        with atomic_file(cut.parent, f"{cut.name}.{token_hex(8)}.part", _MODE) as made:
            made.out.write(content)
            made.keep(cut.name, new=True)
    except OSError as error:
        raise Refused(f"{cut}: {error.strerror or 'it cannot be written'}") from error


def _together(registers: Sequence[Register]) -> Iterator[list[Register]]:
    """Registers of one family, which have one writer, in parts that fit a transaction."""
    for _, own in groupby(registers, key=lambda each: family(each.name)):
        some: list[Register] = []
        for each in own:
            if some and sum(len(other.numbers) for other in some) + len(each.numbers) > _TOGETHER:
                yield some
                some = []
            some.append(each)
        yield some


def _state(
    registers: Sequence[Register],
    without: Mapping[str, Numbers],
    replay: Replay,
    there: Replay,
    source: DeltaSource,
    new: Settings,
    log: FilteringBoundLogger,
) -> tuple[Replay, list[Restated]]:
    """Put whole registers of one family on the new log, in one transaction. `there` is what was read of it; returns that,
    read on to its end, and what was stated."""
    nbytes = 0
    while True:
        writer = clients.log_writer(new, registers[0].name, log, nbytes=nbytes)
        try:
            there = clients.replayed(new, log, keep_ends=True, before=there)
            made = [
                restated(
                    each,
                    replay.known(each.name).ends,
                    without.get(each.name),
                    there.known(each.name),
                    source,
                )
                for each in registers
            ]
            records = [record for each in made for record in each.records]
            if writer.takes(nbytes := nbytes_of(records)):
                writer.publish(records)
                return there, made
        finally:
            writer.close()


def _need_same_end(old: Settings, new: Settings, cut: Path, end: int, log: FilteringBoundLogger) -> None:
    with clients.reading(old, log) as reader:
        grown = reader.bounds()[1] != end
    if grown:
        raise Refused(
            f"{old.topics.log} grew while it was renewed: somebody publishes to it. Stop that, delete {new.topics.log} and"
            f" {cut}, and begin again"
        )
