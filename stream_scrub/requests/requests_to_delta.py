"""From requests to deltas: what a batch of them makes of each register. Pure, but for the clock that ends a turn.

The last word on a number holds, in the order of the topic. A register's seals say up to which requests it has taken
(`wire.Cursor`). Requests that it has taken are left out here, so a batch that was published to one register and not
yet to another may simply be taken again.
"""

import heapq
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from stream_scrub.imports.consents import ConsentsHeld
from stream_scrub.index import Register, as_bitmap
from stream_scrub.index.deltas import Delta, Ends, StatedEnds
from stream_scrub.log.wire import Cursor, request_line
from stream_scrub.made_by import HEADER, of_header
from stream_scrub.model import RegisterKind, RegisterName, Request, family
from stream_scrub.requests.backlog import LARGE_BYTES, size_of
from stream_scrub.requests.lifts import Oppositions, moment_of, takes_out
from stream_scrub.requests.parse_request import (
    ParsedRequest,
    RegisterChange,
    RequestRefusal,
    RequestTerms,
    may_oppose,
    read,
)
from stream_scrub.texts import names_a_number

_GONE = -1


class RefusedRequest(NamedTuple):
    """A request that was not taken, or of whose numbers only `taken` were. `unread`: it may be a person's opposition, and
    it, or one of its numbers, is not in force. `settles`: the unread one that it settles."""

    request: Request
    reason: RequestRefusal
    taken: int = 0
    unread: bool = False
    settles: str = ""


_SCOPE_CHARS_MAX = 100


@dataclass(slots=True)
class KnownScopes:
    """The scopes that exist, and how many may exist at most. A request makes a scope by naming it, and
    each one costs every worker memory and every batch time."""

    known: set[str] = field(default_factory=set)
    most: int = 20_000
    refused: int = 0

    def takes(self, register: str) -> bool:
        """Whether requests may be about a register, by its scope; which is known from then on."""
        scope = RegisterName.split(register).scope
        if not scope or scope in self.known:
            return True
        if len(self.known) >= self.most or len(scope) > _SCOPE_CHARS_MAX or names_a_number(scope):
            self.refused += 1
            return False
        self.known.add(scope)
        return True


@dataclass(slots=True)
class RegisterRequests:
    """What a batch asks of one register: (a) each number with its end (0: none) or _GONE, (b) the requests' own lines as
    evidence, (c) by partition the offset after the last request, and that request's leader epoch."""

    kind: RegisterKind
    numbers: dict[int, int] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    upto: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)

    def add(self, request: Request, line: bytes, numbers: Mapping[int, int]) -> None:
        """A request, its line, and the numbers that it is about with what becomes of them."""
        self.numbers.update(numbers)
        self.lines.append(line)
        self.upto[request.partition] = request.offset + 1
        if request.leader_epoch is not None:
            self.epochs[request.partition] = request.leader_epoch

    def cursor(self, topic: str, topic_id: str, before: Cursor | None) -> Cursor:
        """The register's cursor on that topic once these requests are taken; `before` is the one without them."""
        upto, epochs = ({}, {}) if before is None else (before.next, before.epochs)
        return Cursor(topic, topic_id, {**upto, **self.upto}, {**epochs, **self.epochs})

    def delta(self, base: Register, known: Ends) -> Delta:
        """The delta that makes the register so; `known` are its ends before."""
        numbers = np.array(sorted(self.numbers), np.uint64)
        goes = np.array([self.numbers[number] == _GONE for number in numbers.tolist()], np.bool_)
        held, gone = as_bitmap(numbers[~goes]), as_bitmap(numbers[goes])
        before = held & base.numbers
        ending = before & known.numbers()
        ends = {n: end for n, end in self.numbers.items() if end > 0 or (end == 0 and n in ending)}
        return Delta(
            adds=held - before,
            removes=gone & base.numbers,
            unchanged=len(before),
            ends=StatedEnds(np.array(list(ends), np.uint64), np.array(list(ends.values()), np.int64)),
            reason="requests",
            requests=self.lines,
        )


class TakenRequests(NamedTuple):
    """What requests ask of each register, the refused ones, and those that are to be taken later: in each partition the
    last ones."""

    wanted: dict[str, RegisterRequests]
    refused: list[RefusedRequest]
    left: list[Request]


