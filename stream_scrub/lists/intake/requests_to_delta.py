"""From requests to deltas: what a batch of them makes of each register. Pure.

The last word on a number holds, in the order of the topic. A register's seals say up to which requests it has taken
(`wire.Cursor`). Requests that it has taken are left out here, so a batch that was published to one register and not
yet to another may simply be taken again.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.index import Register
from stream_scrub.lists.deltas import Delta, StatedEnds
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.intake.lifts import Oppositions, moment_of, takes_out
from stream_scrub.lists.intake.older_consents import ConsentsHeld
from stream_scrub.lists.intake.parse_request import (
    ParsedRequest,
    RegisterChange,
    RequestRefusal,
    RequestTerms,
    read,
)
from stream_scrub.lists.log.wire import Cursor, request_line
from stream_scrub.model import RegisterKind, RegisterName, Request, family
from stream_scrub.redaction import names_a_number

_GONE = -1


class RefusedRequest(NamedTuple):
    """A request that was not taken, or of whose numbers only `taken` were."""

    request: Request
    reason: RequestRefusal
    taken: int = 0


_SCOPE_CHARS_MAX = 100


@dataclass(slots=True)
class KnownScopes:
    """The scopes that exist, and how many may exist at most. Whoever may write requests makes a scope by naming it, and
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
        held = BitMap64(sorted(number for number, end in self.numbers.items() if end != _GONE))
        gone = BitMap64(sorted(number for number, end in self.numbers.items() if end == _GONE))
        before = held & base.numbers
        ending = before & known.numbers() if known.next is not None else BitMap64()
        ends = {n: end for n, end in self.numbers.items() if end > 0 or (end == 0 and n in ending)}
        return Delta(
            adds=held - before,
            removes=gone & base.numbers,
            unchanged=len(before),
            ends=StatedEnds(np.array(list(ends), np.uint64), np.array(list(ends.values()), np.int64)),
            reason="requests",
            requests=self.lines,
        )


def take(
    requests: Iterable[Request],
    terms: RequestTerms,
    cursor_of: Callable[[str], Cursor | None],
    said: Oppositions,
    registers: Mapping[str, Register],
    scopes: KnownScopes,
) -> tuple[dict[str, RegisterRequests], list[RefusedRequest]]:
    """What these requests, all of one topic, ask of each register, and those that were turned away; in its order.

    `cursor_of(register)` says up to which requests of this topic the register's seals have them already. `said` knows
    what was opposed when, and learns what these oppose. `registers` are those on the log, before these requests.
    When an opposition names one scope too many, it is taken as an opposition to everybody, and reported: whoever opposed
    stays protected.
    """
    taking = _Taking(terms, cursor_of, said, registers, scopes)
    taking.take(list(in_order(requests)))
    return taking.wanted, taking.turned


