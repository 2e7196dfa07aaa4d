"""A verdict for people: the answer first, and the sentence of the rule that decided."""

from datetime import date

import pytest

from stream_scrub.config import Settings
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import INTERNAL, Reason
from stream_scrub.queries.answer import answer, hours_of
from stream_scrub.queries.history import LoggedChange
from stream_scrub.rules import Rulebook, RuleFile, in_words
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import CallHours, NumberStamp, Stamp

BOOK: Rulebook = scrubbing.rulebook(Settings())
RULES = [rule for country in BOOK.countries.values() for rule in country.rules]


def stamp(reason: Reason, **more) -> NumberStamp:
    return NumberStamp(reason.verdict, reason, number="+33612345678", **more)


def change(
    register: str, kind: str, what: str, reason: str, name: str, end: str | None = None
) -> LoggedChange:
    more = {"end": end, "seq": 1, "chain": "", "requests": [], "position": 1}
    source, at = DeltaSource(name, "ab"), "2026-11-12T09:00:00Z"
    return LoggedChange(
        register=register,
        kind=kind,
        change=what,
        reason=reason,
        source=source,
        time=at,
        effective_at=at,
        **more,
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_answer(reason):
    """A person who asks would read a word of ours; or a blocked number would seem to be free from some day on."""
    told = answer(stamp(reason, until=date(2026, 11, 29)), None)
    if reason.verdict == "allowed":
        assert told.headline == "May be called until Sunday 29 November 2026" and told.because
    else:
        assert told.headline.startswith("Blocked: ") and "until" not in told.headline


def test_what_decided_is_named():
    """Nobody could say which list, request or consent it was."""
    events = [
        change("internal", "deny", "added", "requests", "opposition.requests"),
        change("consent", "allow", "added", "list", "0612345678.csv"),
        change("consent@acme", "allow", "added", "requests", "opposition.requests"),
        change("consent@acme", "allow", "removed", "requests", "opposition.requests"),
    ]
    opposed = answer(stamp(Reason.OPPOSED, registers=["internal"]), None, events)
    assert opposed.headline == "Blocked: opposed on 12 November 2026 by an opt-out request"
    assert opposed.because == ["In internal since 12 November 2026, by an opt-out request."]
    consented = answer(stamp(Reason.CONSENTED), None, events)
    assert consented.because[1:] == ["In consent since 12 November 2026, by the list [number].csv."]


def test_a_number_that_rests_says_from_when_it_may_be_called_again():
    """A campaign's manager would ask every day, or give a lead up that may be called next week."""
    events = [
        change("rested", "deny", "added", "attempts", "call.attempts", "2026-12-23T23:00:00Z"),
    ]
    rests = stamp(Reason.TOO_OFTEN, registers=["rested"], rests_until_text="2026-12-26T23:00Z")
    told = answer(rests, None, events)
    assert told.headline.endswith("may be called again from 26 December 2026, 23:00 UTC")
    assert told.because == ["In rested since 12 November 2026, by the calls that were reported."]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.digest)
def test_the_sentence_that_decided_comes_first(rule):
    """People would have to find in ten sentences of law the one that concerns them."""
    says = in_words(rule)
    blocking = {
        Reason.OPPOSED: [*rule.deny],
        Reason.STALE_REGISTER: [name for name in rule.deny if name != INTERNAL],
    }
    blocking[Reason.NO_CONSENT] = rule.requires and ["consent"]
    blocking[Reason.NOT_WASHED] = [*rule.wash, *rule.wash_named]
    blocking[Reason.UNKNOWN_PURPOSE] = blocking[Reason.BANNED_PURPOSE] = [*rule.banned]
    blocking[Reason.NOT_CALLABLE] = [*rule.not_callable_types]
    blocking[Reason.TOO_OFTEN] = rule.attempts and ["rested"]
    registers = {Reason.OPPOSED, Reason.STALE_REGISTER, Reason.NOT_WASHED, Reason.TOO_OFTEN}
    for reason, needs in blocking.items():
        if needs:
            told = answer(stamp(reason, registers=needs if reason in registers else ()), rule)
            assert told.rule, reason
            assert sorted([*told.rule, *told.rest]) == sorted(says)
            assert len(told.rest) >= len(told.rule) or len(says) < 6 or len(told.rule) <= len(needs)


LAW = """
country = "XX"
regions = ["XX"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "law"
deny = ["one", "two"]
require_named = ["consent"]
artificial_voice = ["robots"]
lifted_by = ["contract"]
banned_purposes = ["energy"]
banned_despite_contract = ["betting"]
"""
(MADE,) = Rulebook.of([RuleFile("xx.toml", "xx.toml", LAW.encode())]).countries["XX"].rules


def words(reason: Reason, *registers: str, artificial: bool = False) -> str:
    told = answer(stamp(reason, registers=registers), MADE, artificial=artificial)
    return " ".join(told.rule)


def test_only_what_decided_is_called_the_rule_that_decided():
    """A person who was called by a person would read of robots, and one with a contract of bans that it does not lift."""
    assert "in consent@campaign" not in words(Reason.OPPOSED, "two@acme") and "A number in two" in words(
        Reason.OPPOSED, "two@acme"
    )
    assert "A number in one" not in words(Reason.OPPOSED, "two")
    assert "artificial voice" not in words(Reason.NO_CONSENT)
    assert "artificial voice" in words(Reason.NO_CONSENT, artificial=True)
    assert "Calls for" not in words(Reason.CONTRACT) and "unless the prospect has a contract" in words(
        Reason.CONTRACT
    )
    assert "A number in one" not in words(Reason.BANNED_PURPOSE) and "Calls for energy" in words(
        Reason.BANNED_PURPOSE
    )


@pytest.mark.parametrize(
    ("now", "following", "says"),
    [
        (True, "", "a call may begin now (Mon-Fri 10:00-20:00, Indian/Reunion)"),
        (
            False,
            "2026-11-30T06:00Z",
            "no call may begin before Monday 30 November 2026, 10:00 (Mon-Fri 10:00-20:00, Indian/Reunion)",
        ),
        (False, "", "no call may begin now, nor in the next weeks (Mon-Fri 10:00-20:00, Indian/Reunion)"),
        (None, "", ""),
    ],
)
def test_people_read_when_a_call_may_begin(now, following, says):
    """Somebody would read a time in UTC as his own, or the night as open."""
    checked = Stamp(
        verdict=Reason.CLEAR.verdict,
        reason=Reason.CLEAR,
        index=1,
        at_text="2026-11-28T12:00:00.000Z",
        call=CallHours(zones=["Indian/Reunion"], windows=[], local="Mon-Fri 10:00-20:00"),
        callable_now=now,
        next_text=following,
    )
    assert hours_of(checked) == says
    assert not says or f"{says[0].upper()}{says[1:]}." in answer(checked, None).because