def take(
    requests: Iterable[Request],
    terms: RequestTerms,
    cursor_of: Callable[[str], Cursor | None],
    oppositions: Oppositions,
    registers: Mapping[str, Register],
    scopes: KnownScopes,
    turn_s: float = math.inf,
) -> TakenRequests:
    """Take these requests, all of one topic, in the order of the topic.

    `cursor_of(register)` says up to which requests of this topic the register has taken. `oppositions` knows what was
    opposed when, and learns what these oppose. `registers` are those on the log, before these requests.
    An opposition that names one scope too many counts as an opposition to everybody, and is reported: the person stays
    protected.

    Requests are left where reading those before them in their partition took `turn_s`: a sender whose requests cost much
    delays only their own partition.
    """
    batch = _Batch(terms, cursor_of, oppositions, registers, scopes)
    left = batch.take(_by_partition(requests), turn_s)
    return TakenRequests(batch.wanted, batch.refused, left)


@dataclass
class _Batch:
    """One batch of requests, taken one after the other; arguments and results as in `take`."""

    _terms: RequestTerms
    _cursor_of: Callable[[str], Cursor | None]
    _oppositions: Oppositions
    _registers: Mapping[str, Register]
    _scopes: KnownScopes
    wanted: dict[str, RegisterRequests] = field(default_factory=dict)
    refused: list[RefusedRequest] = field(default_factory=list)
    _grown: bool = False  # whether registers have come whose names must be looked for

    def __post_init__(self) -> None:
        self._parts = dict(self._terms.parts)
        self._terms = replace(self._terms, parts=self._parts)
        self._consents = ConsentsHeld(self._registers, self._terms.consents)

    def take(self, partitions: Iterable[Sequence[Request]], turn_s: float) -> list[Request]:
        parsed_requests, left = self._read(partitions, turn_s)
        readable = (parsed for _, parsed, _ in parsed_requests if isinstance(parsed, ParsedRequest))
        self._consents.look(number for parsed in readable if parsed.older for number in parsed.numbers)
        for request, parsed, line in parsed_requests:
            if self._grown:
                parsed, line = _parsed(request, self._terms)  # noqa: PLW2901
            if isinstance(parsed, RequestRefusal):
                self.refused.append(RefusedRequest(request, parsed, unread=may_oppose(request.value)))
            else:
                self._one(request, line, self._within_scopes(request, parsed))
        return left

    def _read(
        self, partitions: Iterable[Sequence[Request]], turn_s: float
    ) -> tuple[list["_Read"], list[Request]]:
        """The requests, parsed, in the order of the topic; and those that are left, first of the partitions that had no turn."""
        parsed, begun, whole, total_s = [], list[Request](), list[Request](), 0.0
        for requests in partitions:
            of_partition, spent_s = list[_Read](), 0.0
            for at, request in enumerate(requests):
                # A large one may take as long as a turn by itself.
                if spent_s > turn_s or (total_s > turn_s and size_of(request) > LARGE_BYTES):
                    (begun if of_partition else whole).extend(requests[at:])
                    break
                began = time.perf_counter()
                of_partition.append(_Read(request, *_parsed(request, self._terms)))
                took_s = time.perf_counter() - began
                spent_s, total_s = spent_s + took_s, total_s + took_s
            parsed.append(of_partition)
        return list(heapq.merge(*parsed, key=lambda read: _turn(read.request))), whole + begun

    def _within_scopes(self, request: Request, parsed: ParsedRequest) -> ParsedRequest:
        """The request. With a scope above the limit it opposes every call, and the result reports that."""
        if not all(self._scopes.takes(change.register) for change in parsed.changes):
            parsed = _to_everybody(parsed)
            taken = len(parsed.numbers) if parsed.changes else 0
            odd = RequestRefusal.TOO_MANY_SCOPES
            self.refused.append(RefusedRequest(request, odd, taken, parsed.refused > 0))
        elif why := parsed.odd or (RequestRefusal.INVALID_NUMBER if parsed.refused else None):
            self.refused.append(RefusedRequest(request, why, len(parsed.numbers), parsed.refused > 0))
        if parsed.settles:
            settled = RequestRefusal.SETTLED
            self.refused.append(RefusedRequest(request, settled, len(parsed.numbers), settles=parsed.settles))
        return parsed

    def _one(self, request: Request, line: bytes, parsed: ParsedRequest) -> None:
        terms, superseded, over = self._terms, set[int](), set[int]()
        self._oppositions.add(request, parsed, int(terms.now.timestamp() * 1000))
        ended = list(self._ended(request, parsed))
        left = {n for each, numbers in ended if self._has_taken(request, each, parsed) for n in numbers}
        for change, numbers in (*((each, parsed.numbers) for each in parsed.changes), *ended):
            about = parsed if numbers is parsed.numbers else replace(parsed, numbers=numbers)
            kept = {*self._oppositions.outlive(request, about, change, terms, self._holds)}
            if self._has_taken(request, change, about):
                continue
            if left and change.kind is RegisterKind.DENY and not change.held:
                # The consents took this lift, the publisher died, and older ones came before it is taken again.
                kept.update(left)
            superseded.update(kept)
            # A later withdrawal in this batch is also from a register that the batch has made.
            whole = "" if change.register in self.wanted else RegisterName.split(change.register).whole
            if whole and change.register not in (known := self._parts.get(whole, ())):
                self._parts[whole] = (*known, change.register)
                self._grown = True
            ends = _ends_of(request, about, change, terms)
            over.update(set(numbers) - ends.keys())
            ends = {number: end for number, end in ends.items() if number not in kept}
            self.wanted.setdefault(change.register, RegisterRequests(change.kind)).add(request, line, ends)
            if change.kind is RegisterKind.ALLOW:
                self._consents.note(change.register, ends, held=change.held)
        for why, which in ((RequestRefusal.SUPERSEDED, superseded), (RequestRefusal.ENDED, over)):
            if which:
                self.refused.append(RefusedRequest(request, why, len(parsed.numbers) - len(which)))

    def _ended(
        self, request: Request, parsed: ParsedRequest
    ) -> Iterator[tuple[RegisterChange, tuple[int, ...]]]:
        """The older consents that a request ends, by register, each with its numbers in it."""
        if parsed.older is None or not parsed.changes:
            return
        opposed = [each for each in parsed.changes if each.register in parsed.older.lifted]
        held = {
            number: {*self._consents.of(number)}
            for number in parsed.numbers
            if not opposed or any(self._stood(request, each, parsed, number) for each in opposed)
        }
        for name in parsed.older.among(set[str]().union(*held.values())):
            numbers = tuple(number for number, names in held.items() if name in names)
            yield RegisterChange(name, RegisterKind.ALLOW, held=False), numbers

    def _stood(self, request: Request, change: RegisterChange, parsed: ParsedRequest, number: int) -> bool:
        """Whether an opposition stood that the request lifts, or may have stood before its register took it."""
        changes = self.wanted.get(change.register)
        decided = changes is not None and number in changes.numbers
        return self._holds(change.register, number) or (
            not decided and self._has_taken(request, change, parsed)
        )

    def _has_taken(self, request: Request, change: RegisterChange, parsed: ParsedRequest) -> bool:
        """Whether the register has taken the request before. All registers of a family take it at once, also those of the
        older consents."""
        names = [change.register]
        if parsed.older is not None and family(parsed.older.witness) == family(change.register):
            names.append(parsed.older.witness)
        cursors = map(self._cursor_of, names)
        at = (request.partition, request.offset, request.leader_epoch)
        return any(cursor is not None and cursor.has(*at) for cursor in cursors)

    def _holds(self, register: str, number: int) -> bool:
        changes = self.wanted.get(register)
        if changes is not None and number in changes.numbers:
            return changes.numbers[number] != _GONE
        return register in self._registers and number in self._registers[register].numbers