class _Taking:
    """One batch of requests, taken one after the other; arguments and results as for `take`."""

    def __init__(
        self,
        terms: RequestTerms,
        cursor_of: Callable[[str], Cursor | None],
        said: Oppositions,
        registers: Mapping[str, Register],
        scopes: KnownScopes,
    ) -> None:
        self.wanted: dict[str, RegisterRequests] = {}
        self.turned: list[RefusedRequest] = []
        self._spelt = dict(terms.spelt)
        self._terms = replace(terms, spelt=self._spelt)
        self._cursor_of, self._said, self._registers, self._scopes = cursor_of, said, registers, scopes
        self._consents = ConsentsHeld(registers, terms.consents)
        self._grown = False  # whether registers have come whose names must be looked for

    def take(self, requests: Sequence[Request]) -> None:
        heard = [_heard(request, self._terms) for request in requests]
        orders = (order for order, _ in heard if isinstance(order, ParsedRequest))
        self._consents.look(number for order in orders if order.older for number in order.numbers)
        for request, first in zip(requests, heard, strict=True):
            order, line = _heard(request, self._terms) if self._grown else first
            if isinstance(order, RequestRefusal):
                self.turned.append(RefusedRequest(request, order))
            else:
                self._one(request, line, self._within_scopes(request, order))

    def _within_scopes(self, request: Request, order: ParsedRequest) -> ParsedRequest:
        """The order, as one to everybody if it names a scope too many; what is odd about it is told."""
        if not all(self._scopes.takes(change.register) for change in order.changes):
            order = _to_everybody(order)
            taken = len(order.numbers) if order.changes else 0
            self.turned.append(RefusedRequest(request, RequestRefusal.TOO_MANY_SCOPES, taken))
        elif why := order.odd or (RequestRefusal.INVALID_NUMBER if order.refused else None):
            self.turned.append(RefusedRequest(request, why, len(order.numbers)))
        return order

    def _one(self, request: Request, line: bytes, order: ParsedRequest) -> None:
        terms, superseded, over = self._terms, set[int](), set[int]()
        self._said.add(request, order, int(terms.now.timestamp() * 1000))
        ended = list(self._ended(request, order))
        left = {n for each, numbers in ended if self._told(request, each, order) for n in numbers}
        for change, numbers in (*((each, order.numbers) for each in order.changes), *ended):
            about = order if numbers is order.numbers else replace(order, numbers=numbers)
            kept = {*self._said.outlive(request, about, change, terms, self._holds)}
            if self._told(request, change, about):
                continue
            if left and change.kind is RegisterKind.DENY and not change.held:
                # The consents were told of this lift, the publisher died, and older ones came before it is taken again.
                kept.update(left)
            superseded.update(kept)
            # Whoever withdraws later in this batch withdraws from a register that it has made, too.
            new = change.register not in self.wanted
            for other in RegisterName.split(change.register).others if new else ():
                self._spelt[other] = tuple(dict.fromkeys((*self._spelt.get(other, ()), change.register)))
                self._grown = True
            ends = _ends_of(request, about, change, terms)
            over.update(set(numbers) - ends.keys())
            ends = {number: end for number, end in ends.items() if number not in kept}
            self.wanted.setdefault(change.register, RegisterRequests(change.kind)).add(request, line, ends)
            if change.kind is RegisterKind.ALLOW:
                self._consents.note(change.register, ends, held=change.held)
        for why, which in ((RequestRefusal.SUPERSEDED, superseded), (RequestRefusal.ENDED, over)):
            if which:
                self.turned.append(RefusedRequest(request, why, len(order.numbers) - len(which)))

    def _ended(
        self, request: Request, order: ParsedRequest
    ) -> Iterator[tuple[RegisterChange, tuple[int, ...]]]:
        """The older consents that an order ends, by register, each with its numbers in it."""
        if order.older is None or not order.changes:
            return
        opposed = [each for each in order.changes if each.register in order.older.lifted]
        held = {
            number: {*self._consents.of(number)}
            for number in order.numbers
            if not opposed or any(self._stood(request, each, order, number) for each in opposed)
        }
        for name in order.older.among(set[str]().union(*held.values())):
            numbers = tuple(number for number, names in held.items() if name in names)
            yield RegisterChange(name, RegisterKind.ALLOW, held=False), numbers

    def _stood(self, request: Request, change: RegisterChange, order: ParsedRequest, number: int) -> bool:
        """Whether an opposition stood that the order lifts, or may have stood before its register was told of it."""
        asked = self.wanted.get(change.register)
        decided = asked is not None and number in asked.numbers
        return self._holds(change.register, number) or (not decided and self._told(request, change, order))

    def _told(self, request: Request, change: RegisterChange, order: ParsedRequest) -> bool:
        """Whether the register was told before. All registers of a family are told at once, also those of the older
        consents."""
        names = [change.register]
        if order.older is not None and family(order.older.witness) == family(change.register):
            names.append(order.older.witness)
        cursors = map(self._cursor_of, names)
        at = (request.partition, request.offset, request.leader_epoch)
        return any(cursor is not None and cursor.has(*at) for cursor in cursors)

    def _holds(self, register: str, number: int) -> bool:
        asked = self.wanted.get(register)
        if asked is not None and number in asked.numbers:
            return asked.numbers[number] != _GONE
        return register in self._registers and number in self._registers[register].numbers


