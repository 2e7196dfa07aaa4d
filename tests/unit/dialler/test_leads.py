"""Which leads a dialler is given, and when they are taken back: without Kafka."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from stream_scrub.dialler import Allowed
from stream_scrub.dialler import leads as dialler_leads
from stream_scrub.dialler.leads import Lead, LeadQueue, lead_of
from stream_scrub.dialler.recalls import Recalls, read
from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.model import Reason, Verdict
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.rules import Rulebook
from stream_scrub.stamp import CallHours, NumberStamp, Stamp

BOOK = Rulebook.load()
DAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NUMBER = "+33612345680"


def lead(offset: int = 0, **more: object) -> Lead:
    members = {"verdict": Verdict.ALLOWED, "reason": Reason.CLEAR, "number": NUMBER, "index": 5}
    members |= {"rules": BOOK.on("FR", DAY).digest, "at_text": "2026-11-24T11:00:00.000Z"}
    return lead_of(b"k", b"{}", Stamp(**members | more), (("prospects.allowed", 0), offset))


def desk(*leads: Lead, channel: str = "voice") -> LeadQueue:
    made = LeadQueue(Recalls(BOOK), BOOK, channel, timedelta(days=1))
    for each in leads:
        made.add(each)
    return made


def desk_after(notice: RecallNotice, *leads: Lead) -> LeadQueue:
    made = desk(*leads)
    made.apply(notice)
    return made


def handed_out(leads: LeadQueue, now: datetime = NOON) -> list[int]:
    offsets = []
    while (given := leads.take(now)) is not None:
        offsets.append(given.offset)
    return offsets


def digest_of(country: str) -> str:
    """Of the rule of that day; of a country that this release does not know, any."""
    return BOOK.on(country, DAY).digest if country != "elsewhere" else "xx@abcdef"


@pytest.mark.parametrize(
    ("rules", "residence", "last"),
    [
        ("FR", "FR", "2026-11-24T22:59:59Z"),
        ("US", "US", "2026-11-25T04:59:59Z"),
        ("US", "FR", "2026-11-24T22:59:59Z"),  # the day that ends first
        ("elsewhere", "FR", "2026-11-24T09:59:59Z"),  # where a day ends first on earth
    ],
)
def test_a_lead_is_good_until_the_end_of_its_last_day_where_the_person_is(rules, residence, last):
    """Somebody would be called on a day for which there is no verdict, or a lead of today thrown away."""
    moment = datetime.fromisoformat(last)
    made = lead(rules=digest_of(rules), residence=digest_of(residence), until=DAY)

    in_time, late = desk(made), desk(made)

    assert handed_out(in_time, moment) == [0]
    assert in_time.may_dial(made, moment).allowed
    assert in_time.may_dial(made, moment + timedelta(seconds=1)).why == "past-until"
    assert handed_out(late, moment + timedelta(seconds=1)) == []
    assert late.dropped == {"past-until": 1}
    assert late.take_done() == [made.place]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"verdict": Verdict.BLOCKED, "reason": Reason.OPPOSED}, "not-allowed"),
        ({"number": None}, "not-allowed"),
        ({"channel": "sms"}, "other-channel"),
        ({"at_text": "2026-11-23T11:59:59Z"}, "too-old"),
    ],
)
def test_what_nobody_may_call_is_skipped_with_its_cause(more, why):
    """Somebody without a number, of another channel or of last month would be dialled, or nobody could say why not."""
    leads = desk(lead(0, **more), lead(1))

    assert handed_out(leads) == [1]
    assert leads.dropped == {why: 1}
    assert [offset for _, offset in leads.take_done()] == [0]


def test_a_sender_of_texts_is_given_those_and_no_calls():
    """A text would go to somebody who may be called only."""
    assert handed_out(desk(lead(0), lead(1, channel="sms"), channel="sms")) == [1]


def recalled(number: str = NUMBER, index: int = 6) -> RecallNotice:
    return RecallNotice(kind="recalled", index=index, at="2026-11-24T11:30:00Z", number=number)


def several(*numbers: str, some: bool) -> Lead:
    each = [NumberStamp(Verdict.ALLOWED, Reason.CLEAR, number=number) for number in numbers]
    return lead(number=None, numbers=each, callable=numbers if some else ())


def test_a_number_that_a_prospect_names_twice_is_called_once():
    """A person whose number stands twice in a lead would be called twice, or stop the dialler."""
    leads = desk(several(NUMBER, NUMBER, some=False))
    given = leads.take(NOON)

    assert given.numbers == (NUMBER,)
    leads.forget(given.place)
    assert not leads.out


def test_what_waits_for_a_register_comes_when_that_is_renewed_or_is_dropped_when_it_is_too_late():
    """Leads of a list that is late would be lost, called, or fill the memory for ever."""
    british = digest_of("GB")
    leads = desk(lead(3, until=DAY), lead(0, rules=british), lead(1, rules=british, until=DAY), lead(2))
    leads.postpone(leads.take(NOON), NOON + timedelta(days=5))
    leads.apply(suspended())

    assert handed_out(leads) == [2]  # and the French one does not wait
    assert leads.dropped == {}
    leads.sweep(NOON + timedelta(hours=12))
    assert leads.dropped == {"past-until": 2} and not leads.postponed
    leads.apply(suspended(index=7, kind="resumed"))

    assert handed_out(leads) == [0]


def test_on_a_renewed_log_a_recall_takes_back_what_was_handed_out_before():
    """Whoever objects after the log was renewed would be called for weeks: positions on the new log are lower."""
    leads = desk(lead(0, index=1_000_000), lead(1, index=1_000_000))
    assert leads.take(NOON) is not None

    assert [each.lead.offset for each in leads.apply(recalled(index=7))] == [0]
    assert handed_out(leads) == []


def test_a_recall_from_before_the_log_was_renewed_stops_no_new_verdict():
    """Leads of whoever was recalled once would be thrown away for ever, and a suspended register stay so."""
    leads = desk(lead(index=7))
    for kind, more in (("recalled", {"number": NUMBER}), ("suspended", {"register": "internal"})):
        leads.apply(RecallNotice(kind=kind, index=1_000_000, at="2026-11-23T10:59:59Z", **more))
    leads.apply(RecallNotice(kind="resumed", index=3, at="2026-11-23T11:30:00Z", register="internal"))

    assert handed_out(leads) == [0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"[]",
        b'{"kind":"recalled","index":1,"at":"2026-11-24T11:00:00Z"}',
        b'{"kind":"recalled","index":1,"at":"2026-11-24T11:00:00Z","number":"0612345678"}',
        b'{"kind":"recalled","index":1,"at":"2026-11-24T11:00:00","number":"+33612345678"}',
        b'{"kind":"recalled","index":-1,"at":"2026-11-24T11:00:00Z","number":"+33612345678"}',
        b'{"kind":"suspended","index":1,"at":"2026-11-24T11:00:00Z"}',
        b'{"kind":"pardoned","index":1,"at":"2026-11-24T11:00:00Z","number":"+33612345678"}',
    ],
)
def test_a_record_that_is_no_recall_is_an_error_that_names_its_place_and_no_number(value):
    """A recall of a later release would be passed over, and the person called."""
    with pytest.raises(Corrupt, match=r"^prospects.recalled \[3\] at offset 9: ") as raised:
        read(value, "prospects.recalled [3] at offset 9")
    assert "612345678" not in str(raised.value)


def test_a_record_with_members_of_a_later_release_is_read():
    """A new member would stop every dialler."""
    value = b'{"kind":"recalled","number":"+33612345680","reason":"opposed","register":"internal","index":6,"at":"2026-11-24T11:30:00.5Z","from":"3/17"}'

    assert read(value, "x").number == NUMBER


def test_no_number_is_shown_of_a_lead():
    """A dialler's log would hold the numbers of everybody it calls."""
    assert "612345680" not in repr(lead())
    assert "prospects.allowed/0/0" in repr(lead())