def _ends_of(
    request: Request, parsed: ParsedRequest, change: RegisterChange, terms: RequestTerms
) -> dict[int, int]:
    """What is to become of each number in a register: its end (0: none), or _GONE. A consent that is over by the law of
    its number is left out."""
    if not change.held:
        return dict.fromkeys(parsed.numbers, _GONE)
    if change.kind is RegisterKind.DENY:
        return dict.fromkeys(parsed.numbers, change.end)
    said = None if parsed.at_ms is None and not request.timestamp_ms else moment_of(request, parsed)
    ends = ((n, terms.law.end(change.register, n, change.end, said, terms.now)) for n in parsed.numbers)
    return {number: end for number, end in ends if end is not None}


class _Read(NamedTuple):
    request: Request
    parsed: ParsedRequest | RequestRefusal
    line: bytes  # as evidence


def _parsed(request: Request, terms: RequestTerms) -> tuple[ParsedRequest | RequestRefusal, bytes]:
    """The request, or why it is refused on its topic; and its line as evidence."""
    parsed = read(request.value, terms)
    if isinstance(parsed, RequestRefusal):
        return parsed, b""
    if takes_out(parsed) and not request.may_lift:
        return RequestRefusal.MAY_NOT_LIFT, b""
    place = (request.partition, request.offset, request.timestamp_ms)
    try:
        sender = of_header(dict(request.headers).get(HEADER))
        return parsed, request_line(*place, request.value or b"", lifts=request.may_lift, made_by=sender)
    except ValueError:
        return RequestRefusal.TOO_LARGE, b""


