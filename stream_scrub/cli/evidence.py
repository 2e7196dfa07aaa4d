"""`lists history`, `at`, `verify` and `export`, and `explain`: evidence from the log."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_scrub import terminal
from stream_scrub.cli.options import WHICH, Invocation, RulesFolder, argument, option, quiet_log
from stream_scrub.errors import ConfigError
from stream_scrub.terminal import document
from stream_scrub.texts import masked, names_a_number

if TYPE_CHECKING:  # loaded when a command runs
    from stream_scrub.config import Settings
    from stream_scrub.model import Deadline, LogReader, Progress
    from stream_scrub.publisher.anchor import Anchored
    from stream_scrub.queries.explain import Explanation, NumberVerdict
    from stream_scrub.queries.export_registers import Export
    from stream_scrub.queries.history import (
        HistoryAnswer,
        LoggedChange,
        Membership,
        MembershipsAt,
        RequestRecord,
    )
    from stream_scrub.queries.verify_log import AnchorProof, LogProof, RegisterProof
    from stream_scrub.registry.records import RecordReader

Number = Annotated[str, argument("NUMBER", "As a prospect would spell it.")]
Region = Annotated[str | None, option("REGION", "Region of a national number (prospect.default_region).")]


def history(call: Invocation, number: Number, region: Region = None) -> None:
    """Show when a number joined and left each register, by which list or request."""
    from stream_scrub.index import HashKeys
    from stream_scrub.queries import history as histories

    settings = call.settings()
    e164, region = parsed(number, region, settings)
    with _reading(call, settings) as (reader, progress, deadline):
        keys = HashKeys(settings.lists.hash_keys)
        result = histories.history(reader, e164, region, progress, deadline, keys)
    call.write(result, show_history)


def at(
    call: Invocation,
    position: Annotated[int, argument("POSITION", "An offset of the log, as in a stamp's index.", min=0)],
    number: Number,
    region: Region = None,
) -> None:
    """Show which registers held a number at a past position, and how old they were."""
    from stream_scrub.index import HashKeys
    from stream_scrub.queries import history as histories

    settings = call.settings()
    e164, region = parsed(number, region, settings)
    with _reading(call, settings) as (reader, progress, deadline):
        keys = HashKeys(settings.lists.hash_keys)
        result = histories.at(reader, position, e164, region, progress, deadline, keys)
    call.write(result, show_memberships)


def verify(
    call: Invocation,
    snapshot: Annotated[
        Path | None, option("DIR", "Also compare a worker's snapshot (worker.state_dir).")
    ] = None,
    against: Annotated[
        Path | None, option("FILE", "An earlier --json output of this command: it must still hold.")
    ] = None,
) -> None:
    """Verify the whole log. Exit 3 if anything in it is wrong."""
    from stream_scrub.queries import verify_log

    settings = call.settings()
    filed = None if against is None else verify_log.filed_in(against)
    with call.progress() as progress:
        result = verify_log.of_log(settings, quiet_log(settings), filed, folder=snapshot, progress=progress)
    call.write(result, show_proof)
    raise typer.Exit(0 if result.sound else 3)


def anchor(call: Invocation) -> None:
    """Have the head of the log stamped by the timestamp server, and keep the timestamp on the log."""
    from stream_scrub.publisher import anchor as anchoring

    settings = call.settings()
    call.write(anchoring.run(settings, quiet_log(settings)), show_anchored)


def export(
    call: Invocation,
    registers: Annotated[list[str] | None, argument("[REGISTER]...", "Default: all.")] = None,
    into: Annotated[Path, option("--into DIR", "An existing folder.")] = Path(),
    position: Annotated[
        int | None, option("--at POSITION", "As of this position; default: the log's end.", min=0)
    ] = None,
    salvage: Annotated[
        bool, option("--salvage", "For a corrupt log: export the state before the first fault.")
    ] = False,
) -> None:
    """Write registers to REGISTER.jsonl files, with expiries, kind and date, for lists import."""
    from stream_scrub.queries import export_registers

    settings = call.settings()
    options = export_registers.ExportOptions(registers or [], into, position, salvage)
    with _reading(call, settings) as (reader, progress, deadline):
        result = export_registers.run(options, reader, settings.topics.log, progress, deadline)
    call.write(result, show_export)


Header = Annotated[Path | None, option("FILE", "The record's header `scrub` with the stamp.", WHICH)]
Topic = Annotated[str | None, option("allowed|blocked", "Read the prospect from this topic.", WHICH)]
Partition = Annotated[int, option("P", "With --topic.", WHICH, min=0)]
Offset = Annotated[int | None, option("O", "With --topic.", WHICH, min=0)]
Limit = Annotated[
    int | None, option("BYTES", "The topic's record limit, if the prospect was blocked for its size.", min=1)
]


def explain(
    call: Invocation,
    file: Annotated[
        Path | None, argument("FILE", "The emitted prospect's value; default or -: standard input.")
    ] = None,
    header: Header = None,
    topic: Topic = None,
    partition: Partition = 0,
    offset: Offset = None,
    limit: Limit = None,
    folder: RulesFolder = None,
) -> None:
    """Replay the verdict on an emitted prospect: why it was called, or not. Exit 0 if its stamp is the same, else 1."""
    from stream_scrub.kafka import clients
    from stream_scrub.queries import explain as explaining

    if (topic is None) != (offset is None) or (topic is not None and (file or header)):
        raise ConfigError(["--topic and --offset: give both, and no file or --header"])
    settings = call.settings(rules__folder=folder)
    if topic is None or offset is None:
        emitted = explaining.EmittedProspect(_read(file), None if header is None else _read(header))
    else:
        verdict, name = _topic(topic, settings)
        with clients.Brokers(settings, quiet_log(settings)).reading(name, partition) as reader:
            emitted = explaining.emitted_at(reader, name, partition, offset, verdict, clients.deadline())
    with _reading(call, settings) as (reader, progress, deadline):
        reads = _records(settings)
        (result,) = explaining.explain(reader, [emitted], settings, progress, deadline, limit, reads)
    call.write(result, show_explanation)
    raise typer.Exit(0 if result.same else 1)


def _records(settings: "Settings") -> "RecordReader":
    from stream_scrub.registry.records import records
    from stream_scrub.scrub import scrubbing

    return records(settings, scrubbing.terms(settings).members, quiet_log(settings))


@contextmanager
def _reading(call: Invocation, settings: "Settings") -> "Iterator[tuple[LogReader, Progress, Deadline]]":
    """Open the log, and show the progress on it."""
    from stream_scrub.kafka import clients

    with call.progress() as progress, clients.Brokers(settings, quiet_log(settings)).reading() as reader:
        yield reader, progress, clients.deadline()


def parsed(number: str, region: str | None, settings: "Settings") -> tuple[int, str]:
    """Parse a typed number; returns it with its region. Raises ConfigError."""
    from stream_scrub.queries import history as histories

    region = region or settings.prospect.default_region
    return histories.number_of(number, region), region


def _topic(topic: str, settings: "Settings") -> tuple[str, str]:
    """Return the verdict of an output topic, and its name."""
    from stream_scrub.config.settings import INPUT

    for verdict, name in (("allowed", settings.topics.allowed), ("blocked", settings.topics.blocked)):
        if topic == verdict and INPUT not in name:
            return verdict, name
    verdict = settings.topics.inputs.verdict_of(topic)
    if verdict:
        return verdict, topic
    raise ConfigError([f"--topic: {topic!r} is not an output: write allowed, blocked or the topic's name"])


def _read(path: Path | None) -> bytes:
    if path is None and sys.stdin.isatty():
        raise ConfigError(
            [
                "FILE: give the emitted prospect, or its --topic and --offset; for a number, use `stream-scrub dossier`"
            ]
        )
    if path is None or str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        number = "; for a number, use `stream-scrub dossier`" if names_a_number(str(path)) else ""
        raise ConfigError([f"{masked(str(path))}: {error.strerror or 'unreadable'}{number}"]) from error


def show_history(answer: "HistoryAnswer") -> None:
    """Print every change, oldest first, and the current memberships."""
    console = terminal.people()
    console.print(f"{answer.number}, the log up to position {answer.position}")
    if not answer.events:
        console.print("never in a register, and in no request on the log")
    for line in history_lines(answer.events, answer.registers):
        console.print(line)


def history_lines(changes: "Iterable[LoggedChange]", registers: "Iterable[Membership]") -> Iterator[str]:
    """Yield every change, then the current memberships, as lines."""
    for change in changes:
        yield from change_lines(change)
    for register in registers:
        yield f"now: {membership_line(register)}"


def change_lines(event: "LoggedChange") -> "Iterator[str]":
    """Yield a change of a number in a register, then the requests for it."""
    end, source = f", until {event.end}" if event.end else "", event.source
    publisher = f", published by {source.made_by}" if source.made_by else ""
    yield (
        f"{event.time or 'at an unknown time'}  position {event.position}  {event.register} ({event.kind}):"
        f" {event.change}{end}; {event.reason}, {source.name} sha256 {source.sha256[:16]},"
        f" effective {event.effective_at}, delta {event.seq}{publisher}"
    )
    yield from (f"    {line}" for line in _requests(event.requests))


def show_memberships(answer: "MembershipsAt") -> None:
    """Print the memberships at a position."""
    console = terminal.people()
    when = f", {answer.time}" if answer.time else ""
    if answer.position < 0:
        console.print(f"{answer.number} at position {answer.asked}: the log held no register yet")
    else:
        console.print(f"{answer.number} at position {answer.position}{when}")
    if answer.asked >= answer.log_end:
        console.print(f"the log ends at offset {answer.log_end}: this is the current state")
    if answer.registers:
        console.rows(
            ("register", "kind", "number", "since", "list of", "age", "source"),
            [
                (
                    register.register,
                    register.kind,
                    "in" if register.held else "not in",
                    f"position {register.since.position}" if register.since else "",
                    register.effective_at,
                    "" if register.age_days is None else f"{register.age_days:.1f} d",
                    register.source,
                )
                for register in answer.registers
            ],
        )


def show_anchored(anchored: "Anchored") -> None:
    """Print what the timestamp proves, and where it is."""
    console = terminal.people()
    console.print(f"the log up to position {anchored.upto} existed at {anchored.at}")
    console.print(
        f"the timestamp is on the log at position {anchored.position}; --json gives a copy to keep elsewhere"
    )


def show_export(export: "Export") -> None:
    """Print each file and its content."""
    console = terminal.people()
    if export.registers:
        console.rows(
            ("register", "kind", "numbers", "that expire", "effective"),
            [
                (*(each.register, each.kind), *(f"{each.count:,}", f"{each.ending:,}", each.effective_at))
                for each in export.registers
            ],
        )
        console.print(f"written: {', '.join(each.file for each in export.registers)}")
    else:
        console.print("the log had no register: nothing was written")
    if export.fault:
        console.print(f"exported up to the first fault: {export.fault}")
    console.print(f"the log up to position {export.position}")


def show_proof(proof: "LogProof") -> None:
    """Print what was verified, and every problem."""
    from msgspec import UNSET

    console = terminal.people()
    if proof.registers:
        console.rows(
            ("register", "kind", "numbers", "deltas", "restated", "problems", "unverified"),
            [_register_row(register) for register in proof.registers],
        )
    for problem in proof.problems:
        register = f"register {problem.register}: " if problem.register else ""
        console.print(f"log offset {problem.offset}: {register}{problem.what}")
    if proof.problems_left_out:
        console.print(f"and {proof.problems_left_out:,} more problems")
    snapshot = proof.snapshot
    if snapshot is not UNSET:
        for difference in snapshot.problems:
            console.print(f"the snapshot in {snapshot.folder}: {difference}")
        if not snapshot.problems:
            console.print(
                f"the snapshot in {snapshot.folder} matches the log at position {snapshot.position}"
            )
    for line in _anchor_lines(proof.anchors):
        console.print(line)
    if not proof.records:
        console.print("the log is empty: nothing to verify; --against shows whether it once was not")
    console.print(
        f"{'sound' if proof.sound else 'NOT SOUND'}: {proof.records:,} records, {proof.seals:,} deltas, offsets"
        f" {proof.first} to {proof.end}, in {proof.took_s:.1f} s"
    )


def _anchor_lines(anchors: "Sequence[AnchorProof]") -> Iterator[str]:
    for each in anchors:
        if each.problem:
            yield f"the timestamp at position {each.position}: {each.problem}"
    good = [each for each in anchors if not each.problem]
    if not good:
        yield "no timestamp proves when the log was written: see `stream-scrub lists anchor`"
        return
    first, last = good[0], good[-1]
    line = f"timestamps: {len(good)}. The log existed up to position {first.upto} at {first.at}"
    yield line if first is last else f"{line}, and up to position {last.upto} at {last.at}"
    if not last.checked:
        yield "set evidence.timestamp_ca to have their signatures checked too"


def _register_row(register: "RegisterProof") -> tuple[str, ...]:
    spans = [f"{first} to {'the end' if last is None else last}" for first, last in register.unproven]
    return (
        register.register,
        register.kind or "?",
        "?" if register.count is None else f"{register.count:,}",
        *(f"{getattr(register, what):,}" for what in ("deltas", "restated", "problems")),
        ", ".join(spans),
    )


def show_explanation(explanation: "Explanation") -> None:
    """Print whether the verdict is the same, and its grounds."""
    console = terminal.people()
    for line in (*answer_lines(explanation), *proof_lines(explanation)):
        console.print(line)


def answer_lines(explanation: "Explanation") -> Iterator[str]:
    """Yield the answer on each number and what decided, line by line; details are indented."""
    for entry in explanation.numbers:
        yield f"{entry.number or 'no number'}: {entry.says}"
        yield from (f"  {sentence}" for sentence in entry.decided)


def proof_lines(explanation: "Explanation") -> Iterator[str]:
    """Yield whether the verdict is the same, and all its grounds, as the answer's lines."""
    stamp = explanation.stamp
    yield "same" if explanation.same else "different"
    for difference in explanation.differences:
        before, now = (document(getattr(difference, side)) for side in ("stamp", "replayed"))
        yield f"  {difference.field}: {before} in the stamp, {now} replayed"
    yield f"judged at {stamp['at']} by the index at position {stamp['index']}"
    yield from _facts(explanation.facts)
    for entry in explanation.numbers:
        yield from _number_verdict(entry)
    for note in explanation.notes:
        yield f"note: {note}"
    yield "read with stream-scrub {stream-scrub} and phonenumbers {phonenumbers}, members as configured".format(
        **explanation.read_with
    )