@pytest.mark.parametrize(
    ("group", "options", "says"),
    [
        ("desk", {"max_age": timedelta(days=91)}, r"at most recall\.keep_days, 90 days"),
        ("stream-scrub-recall", {}, "stream-scrub-recall belongs to stream-scrub"),
        ("", {}, "group: name the group"),
    ],
)
def test_a_dialler_that_would_miss_recalls_does_not_start(group, options, says):
    """A number that was recalled a hundred days ago would be called, or partitions be taken from `recall`; or the client end
    the process with an assertion."""
    with pytest.raises(ConfigError, match=says):
        Allowed(group, **options)


def renewal(offset: int, days: int = 5) -> Lead:
    return lead(offset, until=DAY + timedelta(days=days), at_text="2026-11-24T12:30:00.000Z")


LATER = NOON + timedelta(days=1)
OF_0 = ("prospects.allowed", 0), 0


def test_a_lead_that_was_handed_out_stays_the_same_lead_with_a_later_end():
    """A person would be called twice for one lead, or a call in progress be stopped though it may go on."""
    leads = desk(lead(0, until=DAY))
    given = leads.take(NOON)
    assert given is not None
    leads.renew(renewal(4), OF_0, is_done=False)
    leads.renew(renewal(9, days=9), (OF_0[0], 4), is_done=False)

    assert handed_out(leads) == []
    assert leads.may_dial(given, LATER).allowed
    assert leads.out[OF_0].until == DAY + timedelta(days=9)
    assert [offset for _, offset in leads.finish(OF_0)] == [0, 4, 9]
    assert leads.may_dial(given, LATER).why == "not-held"


