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
    holds: Callable[[str, int], bool],
    scopes: KnownScopes,
) -> tuple[dict[str, RegisterRequests], list[RefusedRequest]]:
    """What these requests, all of one topic, ask of each register, and those that were turned away; in its order.

    `cursor_of(register)` says up to which requests of this topic the register's seals have them already. `said` knows
    what was opposed when, and learns what these oppose. `holds(register, number)` is what a register holds before them.
    When an opposition names one scope too many, it is taken as an opposition to everybody, and reported: whoever opposed
    stays protected.
    """
    wanted: dict[str, RegisterRequests] = {}
    turned = []
    spelt = dict(terms.spelt)
    terms = replace(terms, spelt=spelt)
    for request in in_order(requests):
        order, line = _heard(request, terms)
        if isinstance(order, RequestRefusal):
            turned.append(RefusedRequest(request, order))
            continue
        if not all(scopes.takes(change.register) for change in order.changes):
            order = _to_everybody(order)
            turned.append(
                RefusedRequest(
                    request, RequestRefusal.TOO_MANY_SCOPES, len(order.numbers) if order.changes else 0
                )
            )
        elif why := order.odd or (RequestRefusal.INVALID_NUMBER if order.refused else None):
            turned.append(RefusedRequest(request, why, len(order.numbers)))
        said.add(request, order, int(terms.now.timestamp() * 1000))
        superseded: set[int] = set()
        over: set[int] = set()
        for change in order.changes:
            kept = said.outlive(request, order, change, holds)
            superseded.update(kept)
            cursor = cursor_of(change.register)
            if cursor is not None and cursor.has(request.partition, request.offset, request.leader_epoch):
                continue
            # Whoever withdraws later in this batch withdraws from a register that it has made, too.
            for other in RegisterName.split(change.register).others if change.register not in wanted else ():
                spelt[other] = tuple(dict.fromkeys((*spelt.get(other, ()), change.register)))
            register = wanted.setdefault(change.register, RegisterRequests(change.kind))
            numbers = _ends_of(request, order, change, terms)
            over.update(set(order.numbers) - numbers.keys())
            register.add(request, line, {n: end for n, end in numbers.items() if n not in kept})
        for why, which in ((RequestRefusal.SUPERSEDED, superseded), (RequestRefusal.ENDED, over)):
            if which:
                turned.append(RefusedRequest(request, why, len(order.numbers) - len(which)))
    return wanted, turned


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
    """The registers by family (a name and its scoped ones, which are published together), in the order in which they
    must be published: what denies first, so that no crash in between leaves a consent without the opposition that
    came before it.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for register in sorted(registers):
        by_name[family(register)].append(register)
    return sorted(by_name.values(), key=lambda of_it: (kinds(of_it[0]) is not RegisterKind.DENY, of_it[0]))
