"""Step 4, decide, for many numbers at once, by whole-array operations: plain prospects, or a column of numbers.

One pass over a register's filter finds that most numbers are surely not in that register. The others are looked up
exactly. `BatchContext` gives the outcome, once for each case and each set of registers that hold a number.

Nothing here outlives its batch, and no objects refer to each other in a circle: a replaced index must be freed together
with its last batch, not when the garbage collector runs next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_scrub.call import VOICE
from stream_scrub.clock import utc_millis, utc_minutes
from stream_scrub.index import NO_KEYS, HashKeys, Index, Numbers, Register
from stream_scrub.model import Fault, Reason, Verdict
from stream_scrub.numbering import Line, normalise, read_column, why_invalid
from stream_scrub.numbering.zones import TYPES_WITH_AREA, Zones, areas_of, zones_of
from stream_scrub.rules import Rule, Rulebook, earliest
from stream_scrub.rules.country import parent_of, until
from stream_scrub.scrub import plans, stamp
from stream_scrub.scrub.backend import Kinds, Plain
from stream_scrub.scrub.decide import Finding, Memberships, Plan, is_barred, membership
from stream_scrub.scrub.facts import UNSCOPED, Facts
from stream_scrub.scrub.hours import Clock, Clocks, call_hours, joined, opening
from stream_scrub.scrub.stamp import Opened, Outcome


class Case:
    """One plan of this batch, and its outcomes so far by the names of the registers that hold a number. `home` is the
    case by the rule of another country, where the person lives: both must allow."""

    __slots__ = ("channel", "clock", "home", "outcomes", "plan", "region", "registers")

    def __init__(
        self, plan: Plan, region: str, channel: str, clock: Clock | None, home: "Case | None" = None
    ) -> None:
        self.plan = plan
        self.home = home
        self.region = region
        self.channel = channel
        self.clock = clock  # by which its hours are read; None without any
        self.outcomes: dict[Memberships, Outcome] = {}
        # Every register whose membership can change the outcome.
        registers = plan.registers if home is None else (*plan.registers, *home.plan.registers)
        self.registers = tuple(dict.fromkeys(registers))


@dataclass(eq=False)
class BatchContext:
    """The shared state of a batch: an index, a moment, and the cases so far. `asks_now`: stamps have `callable_now`."""

    rulebook: Rulebook
    index: Index
    now: datetime
    _: KW_ONLY
    asks_now: bool = False
    keys: HashKeys = NO_KEYS
    _rules: dict[tuple[str, str], Rule | None] = field(default_factory=dict, init=False)
    _moments: dict[str, datetime] = field(default_factory=dict, init=False)
    _cases: dict[tuple[Line, Facts, bool], Case] = field(default_factory=dict, init=False)
    _outcomes: dict[tuple[Finding, str, str, Clock | None], Outcome] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.evidence = stamp.Evidence(self.index.position, utc_millis(self.now))

    def rule(self, region: str, channel: str) -> Rule | None:
        """The rule of the day for a region and a channel."""
        key = (region, channel)
        if key not in self._rules:
            self._rules[key] = self.rulebook.rule(region, self.now, channel)
        return self._rules[key]

    def moment(self, region: str) -> datetime:
        """This batch's moment, in the zone of the country whose rules govern the region."""
        if region not in self._moments:
            self._moments[region] = self.rulebook.local(region, self.now) or self.now
        return self._moments[region]

    def regions_of(self, region: str) -> Mapping[str, str]:
        """The regions of that country's numbers by their first digits; empty if all have its own rules."""
        return self.rulebook.regions_of.get(region, {})

    def areas(self, line: Line, channel: str) -> Mapping[str, Zones]:
        """The zones of the line's areas by first digits, if the rule asks for hours and digits name an area."""
        rule = self.rule(line.region, channel)
        if rule is None or rule.hours is None or line.type not in TYPES_WITH_AREA:
            return {}
        return areas_of(parent_of(line.region) or line.region)

    def line(self, number: int, line: Line, channel: str) -> Line:
        """The line of a number, with its state for a region if the state has rules of its own, and with the zones of
        its area."""
        region = self.rulebook.region_of(number, line.region)
        line = line if region == line.region else Line.of(region, line.type)
        areas = self.areas(line, channel)
        if not areas:
            return line
        digits = str(number)
        zones = next((areas[digits[:end]] for end in range(1, len(digits)) if digits[:end] in areas), ())
        return Line.of(line.region, line.type, zones)

    def case(self, line: Line, facts: Facts, *, barred: bool) -> Case:
        """The case of numbers of that line with these facts. `barred`: a rule bars all of them by their prefix, else
        none."""
        key = (line, facts, barred)
        case = self._cases.get(key)
        if case is None:
            case = self._cases[key] = self._new_case(line, facts, barred=barred)
        return case

    def _new_case(self, line: Line, facts: Facts, *, barred: bool) -> Case:
        if facts.residence:
            return self._with_home(line, facts, barred=barred)
        plan, now = None, self.moment(line.region)
        # Campaigns mostly differ in their oppositions alone, so they share the rest of the plan. The operator's own
        # campaign has consents of its own.
        if not facts.unnamed and not facts.house and facts.campaigns != UNSCOPED:
            base = self.case(line, facts._replace(campaigns=UNSCOPED), barred=barred)
            plan = plans.with_campaigns(base.plan, facts, self.index, now)
            if plan is base.plan:
                return base
        if plan is None:
            rule = self.rule(line.region, facts.channel)
            plan = plans.plan_for(line, barred, rule, facts, self.index, now)
        return Case(plan, line.region, facts.channel, _clock(plan, *self._place(line, "")))

    def _with_home(self, line: Line, facts: Facts, *, barred: bool) -> Case:
        """The case of a person with a residence: (a) that of the number's country, if they live there, (b) else one
        that also asks the rule of the country of residence. That rule bars no number by its prefix."""
        without_residence = facts._replace(residence="")
        own = self.case(line, without_residence, barred=barred)
        place = self._place(line, facts.residence)
        clock = _clock(own.plan, *place)
        if self.rulebook.country(facts.residence) is self.rulebook.country(line.region):
            return own if clock == own.clock else Case(own.plan, line.region, facts.channel, clock)
        home = self.case(Line.of(facts.residence, line.type), without_residence, barred=False)
        home = Case(home.plan, home.region, home.channel, _clock(home.plan, *place))
        return Case(own.plan, line.region, facts.channel, clock, home)

    def _place(self, line: Line, residence: str) -> tuple[str, Zones]:
        """The region whose holidays hold for a person with a number of that line, and the zones where they may be. Where
        they live counts, unless it tells no more than the number. A country may mean its overseas regions too."""
        zones, country = line.zones or zones_of(line.region), self.rulebook.country(line.region)
        if residence in ("", line.region, parent_of(line.region)):
            return line.region, zones
        if country is not None and residence == country.code:
            return line.region, tuple(dict.fromkeys((*zones, *zones_of(residence))))
        return residence, zones_of(residence)

    def outcome_for(self, case: Case, memberships: Memberships) -> Outcome:
        """The outcome for a number that is in the registers with these names and in no other."""
        outcome = case.outcomes.get(memberships)
        if outcome is None:
            finding = case.plan.verdict_for(memberships)
            clock = None if finding.any_time else case.clock
            if clock is not None and finding.windows:
                clock = clock._replace(consented=finding.windows)
            outcome = self.outcome(finding, case.channel, case.plan.rule, case.region, clock)
            if case.home is not None:
                outcome = self._joined(case, outcome, self.outcome_for(case.home, memberships))
            case.outcomes[memberships] = outcome
        return outcome

    def _joined(self, case: Case, own: Outcome, home: Outcome) -> Outcome:
        """What two rules say together: the reason of the first that blocks; if both allow, that of the stricter one,
        for as long as both allow."""
        decisive = own if not own.allowed or (home.allowed and own.reason is not Reason.CLEAR) else home
        allowed = own.allowed and home.allowed
        end = earliest((own.until, home.until)) if allowed else None
        no_rule = decisive.reason is Reason.NO_RULE
        rules, residence = ("", "") if no_rule else (own.rules, home.rules)
        clocks = joined((own.clocks, home.clocks)) if allowed else ()
        opened = self.opened(clocks, end)
        bare = stamp.single(
            decisive.finding, True, rules, end, case.channel, self.evidence, opened, residence
        )
        splice = b',"scrub":' + bare + b"}"
        return Outcome(
            decisive.reason, allowed, splice, bare, decisive.finding, end, rules, residence, clocks
        )

    def opened(self, clocks: Clocks, until: date | None) -> Opened:
        """What a stamp says about these hours."""
        if not clocks:
            return Opened()
        call = call_hours(clocks, self.now, until)
        if not self.asks_now:
            return Opened(call)
        first = opening(clocks, self.now)
        is_open = first == self.now
        return Opened(call, is_open, "" if first is None or is_open else utc_minutes(first))

    def find(self, case: Case, number: int) -> Outcome:
        """The outcome for one number, by an exact look-up in each register."""
        members_of = [r for r in case.registers if r.has(number, self.keys)]
        return self.outcome_for(
            case, Memberships().union(*(membership(r, r.ends.of(number)) for r in members_of))
        )

    def outcome(
        self,
        finding: Finding,
        channel: str = VOICE,
        rule: Rule | None = None,
        region: str = "",
        clock: Clock | None = None,
    ) -> Outcome:
        """A finding with its stamp. Without a region the stamp names no number and no rule. `clock`: of the hours that
        hold, if any."""
        key = (finding, channel, region, clock)
        outcome = self._outcomes.get(key)
        if outcome is None:
            outcome = self._outcomes[key] = self._new_outcome(finding, channel, rule, region, clock)
        return outcome

    def invalid(self, fault: Fault, facts: Facts) -> Outcome:
        """The outcome for an invalid number."""
        return self.outcome(Finding(Reason.INVALID_NUMBER, fault=fault), facts.channel)

    def _new_outcome(
        self, finding: Finding, channel: str, rule: Rule | None, region: str, clock: Clock | None
    ) -> Outcome:
        allowed = finding.reason.verdict is Verdict.ALLOWED
        end = until(rule, self.moment(region).date(), finding.last) if allowed and rule is not None else None
        rules = rule.digest if rule is not None else ""
        clocks = (clock,) if allowed and clock is not None else ()
        opened = self.opened(clocks, end)
        bare = stamp.single(finding, bool(region), rules, end, channel, self.evidence, opened)
        splice = b',"scrub":' + bare + b"}"
        return Outcome(finding.reason, allowed, splice, bare, finding, end, rules, clocks=clocks)


