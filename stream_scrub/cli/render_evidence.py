"""What the queries of evidence found, in words: the same members that `--json` shows, for people."""

from collections.abc import Iterator, Sequence

from msgspec import UNSET

from stream_scrub.publisher.mend_log import Mended
from stream_scrub.publisher.renewal.renew_log import LogRenewed
from stream_scrub.queries.evidence import (
    Explanation,
    Export,
    HistoryAnswer,
    LoggedChange,
    LogProof,
    Membership,
    MembershipsAt,
    NumberVerdict,
    ProspectFacts,
    RegisterProof,
    RequestRecord,
)
from stream_scrub.rules import VOICE
from stream_scrub.terminal import People, document


def history(found: HistoryAnswer) -> None:
    """Every coming and going, oldest first, and how it stands now."""
    console = People()
    console.print(f"{found.number}, the log up to position {found.position}")
    for event in found.events:
        console.print(_event(event))
        for line in _requests(event.requests):
            console.print(f"    {line}")
    if not found.events:
        console.print("no register ever held it, and no request on the log names it")
    for register in found.registers:
        console.print(f"now: {_standing(register)}")


def at(found: MembershipsAt) -> None:
    """Membership at a position."""
    console = People()
    when = f", {found.time}" if found.time else ""
    console.print(f"{found.number} at position {found.position}{when}")
    if found.position < 0:
        console.print("the log held no list yet")
    if found.asked >= found.log_end:
        console.print(f"the log ends at offset {found.log_end}: this is how it stands now")
    if found.registers:
        console.rows(
            ("register", "kind", "it", "since", "list of", "age", "source"),
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
                for register in found.registers
            ],
        )


def exported(found: Export) -> None:
    """Each file, and what stands in it."""
    console = People()
    if found.registers:
        console.rows(
            ("register", "kind", "numbers", "that end", "effective"),
            [
                (
                    *(each.register, each.kind),
                    *(f"{each.count:,}", f"{each.ending:,}", each.effective_at),
                )
                for each in found.registers
            ],
        )
        console.print(f"written: {', '.join(each.file for each in found.registers)}")
    else:
        console.print("the log held no register there: nothing was written")
    if found.fault:
        console.print(f"saved up to the first fault: {found.fault}")
    console.print(f"the log up to position {found.position}")


def mended(made: Sequence[Mended]) -> None:
    """What was set aside, and at which position."""
    console = People()
    for each in made:
        console.print(
            f"{each.register}: {each.parts} parts without their seal, log offsets {each.first} to {each.last}, set aside at"
            f" position {each.position}"
        )
    if not made:
        console.print("no part waits for its seal: nothing to mend")


def renewed(made: LogRenewed) -> None:
    """What the new log holds, and what is left to do."""
    console = People()
    console.rows(
        ("register", "kind", "numbers", "ending", "left out"),
        [(each.register, each.kind, each.count, each.ending, each.left_out) for each in made.registers],
    )
    for line in (
        f"{made.old}, up to position {made.position}, is proven in {made.cut} (SHA-256 {made.cut_sha256}): have it dated",
        f"next: set topics.log to {made.new} for publisher, workers and check API, and start them",
        f"then keep {made.old} for as long as its verdicts may have to be proven, and delete it: that is the erasure",
    ):
        console.print(line)


def verified(proof: LogProof) -> None:
    """What was proven, and every problem."""
    console = People()
    if proof.registers:
        console.rows(
            ("register", "kind", "numbers", "deltas", "restated", "problems", "not proven"),
            [_register_row(register) for register in proof.registers],
        )
    for line in (*_set_aside(proof), *_problems(proof)):
        console.print(line)
    if proof.problems_left_out:
        console.print(f"and {proof.problems_left_out:,} more problems")
    snapshot = proof.snapshot
    if snapshot is not UNSET:
        for wrong in snapshot.problems:
            console.print(f"the snapshot in {snapshot.folder}: {wrong}")
        if not snapshot.problems:
            console.print(f"the snapshot in {snapshot.folder} is the log's at position {snapshot.position}")
    if not proof.records:
        console.print("the log is empty: nothing is proven; --against tells whether it always was")
    console.print(
        f"{'sound' if proof.sound else 'NOT SOUND'}: {proof.records:,} records, {proof.seals:,} deltas, offsets"
        f" {proof.first} to {proof.end}, in {proof.took_s:.1f} s"
    )


def _register_row(register: RegisterProof) -> tuple[str, ...]:
    spans = [f"{first} to {'the end' if last is None else last}" for first, last in register.unproven]
    return (
        register.register,
        register.kind or "?",
        "?" if register.count is None else f"{register.count:,}",
        *(f"{getattr(register, what):,}" for what in ("deltas", "restated", "problems")),
        ", ".join(spans),
    )