def test_a_renewal_by_a_rule_whose_register_is_suspended_takes_the_lead_back_until_it_resumes():
    """A lead in a dialler's hands would be called by a verdict that rests on a list which is too old."""
    leads = desk(lead(0, until=DAY))
    given = leads.take(NOON)
    assert given is not None
    leads.apply(suspended())
    assert leads.may_dial(given, NOON).allowed, "the French rule does not ask it"
    moved = {"rules": digest_of("GB"), "at_text": "2026-11-24T12:30:00.000Z"}
    told = leads.renew(lead(4, until=DAY + timedelta(days=5), **moved), OF_0, is_done=False)

    assert [(back.offset, why) for back, why in told] == [(0, "suspended")]
    assert not leads.may_dial(given, NOON).allowed and handed_out(leads) == []
    leads.apply(suspended(index=7, kind="resumed"))
    assert handed_out(leads, LATER) == [0]


def test_a_lead_that_waits_is_handed_out_once_by_its_last_verdict():
    """A lead that was renewed in time would be thrown away with its old end, or handed out twice."""
    leads = desk(lead(0, until=DAY))
    leads.renew(renewal(4), OF_0, is_done=False)

    assert handed_out(leads, NOON + timedelta(hours=23)) == [0]
    assert leads.out[OF_0].until == DAY + timedelta(days=5)


@pytest.mark.parametrize(("is_done", "handed", "done"), [(True, [], [4]), (False, [4], [])])
def test_a_renewal_without_its_lead_is_handed_out_unless_the_lead_is_done(is_done, handed, done):
    """A person would be called again each time that a list is renewed; or a dialler that began later would never get a lead
    whose first record Kafka has deleted."""
    leads = desk()
    leads.renew(renewal(4), OF_0, is_done=is_done)

    assert handed_out(leads) == handed
    assert leads.dropped["renewed"] == len(done)
    assert [offset for _, offset in leads.take_done()] == done


@pytest.mark.parametrize(("forgotten", "handed"), [(100, [4]), (0, [])])
def test_a_renewal_of_a_lead_that_had_ended_before_it_was_read_is_handed_out(monkeypatch, forgotten, handed):
    """After a weekend's outage a dialler would throw away every lead that was renewed meanwhile, and sell nothing."""
    monkeypatch.setattr(dialler_leads, "_LAPSED_MAX", forgotten)
    leads = desk(lead(0, until=DAY))
    assert handed_out(leads, LATER) == []
    assert [offset for _, offset in leads.take_done()] == [0]
    leads.renew(renewal(4), OF_0, is_done=True)

    assert handed_out(leads, LATER) == handed
    leads.finish((OF_0[0], 4))
    leads.renew(renewal(9, days=9), (OF_0[0], 4), is_done=True)
    leads.renew(renewal(11, days=9), OF_0, is_done=True)
    assert handed_out(leads, LATER) == [], "it was called"


