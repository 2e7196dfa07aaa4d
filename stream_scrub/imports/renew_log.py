"""`lists renew`: states every register of the log on a new one, behind a proof of the old, so that the old can be
deleted. Decision 14 says why erasure is done so.

1. No publisher lives, and no request waits. 2. Publishers to the old log are fenced, and what was left open there
is aborted: nothing may lie behind an open transaction, where no reader sees it. 3. The old log is proven, and the proof
is filed. 4. A mark on the new log keeps everybody from it. 5. The registers as they are at the old log's end are put on
the new one, without requests and proofs, and compared with what a reader finds there. 6. A mark on the old log says how
it goes on, and stops its use: workers hold, publishers end. It must follow on the proof, and no one who began
before may follow on it. 7. The new log's mark is taken back, and the rules in use follow.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from stream_scrub.atomic_file import atomic_file
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.imports import import_list
from stream_scrub.imports.plan_import import ImportOptions
from stream_scrub.index import Numbers, Register
from stream_scrub.kafka import clients
from stream_scrub.log.encode import Restated, differing, marked, nbytes_of, restated
from stream_scrub.log.ledger import LogMark
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import scan
from stream_scrub.log.wire import MOVED, RENEWED, RENEWING, RULES, TAKEN_BACK, DeltaSource
from stream_scrub.model import OWN, Logger, LogReader, Progress, RegisterKind, family
from stream_scrub.ops import preflight, read_log
from stream_scrub.publisher import ownership, publish_rules
from stream_scrub.scrub import scrubbing

# Numbers that go into one transaction, unless one register has more: some 8 MB as a rule.
_TOGETHER = 4_000_000
_AT_ONCE = 8  # writers that are opened at a time


class OldLogProof(NamedTuple):
    """What `lists verify --json` says of a log, whether the log is sound, and the log's end."""

    content: bytes
    sound: bool
    end: int


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
            raise ConfigError(["--without: write REGISTER=FILE"])
        options = ImportOptions(
            file=Path(file),
            register=import_list.named(register, settings),
            change="removes",
            max_bad=settings.lists.max_bad,
        )
        if options.register in found:
            raise ConfigError([f"--without: {options.register} is named twice"])
        found[options.register] = import_list.numbers_in(import_list.lawful(options, settings))
    return found


def run(
    cut: Path,
    without: Mapping[str, Numbers],
    old: Settings,
    new: Settings,
    prove: Callable[[LogReader], OldLogProof],
    log: Logger,
    stage: Progress,
) -> LogRenewed:
    """Renew the log. `cut` is the file for the proof of the old log, `without` the numbers of registers of consents that are
    left out. `old` and `new` are the same settings but for `topics.log`; `prove` proves a log from its first record to its
    last.

    Nothing on the old log is changed. Raises ConfigError (the cut or the new log's name is taken, a register whose numbers
    may not be left out), Refused (a live publisher, requests that wait, an old log that is not sound or that grew
    meanwhile, a new log that holds something already), Corrupt, Unavailable, Uncertain, Migrated.
    """
    if old.topics.log == new.topics.log:
        raise ConfigError([f"TOPIC: {new.topics.log} is the current log: name a new one"])
    if cut.exists():
        left = f"a renewal that was cut off, if `lists verify` says so of {new.topics.log}: delete both then"
        why = f"{cut} exists already. It may be the proof of an earlier log, or of {left}"
        raise ConfigError([f"--cut: {why}"])
    _need_quiet(old, new.topics.log, log)
    _fence(old, log)
    with clients.Brokers(old, log).reading() as reader:
        proof = prove(reader)
    if not proof.sound:
        raise Refused(f"{old.topics.log} has faults: `stream-scrub lists verify` names them")
    replay = read_log.replayed(old, log, keep_ends=True, start="beginning")
    if (mark := replay.known("").log.mark) is not None and mark != LogMark.moved(new.topics.log):
        raise Refused(mark.why)
    _need_consents(without, replay.index.registers)
    there = _made(new, cut, log)
    _file(cut, proof.content)
    digest = sha256(proof.content).hexdigest()
    name = f"{old.topics.log} up to position {replay.index.position}"
    source = DeltaSource(name, digest, clients.made_by(new))

    def need_empty(there: Replay) -> None:
        if there.known("").upto >= 0:
            raise Refused(f"somebody else publishes to {new.topics.log}: name a new topic")

    there, upto = _mark(new, RENEWING, source, there, log, need_empty, _no_earlier(old, replay, log))
    # What restricts comes first.
    registers = sorted(
        replay.index.registers.values(),
        key=lambda each: (each.kind is RegisterKind.ALLOW, family(each.name), each.name),
    )
    written: list[RegisterRenewed] = []
    for some in _together(registers):
        stage("stating the registers", len(written), len(registers))
        there, made, upto = _state(some, without, replay, there, source, new, log)
        written += [
            RegisterRenewed(each.name, each.kind, done.kept, done.ending, done.left_out)
            for each, done in zip(some, made, strict=True)
        ]
    there = _read_upto(new, log, read_log.replayed(new, log, keep_ends=True, start="beginning"), upto)
    if others := list(differing(replay, without, there)):
        raise Refused(
            f"{new.topics.log} holds {', '.join(others)} otherwise than was stated: somebody publishes to it."
            f" Stop that, {_cure(new.topics.log, cut)}"
        )
    _move(old, replace(source, name=new.topics.log), cut, proof.end, replay, log)
    there, _ = _mark(new, RENEWED, source, there, log)
    publish_rules.keep_rules(new, log, there)
    return LogRenewed(old.topics.log, replay.index.position, str(cut), digest, new.topics.log, written)