def _problems(proof: LogProof) -> Iterator[str]:
    for problem in proof.problems:
        of_it = f"register {problem.register}: " if problem.register else ""
        yield f"log offset {problem.offset}: {of_it}{problem.what}"


def _set_aside(proof: LogProof) -> Iterator[str]:
    for register in proof.registers:
        for first, last, seal in register.set_aside:
            yield (
                f"log offset {first}: register {register.register}: parts without their seal up to {last}, set aside by"
                f" the delta at {seal}: nothing of them counts"
            )


def explained(found: Explanation) -> None:
    """Whether the verdict is the same, and why it was given."""
    console = People()
    stamp = found.stamp
    console.print("same" if found.same else "different")
    for difference in found.differences:
        before, now = (document(getattr(difference, side)) for side in ("stamp", "replayed"))
        console.print(f"  {difference.field}: the stamp says {before}, replayed it is {now}")
    console.print(f"judged at {stamp['at']} by the index at position {stamp['index']}")
    for line in _facts(found.facts):
        console.print(line)
    for entry in found.numbers:
        for line in _entry(entry):
            console.print(line)
    for note in found.notes:
        console.print(f"note: {note}")
    read = found.read_with
    console.print(
        f"read with stream-scrub {read.stream_scrub} and phonenumbers {read.phonenumbers}, members as configured"
    )


def _facts(facts: ProspectFacts) -> Iterator[str]:
    """What the prospect says of itself."""
    for name in ("purposes", "campaigns"):
        if getattr(facts, name):
            yield f"the prospect's {name}: {', '.join(getattr(facts, name))}"
    if facts.channel != VOICE:
        yield f"the prospect is to be reached by {facts.channel}"
    if facts.company:
        yield "the prospect is a company"
    if facts.relation is not None:
        yield f"the prospect's relation with the caller: {facts.relation.kind} of {facts.relation.since}"
    if facts.artificial:
        yield "an artificial voice calls"
    if facts.residence:
        yield f"the person lives in {facts.residence}"
    if facts.contract:
        until = f" until {facts.contract}" if not isinstance(facts.contract, bool) else ""
        yield f"the prospect has a contract{until}"


def _entry(entry: NumberVerdict) -> Iterator[str]:
    yield f"{entry.number or 'no number'}: {entry.verdict}, {entry.reason}: {entry.says}"
    rule = entry.rule
    if rule is not None:
        yield f"  rule {rule.rules} ({rule.text_from}), {rule.in_force}: {rule.source}"
        yield from (f"  - {sentence}" for sentence in rule.says)
        yield from (f"  not proven: {note}" for note in rule.uncertain)
    if entry.residence is not None:
        yield f"  and by the rule where the person lives, {entry.residence.rules}: {entry.residence.source}"
        yield from (f"  - {sentence}" for sentence in entry.residence.says)
    for register in entry.registers:
        yield f"  {_standing(register)}"
        most = f", at most {register.max_age_days} d" if register.max_age_days is not None else ""
        overdue = "; what should have ended was still in it" if register.ends_overdue else ""
        yield (
            f"    its list: {register.source}, of {register.effective_at},"
            f" {register.age_days:.1f} d old{most}{overdue}"
        )
        if register.held and register.since:
            yield from (f"    {line}" for line in _requests(register.since.requests))
    for name in entry.missing:
        yield f"  {name} had never been on the log, and counts as stale"


def _event(event: LoggedChange) -> str:
    end = f", until {event.end}" if event.end else ""
    source = event.source
    return (
        f"{event.time or 'at an unknown time'}  position {event.position}  {event.register} ({event.kind}):"
        f" {event.change}{end}; {event.reason}, {source.name} sha256 {source.sha256[:16]},"
        f" effective {event.effective_at}, delta {event.seq}"
    )


def _standing(register: Membership) -> str:
    """Whether the register holds the number, since when, and by which list."""
    since = register.since
    head = f"{'in' if register.held else 'not in'} {register.register} ({register.kind})"
    if since is None:
        return f"{head}, never was"
    until = f", until {register.end}" if register.end else ""
    when = f"{since.time}, " if since.time else ""
    return (
        f"{head} since {when}position {since.position}{until}: {since.change} by"
        f" {since.source.name} ({since.reason})"
    )


def _requests(requests: Sequence[RequestRecord]) -> Iterator[str]:
    for asked in requests:
        left_out = asked.others_left_out
        others = f" (other numbers left out: {left_out})" if left_out else ""
        yield (
            f"request {asked.partition}:{asked.offset} of {asked.time}{others}:"
            f" {bytes(asked.request).decode('utf-8', 'replace')}"
        )
