"""`lists verify`: whether the log is what publishers wrote, matches a snapshot, and continues an earlier proof.

`--json` writes the members of these types in this order.
"""

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from stream_scrub import timestamps
from stream_scrub.clock import utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.kafka import clients
from stream_scrub.log import snapshot, wire
from stream_scrub.log.apply import RegisterState
from stream_scrub.log.audit import AuditTally, FiledProof, LogAnchor, LogAudit, compare
from stream_scrub.log.delta import LogProblem
from stream_scrub.log.replay import ReplayState
from stream_scrub.log.scan import read_into
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Deadline, Logger, LogReader, Progress
from stream_scrub.rules import digest_of

_FILED_PROOF = msgspec.json.Decoder(FiledProof)


class RegisterProof(msgspec.Struct, frozen=True, kw_only=True):
    """The verification of one register. `restated`: full sets that equal the deltas before them. `unproven`: spans of
    offsets whose numbers could not be verified (None: to the end)."""

    register: str
    kind: str | None
    seq: int
    count: int | None
    deltas: int
    restated: int
    chain: str
    problems: int
    unproven: list[tuple[int, int | None]]


class AnchorProof(msgspec.Struct, frozen=True, kw_only=True):
    """The verification of one timestamp: the log up to `upto` existed `at` that moment. `checked`: its signature was checked
    with evidence.timestamp_ca."""

    position: int
    upto: int
    at: str | None
    checked: bool
    problem: str


class SnapshotProof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a snapshot matches the log; `position` is None if its files are damaged."""

    folder: str
    position: int | None
    problems: list[str]


class LogProof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the log is what publishers wrote. `snapshot` is set if one was verified too. `made_by`, `at`: by whom and
    when."""

    sound: bool
    first: int
    end: int
    records: int
    seals: int
    registers: list[RegisterProof]
    problems: list[LogProblem]
    problems_left_out: int
    anchors: list[AnchorProof]
    snapshot: SnapshotProof | msgspec.UnsetType = msgspec.UNSET
    took_s: float
    made_by: MadeBy | UnsetType = UNSET
    at: str | UnsetType = UNSET


def of_log(
    settings: Settings,
    log: Logger,
    filed: FiledProof | None = None,
    token: str = "",
    *,
    folder: Path | None = None,
    progress: Progress = lambda *_: None,
) -> LogProof:
    """Verify the log of the settings, for the owner of that token. Raises as `verify`."""
    with clients.Brokers(settings, log).reading() as reader:
        topic, authorities = settings.topics.log, settings.evidence.timestamp_ca
        proof = verify(reader, progress, clients.deadline(), folder, topic, filed, authorities)
    return msgspec.structs.replace(
        proof, made_by=clients.made_by(settings, token), at=utc_seconds(datetime.now(UTC))
    )


def verify(
    reader: LogReader,
    progress: Progress,
    deadline: Deadline,
    folder: Path | None = None,
    topic: str = "",
    filed: FiledProof | None = None,
    authorities: str = "",
) -> LogProof:
    """Verify that (a) the log `topic` is what publishers wrote, (b) the snapshot in `folder` matches it, (c) it still
    has the chains in `filed` from an earlier proof, and (d) its timestamps are of its own chain, in order, and signed by a
    server of these authorities (a file; without one signatures are not checked).

    The deadline restarts with each record, as in `scan`. Raises Unavailable, Refused, ConfigError if the folder has no
    snapshot. Problems of the log are in the result, not raised.
    """
    started, patience_s = time.monotonic(), deadline.left()
    state, wrong = _snapshot(folder, topic)
    first = reader.bounds()[0]
    watch = None if state is None else state.index.position
    chains = None if filed is None else filed.chains
    audit = LogAudit(digest_of, first=first, watch=watch, filed=chains)
    passage = read_into(
        reader,
        audit.take,
        Deadline.after(patience_s),  # again, since loading the snapshot took time
        settled=lambda: audit.unsealed is None,
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
    anchors = _anchors(audit.anchors, authorities)
    return LogProof(
        sound=not audit.problems and not wrong and not any(anchor.problem for anchor in anchors),
        first=passage.first,
        end=passage.end,
        records=passage.records,
        seals=audit.seals,
        registers=[_proven(state, audit.tallies[name]) for name, state in sorted(audit.registers.items())],
        problems=audit.problems,
        problems_left_out=audit.problems_left_out,
        anchors=anchors,
        snapshot=snapshot_proof,
        took_s=round(time.monotonic() - started, 3),
    )


def _anchors(anchors: Sequence[LogAnchor], authorities: str) -> list[AnchorProof]:
    """Verify the timestamps. That the log's chain is as their seals say is verified with the log."""
    proofs, latest = [], datetime.min.replace(tzinfo=UTC)
    for anchor in anchors:
        at, problem = None, ""
        try:
            answer = base64.b64decode(anchor.timestamp, validate=True)
            at = timestamps.moment_of(answer)
            if authorities:
                timestamps.check(answer, anchor.read.log_chain.encode(), authorities)
            if at < latest:
                problem = "it is older than the timestamp before it"
            latest = max(latest, at)
        except ValueError as error:
            problem = str(error)
        proofs.append(
            AnchorProof(
                position=anchor.offset,
                upto=anchor.read.upto,
                at=None if at is None else utc_seconds(at),
                checked=bool(authorities) and not problem,
                problem=problem,
            )
        )
    return proofs


def filed_in(file: Path) -> FiledProof:
    """Read an earlier `lists verify --json`. Raises ConfigError."""
    try:
        return _FILED_PROOF.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not an output of `lists verify --json`"
        raise ConfigError([f"--against: {file}: {reason}"]) from error


def snapshot_problems(state: ReplayState, audit: LogAudit, end: int) -> list[str]:
    """Return where a snapshot differs from the log that was audited up to `end`."""
    facts = audit.seen
    if state.index.position >= end or facts is None:
        return [f"its position is {state.index.position}, and the log ends at {end}"]
    wrong = list(compare(state.index.registers, facts))
    if state.starts != facts.starts and not audit.problems:
        wrong.append("its registers' full sets start at other offsets than on the log")
    rules = facts.rules
    if rules is not None and (rules.seq, rules.chain, rules.position, set(rules.texts)) != (
        state.rules.seq,
        state.rules.chain,
        state.rules.position,
        set(state.rules.texts),
    ):
        wrong.append("its rules differ from those on the log")
    return wrong


def _snapshot(folder: Path | None, topic: str) -> tuple[ReplayState | None, list[str]]:
    """Load the snapshot; returns also the problems of its files. Raises ConfigError if the folder has none."""
    if folder is None:
        return None, []
    try:
        state = snapshot.load(folder, topic, "any")
    except (ValueError, OSError) as error:
        return None, [(isinstance(error, OSError) and error.strerror) or str(error)]
    if state is None:
        raise ConfigError([f"--snapshot: no snapshot in {folder} ({snapshot.MANIFEST})"])
    return state, []


def _proven(state: RegisterState, tally: AuditTally) -> RegisterProof:
    register, rules = state.register, state.rules
    is_rules = state.name == wire.RULES
    count = len(rules.texts) if is_rules and rules else None if register is None else len(register.numbers)
    return RegisterProof(
        register=state.name,
        kind="rules" if is_rules else None if register is None else register.kind,
        seq=state.seq,
        count=count,
        deltas=tally.deltas,
        restated=tally.restated,
        chain=state.chain,
        problems=tally.problems,
        unproven=list(state.unknown),
    )