def _need_quiet(settings: Settings, new_log: str, log: Logger) -> None:
    """That its own rights are there, that no publisher lives, and that no request waits which one could still take."""
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as topics:
        preflight.need(topics, brokers, "import")
    waiting: dict[str, int] = {}
    for lifts in (False, True):
        with closing(brokers.requests(lifts=lifts)) as reader:
            if not lifts:
                ownership.need_free(reader.note, reader.note().registers)
            waiting[reader.topic] = reader.lag()
    if not any(waiting.values()):
        return
    # Behind the mark of a renewal that was cut off no publisher takes them: they wait for the new log's.
    if read_log.replayed(settings, log).known("").log.mark == LogMark.moved(new_log):
        return
    for topic, count in waiting.items():
        if count:
            raise Refused(
                f"{count} requests wait on {topic}: let a publisher take them (`stream-scrub lists publish`), and stop it"
            )


def _fence(settings: Settings, log: Logger) -> None:
    """Fence the publishers of the log, end what was left open, and wait until all that was committed can be read."""
    brokers = clients.Brokers(settings, log)
    held = {family(name) for name in read_log.replayed(settings, log).index.registers}
    named = map(family, (*settings.lists.registers, *scrubbing.law(settings).kinds))
    names = {RULES, *OWN, *named, *held}
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # each takes up to a second
        for writer in pool.map(brokers.taken_over, sorted(names)):
            writer.close()
    brokers.log_writer(RULES).close()


def _cure(topic: str, cut: Path) -> str:
    return f"delete {topic} and {cut}, and begin again"


def _need_consents(without: Mapping[str, Numbers], held: Mapping[str, Register]) -> None:
    # An opposition is needed for as long as anybody calls, and leaving one out would allow that call.
    for name in without:
        if name not in held or held[name].kind is not RegisterKind.ALLOW:
            raise ConfigError([f"--without: {name!r} is no register of consents that the log holds"])


def _made(settings: Settings, cut: Path, log: Logger) -> Replay:
    """Make the new log; returns what is on it, which is nothing."""
    preflight.make_log(settings)
    import_list.look(settings, log)
    replay = read_log.replayed(settings, log, keep_ends=True)
    if (mark := replay.known("").log.mark) is not None:
        if mark.goes_on_as:
            raise Refused(
                f"{settings.topics.log} is an earlier log, continued as {mark.goes_on_as}: name a new topic"
            )
        cure = _cure(settings.topics.log, cut)
        raise Refused(f"a renewal as {settings.topics.log} is under way, or was cut off. If it was: {cure}")
    if replay.known("").upto >= 0:
        raise Refused(f"{settings.topics.log} holds registers already: name a new topic")
    return replay