def _ends_of(
    request: Request, order: ParsedRequest, change: RegisterChange, terms: RequestTerms
) -> dict[int, int]:
    """What is to become of each number in a register: its end (0: none), or _GONE. A consent that is over by the law of
    its number is left out."""
    if not change.held:
        return dict.fromkeys(order.numbers, _GONE)
    if change.kind is RegisterKind.DENY:
        return dict.fromkeys(order.numbers, change.end)
    said = None if order.at_ms is None and not request.timestamp_ms else moment_of(request, order)
    ends = ((n, terms.law.end(change.register, n, change.end, said, terms.now)) for n in order.numbers)
    return {number: end for number, end in ends if end is not None}


def _heard(request: Request, terms: RequestTerms) -> tuple[ParsedRequest | RequestRefusal, bytes]:
    """What a request asks for, as far as it may over its topic, and its line as evidence."""
    order = read(request.value, terms)
    if isinstance(order, RequestRefusal):
        return order, b""
    if takes_out(order) and not request.may_lift:
        return RequestRefusal.MAY_NOT_LIFT, b""
    place = (request.partition, request.offset, request.timestamp_ms)
    try:
        return order, request_line(*place, request.value or b"", lifts=request.may_lift)
    except ValueError:
        return RequestRefusal.TOO_LARGE, b""


def _to_everybody(order: ParsedRequest) -> ParsedRequest:
    """The order with its oppositions alone, each in the register without a scope."""
    opposing = [change for change in order.changes if change.held and change.kind is RegisterKind.DENY]
    changes = dict.fromkeys(change._replace(register=family(change.register)) for change in opposing)
    return replace(order, changes=tuple(changes))


def in_order(requests: Iterable[Request]) -> Iterator[Request]:
    """By offset within each partition. Partitions have no order between them: there, Kafka's own timestamps decide."""
    by_partition: dict[int, list[Request]] = defaultdict(list)
    for request in requests:
        by_partition[request.partition].append(request)
    for each in by_partition.values():
        each.sort(key=lambda request: request.offset)
    return heapq.merge(*by_partition.values(), key=lambda request: (request.timestamp_ms, request.partition))


def families(registers: Iterable[str], kinds: Callable[[str], RegisterKind]) -> list[Sequence[str]]:
    """The registers by family (a name and its scoped ones, which are published together), those that deny first."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for register in sorted(registers):
        by_name[family(register)].append(register)
    return sorted(by_name.values(), key=lambda of_it: (kinds(of_it[0]) is not RegisterKind.DENY, of_it[0]))


def in_turn(wanted: Mapping[str, RegisterRequests]) -> list[Sequence[str]]:
    """The families of registers in the order in which what is asked of them must be published, so that no crash in between
    lets anybody be called: what denies, then the consents that end, those that begin, and last what denies no more.
    """

    def turn(names: Sequence[str]) -> int:
        asked = [wanted[name] for name in names]
        goes = any(end == _GONE for each in asked for end in each.numbers.values())
        comes = any(end != _GONE for each in asked for end in each.numbers.values())
        return (3 if goes else 0) if asked[0].kind is RegisterKind.DENY else (2 if comes else 1)

    return sorted(families(wanted, lambda name: wanted[name].kind), key=turn)


def steps(requests: Sequence[Request], terms: RequestTerms) -> Iterator[Sequence[Request]]:
    """A batch in parts that can each be published `in_turn`. One that takes numbers out of a register of opposition, which
    comes last, may not also oppose a number and give it a consent: there the opposition must come first. Nor may it give a
    number another consent after the lift: were it cut off, nobody could tell that one from the older ones.
    """
    if not any(request.may_lift for request in requests):
        yield requests
        return
    step: list[Request] = []
    opposed, given, lifted = set[int](), set[int](), set[int]()
    for request in in_order(requests):
        order = read(request.value, terms)
        if not isinstance(order, ParsedRequest):
            step.append(request)
            continue
        held, numbers = {change.kind for change in order.changes if change.held}, set(order.numbers)
        opposes = numbers if RegisterKind.DENY in held else set[int]()
        gives = numbers if RegisterKind.ALLOW in held else set[int]()
        lifts = numbers if takes_out(order) else set[int]()
        clash = (lifted or lifts) and not (opposed | opposes).isdisjoint(given | gives)
        if step and (clash or not lifted.isdisjoint(gives)):
            yield step
            step, opposed, given, lifted = [], set(), set(), set()
        opposed, given, lifted = opposed | opposes, given | gives, lifted | lifts
        step.append(request)
    if step:
        yield step
