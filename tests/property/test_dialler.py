"""What a dialler is given, compared with plain lists of everything that was said."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scrub.dialler.leads import Lead, LeadQueue, lead_of
from stream_scrub.dialler.recalls import Recalls
from stream_scrub.model import Reason, Verdict
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import NumberStamp, Stamp

BOOK = Rulebook.load()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = {country: BOOK.on(country, NOW.date()) for country in ("FR", "GB")}
ELSEWHERE = "IM"  # a country that this release has no rule for
NUMBERS = {
    "FR": ["+33612345678", "+33612345679", "+33612345680"],
    "GB": ["+447400123456"],
    ELSEWHERE: ["+447624123456"],
}
ALL = [number for numbers in NUMBERS.values() for number in numbers]
REGISTERS = ["bloctel", "tps", "internal@acme", "unheard-of"]

moments = st.tuples(st.integers(0, 4), st.integers(0, 3))  # a position on the log, and a second


def moment(second: int) -> str:
    return (NOW - timedelta(minutes=1) + timedelta(seconds=second)).isoformat()


@st.composite
def leads(draw: Callable) -> tuple:
    """A lead: its country, numbers, whether some of them are enough, and its moment."""
    country = draw(st.sampled_from(sorted(NUMBERS)))
    numbers = draw(st.lists(st.sampled_from(NUMBERS[country]), min_size=1, max_size=3, unique=True))
    return "lead", country, tuple(numbers), len(numbers) > 1 and draw(st.booleans()), draw(moments)


recalled = st.tuples(st.just("recalled"), st.sampled_from(ALL), moments)
registers = st.tuples(st.sampled_from(["suspended", "resumed"]), st.sampled_from(REGISTERS), moments)
takes = st.tuples(st.just("take"))
acks = st.tuples(st.just("ack"), st.integers(0, 9))
postpones = st.tuples(st.just("postpone"), st.integers(0, 9), st.integers(0, 2))  # for minutes
minutes = st.tuples(st.just("minute"))
moves = st.tuples(st.sampled_from(["move", "return"]), st.integers(0, 1))


def stamped(country: str, numbers: tuple, some: bool, at: tuple) -> Stamp:
    digest = "im@123456" if country == ELSEWHERE else RULES[country].digest
    each = [NumberStamp(Verdict.ALLOWED, Reason.CLEAR, number=number, rules=digest) for number in numbers]
    more = {"number": numbers[0], "rules": digest} if len(numbers) == 1 else {"numbers": each}
    return Stamp(
        verdict=Verdict.ALLOWED,
        reason=Reason.CLEAR,
        callable=numbers if some else (),
        index=at[0],
        at_text=moment(at[1]),
        **more,
    )


def stops(said: tuple, given: tuple) -> bool:
    """Whether a recall of that position and second takes a verdict back."""
    return given[1] <= said[1] or given[0] < said[0]


class Said:
    """Everything that was said, in lists, and what follows from it."""

    def __init__(self) -> None:
        self.recalls: list[tuple[str, tuple]] = []
        self.registers: list[tuple[str, str, tuple]] = []

    def numbers(self, lead: tuple) -> list[str]:
        """The numbers of a lead that may be called."""
        _, _, numbers, some, at = lead
        left = [
            n for n in numbers if not any(stops(said, at) for number, said in self.recalls if number == n)
        ]
        return left if some or len(left) == len(numbers) else []

    def waits(self, lead: tuple) -> bool:
        """Whether a register that the lead's rule asks is suspended; any register for a rule that is not known."""
        last: dict[str, tuple[tuple, str]] = {}
        for kind, register, at in self.registers:
            order = at[::-1]  # by time
            if order >= last.get(register, (order, ""))[0]:
                last[register] = order, kind
        names = {register.partition("@")[0] for register, (_, kind) in last.items() if kind == "suspended"}
        return bool(names if lead[1] == ELSEWHERE else names & {"internal", *RULES[lead[1]].asked})


BRITISH = ("lead", "GB", tuple(NUMBERS["GB"]), False, (1, 1))
SUSPENDED, RESUMED = ("suspended", "tps", (2, 2)), ("resumed", "tps", (3, 3))
TAKE, ACK = ("take",), ("ack", 0)


