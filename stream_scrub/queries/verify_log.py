"""`lists verify`: whether the log is what publishers wrote, whether a snapshot agrees with it, and whether it is
still the log of an earlier proof."""

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from stream_scrub.errors import ConfigError
from stream_scrub.lists.audit.log_audit import LogAudit, compare
from stream_scrub.lists.audit.register_audit import RegisterAudit
from stream_scrub.lists.log import snapshot, wire
from stream_scrub.lists.log.replay import ReplayState
from stream_scrub.lists.log.scan import read_into
from stream_scrub.model import Deadline, LogReader, Progress
from stream_scrub.queries.evidence import LogProof, ProblemAt, RegisterProof, SnapshotProof
from stream_scrub.rules import digest_of


def verify(
    reader: LogReader,
    progress: Progress,
    deadline: Deadline,
    folder: Path | None = None,
    topic: str = "",
    filed: Mapping[str, tuple[int, str]] | None = None,
) -> LogProof:
    """Whether (a) the whole log, called `topic`, is what publishers wrote, (b) the snapshot in `folder` holds what
    the log gives, and (c) the log still has the chains in `filed`, which an earlier proof kept.

    The deadline is for silence, as in `scan`. Raises Unavailable, Refused, ConfigError when there is no snapshot; what
    is wrong with the log is in the result and is not raised.
    """
    started, patience_s = time.monotonic(), deadline.left()
    state, wrong = _snapshot(folder, topic)
    first = reader.bounds()[0]
    watch = None if state is None else state.index.position
    audit = LogAudit(digest_of, first=first, watch=watch, filed=filed)
    passage = read_into(
        reader,
        audit.take,
        Deadline.after(patience_s),  # a snapshot takes its time as well
        settled=lambda: not audit.unsealed,
        on_damage=audit.damaged,
        on_read=lambda offset, end: progress("verifying the log", offset, end),
    )
    audit.finish()
    if state is not None:
        wrong += snapshot_problems(state, audit, passage.end)
    snapshot_proof: SnapshotProof | UnsetType = UNSET
    if folder is not None:
        position = None if state is None else state.index.position
        snapshot_proof = SnapshotProof(folder=str(folder), position=position, problems=wrong)
    return LogProof(
        sound=not audit.problems and not wrong,
        first=passage.first,
        end=passage.end,
        records=passage.records,
        seals=audit.seals,
        registers=[_proven(each) for _, each in sorted(audit.registers.items())],
        problems=[ProblemAt(**problem._asdict()) for problem in audit.problems],
        problems_left_out=audit.problems_left_out,
        snapshot=snapshot_proof,
        took_s=round(time.monotonic() - started, 3),
    )


def filed_in(file: Path) -> dict[str, tuple[int, str]]:
    """The sequence and chain of each register in an earlier `lists verify --json`. Raises ConfigError."""
    try:
        earlier = msgspec.json.decode(file.read_bytes(), type=_Filed)
    except (OSError, msgspec.MsgspecError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no output of `lists verify --json`"
        raise ConfigError([f"--against: {file}: {reason}"]) from error
    return {each.register: (each.seq, each.chain) for each in earlier.registers if each.seq}


class _FiledRegister(msgspec.Struct):
    register: str
    seq: int
    chain: str


class _Filed(msgspec.Struct):
    registers: list[_FiledRegister]


def snapshot_problems(state: ReplayState, audit: LogAudit, end: int) -> list[str]:
    """Where a snapshot differs from the log that was audited up to `end`."""
    seen = audit.seen
    if state.index.position >= end or seen is None:
        return [f"it is of position {state.index.position}, and the log ends at {end}"]
    wrong = list(compare(state.index.registers, seen))
    if state.starts != seen.starts and not audit.problems:
        wrong.append("where the registers' full sets begin is not where they do on the log")
    rules = seen.rules
    if rules is not None and (rules.seq, rules.chain, rules.position, set(rules.texts)) != (
        state.rules.seq,
        state.rules.chain,
        state.rules.position,
        set(state.rules.texts),
    ):
        wrong.append("its rules are not those on the log")
    return wrong


def _snapshot(folder: Path | None, topic: str) -> tuple[ReplayState | None, list[str]]:
    """The snapshot, and the problems of its files. Raises ConfigError when the folder holds none."""
    if folder is None:
        return None, []
    try:
        state = snapshot.load(folder, topic, "any")
    except (ValueError, OSError) as error:
        return None, [(isinstance(error, OSError) and error.strerror) or str(error)]
    if state is None:
        raise ConfigError([f"--snapshot: {folder} holds no snapshot ({snapshot.MANIFEST})"])
    return state, []


def _proven(audit: RegisterAudit) -> RegisterProof:
    register, rules, tally = audit.register, audit.rules, audit.tally
    is_rules = audit.name == wire.RULES
    count = len(rules.texts) if is_rules and rules else None if register is None else len(register.numbers)
    return RegisterProof(
        register=audit.name,
        kind="rules" if is_rules else None if register is None else register.kind,
        seq=audit.seq,
        count=count,
        deltas=tally.deltas,
        restated=tally.restated,
        chain=audit.head,
        problems=tally.problems,
        unproven=tally.unproven,
        set_aside=tally.set_aside,
    )