def test_a_recall_takes_a_lead_back_with_its_renewals():
    """A renewal read before a recall would keep a lead in the hands of a dialler, or come again for ever."""
    leads = desk(lead(0))
    assert handed_out(leads) == [0]
    leads.renew(renewal(4), OF_0, is_done=False)

    ((back, why),) = leads.apply(
        RecallNotice(kind="recalled", number=NUMBER, index=6, at="2026-11-24T12:40:00.000Z")
    )

    assert (back.offset, why) == (0, "recalled")
    assert [offset for _, offset in leads.take_done()] == [0, 4]


def test_a_renewal_without_a_number_takes_that_number_back_before_its_recall_is_read():
    """The later verdict would hide the recall, and a person who opted out would be called."""
    other = "+33612345681"
    leads = desk(several(NUMBER, other, some=True))
    given = leads.take(NOON)
    assert given is not None and given.numbers == (NUMBER, other)
    each = [
        NumberStamp(Verdict.ALLOWED, Reason.CLEAR, number=NUMBER),
        NumberStamp(Verdict.BLOCKED, Reason.OPPOSED, number=other),
    ]
    later = {"until": DAY + timedelta(days=5), "at_text": "2026-11-24T12:30:00.000Z", "index": 7}
    told = leads.renew(lead(4, number=None, numbers=each, callable=(NUMBER,), **later), OF_0, is_done=False)

    assert [(back.offset, why) for back, why in told] == [(0, "recalled")]
    assert leads.may_dial(given, NOON).why == "recalled" and not leads.apply(recalled(other))
    again = leads.take(LATER)
    assert again is not None and (again.offset, again.numbers) == (0, (NUMBER,))
    # The dialler may still have the lead as it was given first, with the number that opted out.
    assert leads.may_dial(again, LATER).allowed and not leads.may_dial(given, LATER).allowed
    assert not leads.renew(renewal(9, days=9), (OF_0[0], 4), is_done=False)


@pytest.mark.parametrize(("hours", "expected"), [(-1, [0]), (0, []), (1, [])])
def test_no_lead_is_given_whose_recall_may_be_older_than_what_was_read(hours, expected):
    """A clock that was set back after the start would let a lead pass whose recall was never read."""
    since = NOON - timedelta(days=3) - timedelta(hours=1) + timedelta(hours=hours)
    leads = LeadQueue(Recalls(BOOK, since=since), BOOK, "voice", timedelta(days=30))
    leads.add(lead())

    assert handed_out(leads) == expected


AFTERNOON = CallHours(zones=("Europe/Paris",), windows=("2026-11-24T13:00Z/2026-11-24T19:00Z",), local="")
AT_ONE, AT_SEVEN = NOON + timedelta(hours=1), NOON + timedelta(hours=7)


def suspended(index: int = 6, kind: str = "suspended") -> RecallNotice:
    return RecallNotice(kind=kind, index=index, at=f"2026-11-24T11:{24 + index}:00Z", register="tps")


def after_a_no(leads: LeadQueue, given: Lead, now: datetime = NOON, **more: bool) -> str | None:
    """What the documented program does after a no. Returns why it is one."""
    answer = leads.may_dial(given, now, **more)
    assert not answer.allowed
    if answer.not_before is not None:
        leads.postpone(given, answer.not_before)
    return answer.why