def _facts(facts: "dict[str, Any]") -> Iterator[str]:
    for name in ("purposes", "campaigns"):
        if facts[name]:
            yield f"the prospect's {name}: {', '.join(facts[name])}"
    if "channel" in facts:
        yield f"the prospect is contacted by {facts['channel']}"
    if "company" in facts:
        yield "the prospect is a company"
    if "relation" in facts:
        yield "the prospect's relation with the caller: {kind} of {since}".format(**facts["relation"])
    if "artificial" in facts:
        yield "an artificial voice calls"
    if "residence" in facts:
        yield f"the person lives in {facts['residence']}"
    if contract := facts["contract"]:
        yield f"the prospect has a contract{'' if contract is True else f' until {contract}'}"


def _number_verdict(entry: "NumberVerdict") -> Iterator[str]:
    yield f"{entry.number or 'no number'}: {entry.verdict}, {entry.reason}"
    rule = entry.rule
    if rule is not None:
        yield f"  rule {rule.rules} ({rule.text_from}), {rule.in_force}: {rule.source}"
        yield from (f"  - {sentence}" for sentence in rule.says)
        yield from (f"  uncertain: {note}" for note in rule.uncertain)
    if entry.residence is not None:
        yield f"  and by the rule of the person's residence, {entry.residence.rules}: {entry.residence.source}"
        yield from (f"  - {sentence}" for sentence in entry.residence.says)
    for register in entry.registers:
        yield f"  {membership_line(register)}"
        most = f", at most {register.max_age_days} d" if register.max_age_days is not None else ""
        overdue = "; it still had expired numbers" if register.ends_overdue else ""
        yield (
            f"    its list: {register.source}, of {register.effective_at},"
            f" {register.age_days:.1f} d old{most}{overdue}"
        )
        if register.held and register.since:
            yield from (f"    {line}" for line in _requests(register.since.requests))
    for name in entry.missing:
        yield f"  {name} was not on the log, and counts as stale"


def membership_line(register: "Membership") -> str:
    """Return whether the number is in the register, since when, and by which list."""
    since = register.since
    head = f"{'in' if register.held else 'not in'} {register.register} ({register.kind})"
    if since is None:
        return f"{head}, and never was"
    until = f", until {register.end}" if register.end else ""
    when = f"{since.time}, " if since.time else ""
    return (
        f"{head} since {when}position {since.position}{until}: {since.change} by"
        f" {since.source.name} ({since.reason})"
    )


def _requests(requests: "Sequence[RequestRecord]") -> Iterator[str]:
    for each in requests:
        others = f" (other numbers left out: {each.others_left_out})" if each.others_left_out else ""
        sender = f", sent by {each.made_by}" if each.made_by else ""
        yield (
            f"request {each.partition}:{each.offset} of {each.time}{sender}{others}:"
            f" {bytes(each.request).decode('utf-8', 'replace')}"
        )