def _mark(
    settings: Settings,
    reason: str,
    source: DeltaSource,
    there: Replay,
    log: Logger,
    need: Callable[[Replay], None] = lambda _: None,
    at: datetime | None = None,
) -> tuple[Replay, int]:
    """Put a mark on a log, if `need` of what is there then does not prevent it. `there` is what was read of it; returns
    that, read on to where the mark stands, and its offset. `at` is its moment, None for now."""
    with closing(clients.Brokers(settings, log).log_writer(RULES)) as writer:
        there = read_log.replayed(settings, log, keep_ends=True, before=there)
        need(there)
        records = marked(there.rules, reason, source, at or datetime.now(UTC), there.known(RULES))
        position = writer.publish(records, after=there.known(RULES).upto)
    return _read_upto(settings, log, there, position), position


def _read_upto(settings: Settings, log: Logger, there: Replay, position: int) -> Replay:
    """What was read of a log, read on to that offset. What was published can be read only once its marker is written, a
    moment after the commit."""
    deadline = clients.deadline()
    while there.known("").upto < position:
        if deadline.passed:
            raise Unavailable(
                f"{settings.topics.log} cannot be read to offset {position}, which was published"
            )
        there = read_log.replayed(settings, log, keep_ends=True, before=there)
    return there


def _no_earlier(old: Settings, replay: Replay, log: Logger) -> datetime:
    """Now, or what the old log says if that is later: of what was said before the renewal the new log knows nothing, and
    this machine's clock may be behind. The next whole second, since a seal names no part of one."""
    now = datetime.now(UTC)
    latest = now if replay.known("").upto < 0 else max(now, clients.Brokers(old, log).latest_moment())
    return latest.replace(microsecond=0) + timedelta(seconds=1)


def _move(old: Settings, to: DeltaSource, cut: Path, end: int, replay: Replay, log: Logger) -> None:
    """Mark the old log, whose proof goes to offset `end`. A publisher that began before the mark is fenced behind it:
    otherwise something might still follow. A mark is taken back only while it is the last word."""
    grown = Refused(
        f"{old.topics.log} grew while it was renewed: somebody publishes to it. Stop that, {_cure(to.name, cut)}"
    )
    brokers = clients.Brokers(old, log)
    proven = replay.known("").upto

    def need_no_more(there: Replay) -> None:
        with brokers.reading() as reader:
            if there.known("").upto != proven or reader.bounds()[1] != end:
                raise grown

    replay, position = _mark(old, MOVED, to, replay, log, need_no_more)

    def need_last(there: Replay) -> None:
        if (span := there.known(RULES).span) is None or span[1] != position:
            raise grown

    _fence(old, log)
    with brokers.reading() as reader:
        behind = any(records for records, _ in scan(reader, clients.deadline(), since=position + 1))
    if behind or position != end:
        _mark(old, TAKEN_BACK, to, replay, log, need_last)
        raise grown
    # The new log states what the requests made of the old one: its publisher must not take them again.
    with closing(brokers.requests()) as requests:
        requests.goes_on(old.topics.log, to.name)


def _file(cut: Path, content: bytes) -> None:
    try:
        with atomic_file(cut.parent, f"{cut.name}.{token_hex(8)}.part", 0o600) as made:
            made.out.write(content)
            made.keep(cut.name, new=True)
    except OSError as error:
        raise Refused(f"{cut}: {error.strerror or 'it cannot be written'}") from error


def _together(registers: Sequence[Register]) -> Iterator[list[Register]]:
    """Registers of one family, which have one writer, in parts that fit a transaction."""
    for _, own in groupby(registers, key=lambda each: family(each.name)):
        some: list[Register] = []
        for each in own:
            if some and sum(len(one.numbers) for one in (*some, each)) > _TOGETHER:
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
    log: Logger,
) -> tuple[Replay, list[Restated], int]:
    """Put whole registers of one family on the new log, in one transaction. `there` is what was read of it; returns that,
    read on to its end, what was stated, and up to where."""
    nbytes = 0
    while True:
        with closing(clients.Brokers(new, log).log_writer(registers[0].name, nbytes=nbytes)) as writer:
            there = read_log.replayed(new, log, keep_ends=True, before=there)
            if taken := [each.name for each in registers if each.name in there.index.registers]:
                raise Refused(
                    f"{new.topics.log} holds {', '.join(taken)} already: somebody publishes to it. Stop that, and name a"
                    " new topic"
                )
            made = []
            for each in registers:
                known, stated = replay.known(each.name), there.known(each.name)
                made.append(restated(each, known, without.get(each.name), stated, source))
            records = [record for each in made for record in each.records]
            if writer.takes(nbytes := nbytes_of(records)):
                return there, made, writer.publish(records, after=there.known("").upto)