def test_a_lead_outside_its_hours_comes_again_when_they_begin_and_stops_no_other():
    """A person would be called at night, a lead that arrives at night be lost, or everybody wait for it."""
    leads = desk(lead(0, call=AFTERNOON), lead(1))
    given = leads.take(NOON)

    assert after_a_no(leads, given) == "outside-hours"
    assert handed_out(leads, AT_ONE - timedelta(seconds=1)) == [1]
    assert leads.may_dial(given, AT_ONE).why == "not-held"
    assert handed_out(leads, AT_ONE) == [0]
    assert leads.may_dial(given, AT_ONE).allowed


def test_a_lead_ends_with_its_last_window_unless_its_verdict_is_renewed():
    """A lead whose hours are over would be kept for ever, vanish without a count, or be lost though it was renewed."""
    leads = desk(lead(0, call=AFTERNOON))
    given = leads.take(AT_ONE)

    assert after_a_no(leads, given, AT_SEVEN) == "outside-hours"
    assert (leads.dropped, leads.take_done()) == ({"outside-hours": 1}, [OF_0])
    leads.renew(renewal(4), OF_0, is_done=True)
    assert handed_out(leads, AT_SEVEN) == [4]


def test_a_lead_may_not_be_called_while_recalls_are_unknown_and_comes_again_within_moments():
    """A person who has just objected would be called, or a broken connection end the dialler."""
    leads = desk(lead())
    given = leads.take(NOON)

    assert after_a_no(leads, given, is_known=False) == "unknown"
    assert handed_out(leads) == []
    assert handed_out(leads, NOON + timedelta(seconds=1)) == [0]


def test_hours_that_cannot_be_read_end_the_lead():
    """Somebody would be called at night, or one foreign stamp end the dialler again at each start."""
    leads = desk(lead(call=CallHours(zones=(), windows=("x",), local="")))

    assert after_a_no(leads, leads.take(NOON)) == "not-allowed"
    assert leads.dropped == {"not-allowed": 1}


def test_a_number_that_was_called_too_often_is_told_from_one_that_objected():
    """An operator would take numbers that rest for people who opted out."""
    leads = desk(lead())
    given = leads.take(NOON)
    leads.apply(msgspec.structs.replace(recalled(), reason=Reason.TOO_OFTEN))
    assert after_a_no(leads, given) == "too-often"
    leads.apply(recalled(index=7))
    assert after_a_no(leads, given) == "recalled"


def test_an_answer_is_no_truth_value():
    """`if leads.may_dial(lead)` would call everybody, whatever the answer is."""
    with pytest.raises(TypeError, match=r"ask `\.allowed`"):
        bool(desk(lead()).may_dial(lead(), NOON))


def test_a_postponed_lead_is_judged_again_when_it_is_due():
    """A person who objects at night would be called in the morning."""
    leads = desk(lead(0), lead(1, rules=digest_of("GB")), lead(2, until=DAY), lead(3))
    for given in [leads.take(NOON) for _ in range(4)]:
        leads.postpone(given, AT_ONE)
    leads.renew(renewal(9), (OF_0[0], 3), is_done=False)
    leads.apply(suspended())

    assert handed_out(leads, NOON + timedelta(hours=12)) == [0, 3]
    assert leads.dropped == {"past-until": 1}
    leads.postpone(leads.out[OF_0], AT_ONE)
    leads.apply(recalled())
    assert handed_out(leads, AT_ONE) == []


def test_the_hour_that_clocks_show_twice_in_autumn_keeps_its_order():
    """A lead would wait for one that is due later, until its hours are over."""
    paris = ZoneInfo("Europe/Paris")
    evening = datetime(2027, 10, 30, 20, tzinfo=UTC)
    leads = desk(*(lead(offset, at_text="2027-10-30T19:00:00.000Z") for offset in range(2)))
    first, second = leads.take(evening), leads.take(evening)
    leads.postpone(first, datetime(2027, 10, 31, 2, 30, tzinfo=paris))
    leads.postpone(second, datetime(2027, 10, 31, 2, 10, tzinfo=paris, fold=1))

    assert handed_out(leads, datetime(2027, 10, 31, 0, 31, tzinfo=UTC)) == [0]
    assert handed_out(leads, datetime(2027, 10, 31, 1, 11, tzinfo=UTC)) == [1]