def _to_everybody(parsed: ParsedRequest) -> ParsedRequest:
    """The request with its oppositions alone, each in the register without a scope."""
    opposing = [change for change in parsed.changes if change.held and change.kind is RegisterKind.DENY]
    changes = dict.fromkeys(change._replace(register=family(change.register)) for change in opposing)
    return replace(parsed, changes=tuple(changes))


def in_order(requests: Iterable[Request]) -> Iterator[Request]:
    """By offset within each partition. Partitions have no order between them: there, Kafka's own timestamps decide."""
    return heapq.merge(*_by_partition(requests), key=_turn)


def _by_partition(requests: Iterable[Request]) -> list[list[Request]]:
    by_partition: dict[int, list[Request]] = defaultdict(list)
    for request in requests:
        by_partition[request.partition].append(request)
    for each in by_partition.values():
        each.sort(key=lambda request: request.offset)
    return [*by_partition.values()]


def _turn(request: Request) -> tuple[int, int]:
    return request.timestamp_ms, request.partition


def families(registers: Iterable[str], kinds: Callable[[str], RegisterKind]) -> list[Sequence[str]]:
    """The registers by family (a name and its scoped ones, which are published together), those that deny first."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for register in sorted(registers):
        by_name[family(register)].append(register)
    return sorted(by_name.values(), key=lambda of_it: (kinds(of_it[0]) is not RegisterKind.DENY, of_it[0]))


def publication_order(wanted: Mapping[str, RegisterRequests]) -> list[Sequence[str]]:
    """The families of registers in the order in which they must be published, so that no crash in between lets a person
    be called: what denies, then the consents that end, those that begin, and last what denies no more."""

    def turn(names: Sequence[str]) -> int:
        changes = [wanted[name] for name in names]
        goes = any(end == _GONE for each in changes for end in each.numbers.values())
        comes = any(end != _GONE for each in changes for end in each.numbers.values())
        return (3 if goes else 0) if changes[0].kind is RegisterKind.DENY else (2 if comes else 1)

    return sorted(families(wanted, lambda name: wanted[name].kind), key=turn)


def split_safely(requests: Sequence[Request], terms: RequestTerms) -> Iterator[Sequence[Request]]:
    """A batch in parts that can each be published in `publication_order`.

    A part that takes numbers out of a register of opposition, which comes last, may not also oppose a number and give it
    a consent: there the opposition must come first. Nor may it give a number another consent after the lift: if
    publishing stopped there, that one would look like an older one.
    """
    if not any(request.may_lift for request in requests):
        yield requests
        return
    part: list[Request] = []
    opposed, given, lifted = set[int](), set[int](), set[int]()
    for request in in_order(requests):
        parsed = read(request.value, terms)
        if not isinstance(parsed, ParsedRequest):
            part.append(request)
            continue
        held, numbers = {change.kind for change in parsed.changes if change.held}, set(parsed.numbers)
        opposes = numbers if RegisterKind.DENY in held else set[int]()
        gives = numbers if RegisterKind.ALLOW in held else set[int]()
        lifts = numbers if takes_out(parsed) else set[int]()
        clash = (lifted or lifts) and not (opposed | opposes).isdisjoint(given | gives)
        if part and (clash or not lifted.isdisjoint(gives)):
            yield part
            part, opposed, given, lifted = [], set(), set(), set()
        opposed, given, lifted = opposed | opposes, given | gives, lifted | lifts
        part.append(request)
    if part:
        yield part
