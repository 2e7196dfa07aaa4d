"""The channel that a prospect is to be reached by: it chooses the rule, and stands on the stamp."""

import json

import msgspec
import pytest

from stream_scrub.call import VOICE
from stream_scrub.model import Reason
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.facts import UNKNOWN_CHANNEL, facts_of
from tests.support.fakes import law
from tests.support.fakes.scrubbers import CONSENTING, NUMBER, scrub, scrubber

BOTH = law.OPT_OUT + (
    '[[rule]]\nfrom = 2020-01-01\nchannels = ["sms", "rcs"]\nsource = "a law on messages"\n'
    'deny = ["internal"]\nrequire = ["consent"]\nbanned_purposes = ["gambling"]\nvalid_days = 2\n'
)
INDEX = law.index(
    law.register("list", [NUMBER]),
    law.register("internal", [33600000001]),
    law.allow("consent", [CONSENTING]),
)


def stamped(by, **members):
    value = json.dumps({"phone": f"+{CONSENTING}", **members}).encode()
    return scrub(value, by, INDEX).stamp


@pytest.mark.parametrize(
    ("member", "channel"),
    [
        *((absent, VOICE) for absent in (None, "", "  ", "voice", " Voice ", msgspec.UNSET)),
        *(("sms", "sms"), ("SMS", "sms"), ("Instant message", "instant-message"), ("e_mail", "e-mail")),
        *(
            (odd, UNKNOWN_CHANNEL)
            for odd in (["sms"], {"sms": 1}, True, False, 0, 7, "+33612345678", "?", "x" * 33)
        ),
    ],
)
def test_a_channel_is_one_word(member, channel):
    """Somebody would be called who was to be written to, or the other way round."""
    assert facts_of(channel=member).channel == channel


@pytest.mark.parametrize(
    ("members", "reason", "channel"),
    [
        ({}, Reason.CLEAR, None),
        ({"channel": "sms", "purpose": "gambling"}, Reason.BANNED_PURPOSE, "sms"),
        ({"channel": "sms", "phone": "+33600000001"}, Reason.OPPOSED, "sms"),
        ({"channel": "fax"}, Reason.NO_RULE, "fax"),
        ({"channel": ["sms"]}, Reason.NO_RULE, "unknown"),
        ({"channel": "sms", "phone": "nobody"}, Reason.INVALID_NUMBER, "sms"),
        ({"channel": "sms", "phone": ["+33611111111", f"+{CONSENTING}"]}, Reason.NO_CONSENT, "sms"),
    ],
)
def test_the_rule_is_that_of_the_channel(members, reason, channel):
    """Whoever may be written to would be called, or nobody could be written to at all."""
    stamp = stamped(scrubber(BOTH), **members)
    assert (stamp["reason"], stamp.get("channel")) == (reason, channel)


def test_channels_of_one_batch_are_judged_each_by_its_own_rule():
    """In a batch with calls and messages, one would get the verdict of the other."""
    values = [
        json.dumps({"phone": f"+{number}", **said}).encode()
        for number in (NUMBER, CONSENTING, 33611111111)
        for said in ({}, {"channel": "sms"}, {"channel": "fax"})
    ] * 50
    batch = scrubber(BOTH, stamp="header").scrub(values, INDEX, law.NOW)
    told = [msgspec.json.decode(stamp) for stamp in batch.stamps[:9]]
    assert [(each["reason"], each.get("channel")) for each in told] == [
        *(("opposed", None), ("no-consent", "sms"), ("no-rule", "fax")),
        *(("clear", None), ("consented", "sms"), ("no-rule", "fax")),
        *(("clear", None), ("no-consent", "sms"), ("no-rule", "fax")),
    ]
    assert told[4]["until"] == "2026-11-25" and batch.allowed == batch.allowed[:9] * 50


def test_the_member_may_have_another_name():
    """Whose prospects say where they came from in `channel` could not be called at all."""
    by = scrubber(BOTH, members=Members.of(["phone"], "country", {"channel": "meta.by"}))
    assert stamped(by, channel="web")["reason"] == "clear"
    assert stamped(by, meta={"by": "sms"})["channel"] == "sms"