@example([BRITISH, TAKE, SUSPENDED, RESUMED, ACK, TAKE])  # acknowledged after its register was renewed
@example([BRITISH, TAKE, SUSPENDED, ACK, RESUMED, TAKE])
@example([BRITISH, TAKE, ("postpone", 0, 0), ACK, TAKE])
@example([BRITISH, TAKE, ("recalled", *NUMBERS["GB"], (2, 2)), ("postpone", 0, 0), TAKE])
@example(
    [
        BRITISH,
        TAKE,
        ("postpone", 0, 1),
        ("move", 0),
        ("return", 0),
        TAKE,
        ("postpone", 0, 2),
        ("minute",),
        TAKE,
    ]
)  # it has moved back, and the earlier moment is over
@settings(max_examples=300)  # they are quick: a millisecond each
@given(
    st.lists(
        st.one_of(leads(), recalled, registers, takes, takes, acks, postpones, minutes, moves),
        min_size=10,
        max_size=60,
    )
)
def test_a_dialler_is_given_whom_it_may_call_and_is_told_of_the_others(ops):
    """A person who objected after the lead had left would be called, or a lead that may be called never be handed out."""
    desk, said = LeadQueue(Recalls(BOOK), BOOK, "voice", timedelta(days=1)), Said()
    given_: dict[int, tuple] = {}  # every lead, by its offset
    numbers_of: dict[int, tuple[str, ...]] = {}  # with which each was handed out last
    hand_outs: list[
        Lead
    ] = []  # a dialler may still have an earlier one of the same lead, or one that was taken back
    waiting: list[int] = []  # not handed out
    out: list[int] = []  # handed out, and neither acknowledged nor taken back
    told: list[tuple[int, str]] = []
    due: dict[int, datetime] = {}  # when a postponed one may be handed out again
    moved: dict[int, set[int]] = {0: set(), 1: set()}  # by partition: not done, and with another dialler
    now = NOW
    for op in ops:
        back = []
        if op[0] == "lead":
            at = len(given_)
            given_[at] = op
            waiting.append(at)
            desk.add(lead_of(None, None, stamped(*op[1:]), (("allowed", at % 2), at)))
        elif op[0] == "recalled":
            said.recalls.append(op[1:])
            back = desk.apply(
                RecallNotice(kind="recalled", index=op[2][0], at=moment(op[2][1]), number=op[1])
            )
            stopped = [at for at in out if op[1] in numbers_of[at] and stops(op[2], given_[at][4])]
            told += [(at, "recalled") for at in stopped]
            waiting += [at for at in stopped if said.numbers(given_[at])]
        elif op[0] in ("suspended", "resumed"):
            said.registers.append(op)
            back = desk.apply(RecallNotice(kind=op[0], index=op[2][0], at=moment(op[2][1]), register=op[1]))
            stopped = [at for at in out if op[0] == "suspended" and said.waits(given_[at])]
            told += [(at, "suspended") for at in stopped]
            waiting += stopped
        elif op[0] == "take":
            lead: Lead | None = desk.take(now)
            may = [
                at
                for at in waiting
                if due.get(at, now) <= now and said.numbers(given_[at]) and not said.waits(given_[at])
            ]
            assert (lead is None) == (not may)
            if lead is not None:
                assert lead.offset in may
                assert list(lead.numbers) == said.numbers(given_[lead.offset])
                numbers_of[lead.offset] = lead.numbers
                hand_outs.append(lead)
                waiting.remove(lead.offset)
                out.append(lead.offset)
        elif op[0] == "ack" and hand_outs:
            at = hand_outs[op[1] % len(hand_outs)].offset
            desk.forget((("allowed", at % 2), at))
            out, waiting = [[each for each in some if each != at] for some in (out, waiting)]
        elif op[0] == "postpone" and hand_outs:
            asked = hand_outs[op[1] % len(hand_outs)]
            at = asked.offset
            desk.postpone(asked, now + timedelta(minutes=op[2]))
            if at in out and {*asked.numbers} <= {*numbers_of[at]}:
                due[at] = now + timedelta(minutes=op[2])
                out.remove(at)
                waiting.append(at)
        elif op[0] == "minute":
            now += timedelta(minutes=1)
        elif op[0] == "move":
            back = desk.give_up([("allowed", op[1])])
            told += [(at, "moved") for at in out if at % 2 == op[1]]
            moved[op[1]] |= {at for at in (*out, *waiting) if at % 2 == op[1]}
            waiting = [at for at in waiting if at % 2 != op[1]]
        elif op[0] == "return":
            for at in sorted(moved[op[1]]):
                desk.add(lead_of(None, None, stamped(*given_[at][1:]), (("allowed", op[1]), at)))
                due.pop(at, None)
            waiting += moved[op[1]]
            moved[op[1]].clear()
        out = [at for at in out if at not in dict(told)]
        assert sorted((lead.offset, why) for lead, why in back) == sorted(told)
        told.clear()
        assert sorted(place[1] for place in desk.out) == sorted(out)
        for each in hand_outs:
            may_dial = each.offset in out and {*each.numbers} <= {*numbers_of[each.offset]}
            answer = desk.may_dial(each, now)
            assert answer.allowed == may_dial
            if not {*each.numbers} <= {*said.numbers(given_[each.offset])}:
                assert answer.why == "recalled"
        # What will never be handed out need not come again; what may be is still here.
        done = {offset for _, offset in desk.take_done()}
        assert not any(said.numbers(given_[at]) for at in done)
        waiting = [at for at in waiting if at not in done]


@given(st.lists(st.tuples(st.integers(33600000000, 33600000030), moments), max_size=60), st.integers(1, 8))
def test_recalls_that_are_forgotten_stop_more_and_never_less(recalls, numbers_max):
    """A dialler that runs for months would fill its memory, or call somebody whose recall it forgot."""
    bounded = Recalls(BOOK, numbers_max)
    for number, (index, second) in recalls:
        bounded.take(RecallNotice(kind="recalled", index=index, at=moment(second), number=f"+{number}"))

    for number in range(33600000000, 33600000031):
        for at in [(index, second) for index in range(6) for second in range(5)]:
            is_stopped = bounded.stop(f"+{number}", stamped("FR", (f"+{number}",), False, at))
            if any(each == number and stops(said, at) for each, said in recalls):
                assert is_stopped
            if not any(stops(said, at) for _, said in recalls):
                assert not is_stopped