def _clock(plan: Plan, region: str, zones: Zones) -> Clock | None:
    return None if plan.hours is None else Clock(plan.hours, region, zones)


_Part = TypeVar("_Part", str, Zones)  # a state, or the zones of an area
_TABLE_MAX = 65_536  # combinations of kinds and sets: up to here a table is cheaper than sorting
_DIGITS_MAX = 20
_E164_DIGITS = 15  # of the longest number
_FEW = 100  # numbers: an exact look-up of so few is quicker than a filter
_PIECE = 32_768  # cells at a time: their arrays fit into a processor's cache


class Judged(NamedTuple):
    """By place: the place of its outcome in `outcomes`, -1 if the prospect is not plain. The first outcomes may be
    unused; all others occur."""

    ids: Kinds
    outcomes: list[Outcome]

    def at(self, place: int) -> Outcome | None:
        """The outcome at that place; None if the prospect is not plain."""
        chosen = int(self.ids[place])
        return None if chosen < 0 else self.outcomes[chosen]


def judge(plain: Plain, context: BatchContext) -> Judged:
    """The outcome of every plain prospect of a batch."""
    kinds, cases = _cases(plain, context)
    if all(case is None for case in cases):
        return Judged(np.full(len(kinds), -1, np.int32), [])
    sets, names = _memberships(plain.numbers, kinds, cases, context.keys)
    # By case and set; the first `count` codes are of prospects that are not plain.
    count = len(names)
    codes = (kinds.astype(np.int64) + 1) * count + sets
    outcomes: dict[Outcome, int] = {}

    def outcome(code: int) -> int:
        case = cases[code // count - 1] if code >= count else None
        if case is None:
            return -1
        return outcomes.setdefault(context.outcome_for(case, names[code % count]), len(outcomes))

    size = (len(cases) + 1) * count
    if size <= _TABLE_MAX:
        table = np.full(size, -1, np.int32)
        for code in np.flatnonzero(np.bincount(codes)).tolist():
            table[code] = outcome(code)
        return Judged(table[codes], list(outcomes))
    distinct, back = np.unique(codes, return_inverse=True)
    ids = np.array([outcome(code) for code in distinct.tolist()], np.int32)
    return Judged(ids[back], list(outcomes))


def _cases(plain: Plain, context: BatchContext) -> tuple[Kinds, list[Case | None]]:
    """The case of each kind that occurs. Numbers that a rule bars by their prefix become a kind of their own."""
    kinds, pairs = _by_area(plain, context)
    counts = np.bincount(kinds + 1, minlength=len(pairs) + 1)[1:]
    cases: list[Case | None] = [None] * len(pairs)
    barred_by: dict[tuple[str, ...], tuple[NDArray[np.bool_], set[int]]] = {}
    for kind in np.flatnonzero(counts).tolist():
        line, facts = pairs[kind]
        cases[kind] = context.case(line, facts, barred=False)
        rule = context.rule(line.region, facts.channel)
        prefixes = () if rule is None else rule.not_callable_prefixes
        if not prefixes:
            continue
        if prefixes not in barred_by:
            barred = np.searchsorted(_edges(prefixes), plain.numbers, "right") % 2 == 1
            barred_by[prefixes] = barred, set(plain.kinds[barred].tolist())
        barred, kinds_with_barred = barred_by[prefixes]
        if kind in kinds_with_barred:
            kinds = kinds.copy() if kinds is plain.kinds else kinds
            kinds[(plain.kinds == kind) & barred] = len(cases)
            cases.append(context.case(line, facts, barred=True))
    return kinds, cases


def _by_area(plain: Plain, context: BatchContext) -> tuple[Kinds, Sequence[tuple[Line, Facts]]]:
    """The kinds, split further (a) for numbers whose first digits name another region, such as a state, (b) for areas with
    zones of their own; and the pairs of all kinds."""
    kinds, pairs = plain.kinds, list(plain.pairs)
    for region in {line.region for line, _ in pairs}:
        if regions := context.regions_of(region):
            chosen = [line.region == region for line, _ in pairs]
            kinds = _parted(
                plain.numbers, kinds, pairs, chosen, regions, lambda line, part: Line.of(part, line.type)
            )
    areas = [context.areas(line, facts.channel) for line, facts in pairs]
    for each in {id(zones_of_area): zones_of_area for zones_of_area in areas if zones_of_area}.values():
        chosen = [zones_of_area is each for zones_of_area in areas]
        chosen += [False] * (len(pairs) - len(chosen))
        kinds = _parted(
            plain.numbers,
            kinds,
            pairs,
            chosen,
            each,
            lambda line, zones: Line.of(line.region, line.type, zones),
        )
    return kinds, pairs


def _parted(
    numbers: Numbers,
    kinds: Kinds,
    pairs: list[tuple[Line, Facts]],
    chosen: Sequence[bool],
    by_prefix: Mapping[str, _Part],
    line_in: Callable[[Line, _Part], Line],
) -> Kinds:
    """The kinds, with more of them, added to `pairs`, for the numbers of chosen kinds that begin with a prefix."""
    begin, part_of, parts = _parts_from(tuple(by_prefix.items()))
    places = np.flatnonzero(np.array([*chosen, False])[kinds])  # the last one is found by -1
    slots = part_of[np.searchsorted(begin, numbers[places], "right")]
    places, slots = places[slots >= 0], slots[slots >= 0]
    if not len(places):
        return kinds
    codes = kinds[places] * len(parts) + slots
    kind_of = np.zeros(len(chosen) * len(parts), kinds.dtype)
    for code in np.flatnonzero(np.bincount(codes)).tolist():
        line, facts = pairs[code // len(parts)]
        kind_of[code] = len(pairs)
        pairs.append((line_in(line, parts[code % len(parts)]), facts))
    kinds = kinds.copy()
    kinds[places] = kind_of[codes]
    return kinds


@lru_cache(maxsize=64)
def _parts_from(
    by_prefix: tuple[tuple[str, _Part], ...],
) -> tuple[Numbers, NDArray[np.int64], list[_Part]]:
    """Return `(bounds, part_at, parts)`: numbers in `bounds[i-1]..bounds[i]` are in `parts[part_at[i]]`; -1 means none. No
    prefix begins with another one."""
    parts = list(dict.fromkeys(part for _, part in by_prefix))
    marks: dict[int, int] = {}
    for prefix, part in by_prefix:
        for size in (10**more for more in range(_E164_DIGITS - len(prefix) + 1)):
            marks.setdefault((int(prefix) + 1) * size, -1)
            marks[int(prefix) * size] = parts.index(part)
    begin: list[int] = sorted(marks)
    part_of = [-1, *(marks[each] for each in begin)]
    return np.array(begin, np.uint64), np.array(part_of, np.int64), parts


@lru_cache(maxsize=64)
def _edges(prefixes: tuple[str, ...]) -> Numbers:
    """Where the numbers with one of these prefixes begin and end, in turn and in order."""
    ranges = sorted(
        (int(prefix) * 10**more, (int(prefix) + 1) * 10**more)
        for prefix in prefixes
        for more in range(_DIGITS_MAX - len(prefix))
    )
    edges: list[int] = []
    for first, end in ranges:
        if edges and first <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        elif end < 2**64:
            edges += (first, end)
    return np.array(edges, np.uint64)


def _memberships(
    numbers: Numbers, kinds: Kinds, cases: Sequence[Case | None], keys: HashKeys
) -> tuple[NDArray[np.int64], list[Memberships]]:
    """By place: which set of registers holds the number; and the sets. The first set is empty."""
    sets = np.zeros(len(numbers), np.int64)
    places: dict[Memberships, int] = {frozenset(): 0}
    names: list[Memberships] = [frozenset()]
    for register, candidates in _candidates(numbers, kinds, cases):
        if not len(candidates):
            continue
        held = candidates[register.holds(numbers[candidates], keys)]
        ends = register.ends.of_each(numbers[held])
        for end in set(ends.tolist()):
            members = held[ends == end]
            before = sets[members]
            for old in set(before.tolist()):
                wider = names[old] | membership(register, end)
                new = places.setdefault(wider, len(places))
                if new == len(names):
                    names.append(wider)
                sets[members[before == old]] = new
    return sets, names


def _candidates(
    numbers: Numbers, kinds: Kinds, cases: Sequence[Case | None]
) -> Iterator[tuple[Register, NDArray[np.int64]]]:
    """Every register of the cases, and the places of the numbers that may be in it.

    A register without a scope is asked for every number at once. A scoped one is asked only for the numbers of the
    kinds that need it: there may be thousands of them, each for the few prospects of its campaign. So is one of hashes,
    which costs a microsecond a number.
    """
    kinds_of: dict[Register, list[int]] = {}
    for kind, case in enumerate(cases):
        for register in () if case is None else case.registers:
            kinds_of.setdefault(register, []).append(kind)
    is_few, every = len(numbers) <= _FEW, np.arange(len(numbers))
    order: NDArray[np.int64] | None = None  # of the kinds, made for the first register that needs it
    for register, asking in kinds_of.items():
        if not register.scope and register.hashed is None:
            yield register, every if is_few else np.flatnonzero(register.perhaps(numbers))
            continue
        if is_few:
            yield register, np.flatnonzero(np.isin(kinds, asking))
            continue
        if order is None:
            order, ends = _by_kind(kinds, len(cases))
        places = np.concatenate([order[ends[kind] : ends[kind + 1]] for kind in asking])
        if len(places) > _FEW:
            places = places[register.perhaps(numbers[places])]
        yield register, places


def _by_kind(kinds: Kinds, count: int) -> tuple[NDArray[np.int64], list[int]]:
    """The places of all prospects in the order of their kinds, and where each of the `count` kinds begins there."""
    order = np.argsort(kinds, kind="stable")
    return order, np.searchsorted(kinds[order], np.arange(count + 1)).tolist()


def judge_text(text: str, region: str, facts: Facts, context: BatchContext) -> tuple[int | None, Outcome]:
    """Steps 3 and 4 for one number as typed in `region`: the number (None if it is not valid), and its outcome."""
    valid = normalise(text, region)
    if valid is None:
        return None, context.invalid(Fault(why_invalid(text, region)), facts)
    number, line = valid[0], context.line(*valid, facts.channel)
    barred = is_barred(number, context.rule(line.region, facts.channel))
    return number, context.find(context.case(line, facts, barred=barred), number)


class JudgedColumn(NamedTuple):
    """By place: the number (0 if it is not valid), and the place of its outcome in `outcomes`."""

    numbers: Numbers
    ids: Kinds
    outcomes: Sequence[Outcome]


def judge_column(
    cells: Sequence[str] | Numbers, region: str, facts: Facts, context: BatchContext
) -> JudgedColumn:
    """Steps 3 and 4 for a column of numbers with the same facts. Cells are texts as typed in `region`, or integers
    taken as digits."""
    places: dict[Outcome, int] = {}
    numbers, ids = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for start in range(0, len(cells), _PIECE):
        piece = cells[start : start + _PIECE]
        column = read_column(piece, region)
        judged = judge(
            Plain(column.numbers, column.places, [(line, facts) for line in column.lines]), context
        )
        place_of = [places.setdefault(outcome, len(places)) for outcome in judged.outcomes]
        piece_ids = np.array([*place_of, -1], np.int32)[judged.ids]  # the last one is found by -1
        for row in np.flatnonzero(piece_ids < 0).tolist():
            invalid = context.invalid(Fault(why_invalid(str(piece[row]), region)), facts)
            piece_ids[row] = places.setdefault(invalid, len(places))
        numbers.append(column.numbers)
        ids.append(piece_ids)
    return JudgedColumn(np.concatenate(numbers), np.concatenate(ids), list(places))
