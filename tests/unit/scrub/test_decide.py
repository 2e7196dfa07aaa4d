"""The order in which the law speaks, as a table: which of two reasons wins, for every pair that can meet."""

import json

import pytest

from stream_scrub.model import Reason, Verdict
from stream_scrub.scrub.facts import UNCLEAR, UNNAMED, facts_of
from tests.support.fakes import law
from tests.support.fakes.scrubbers import scrub, scrubber
from tests.support.machine.cost import cpu_s

NUMBER, PREMIUM, ROBOT, BRITISH = 33612345678, 33899123456, 33162123456, 447400123456
MOBILE, FIXED = 353850123456, 35312345678
AMERICAN, SAME_AREA, ELSEWHERE = 12125550123, 12125550199, 13055550100
EVERYBODY = [NUMBER, PREMIUM, ROBOT, BRITISH, MOBILE, FIXED, AMERICAN]
CONTRACT, PRESS, ACME = {"contract": True}, {"purpose": "press"}, {"campaign": "acme"}
BANNED = {"purpose": "energy-renovation"}

OUT, IN = law.OPT_OUT, law.OPT_IN
US = """country = "US"
regions = ["US"]
timezone = "America/New_York"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["list", "internal"]
lifted_by = ["contract"]
named_consents = ["consent"]
max_age_days = { list = 30, consent = 10, internal = 50 }
areas = { list = 4 }
"""
US_IN = US + 'require = ["washed"]\n'
FREE = OUT.replace('["list", "internal"]', '["internal"]').replace("max_age_days = { list = 30 }\n", "")
SILENT = OUT.replace('["list", "internal"]', '["list"]')
STRICT = IN.replace('lifted_by = ["contract", "press"]', "lifted_by = []")
LATER = OUT.replace("2020-01-01", "2027-01-01")
OF_TYPE = """country = "IE"
regions = ["IE"]
timezone = "Europe/Dublin"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["list", "internal"]
lifted_by = ["contract"]
require_named_for = { mobile = ["consent"] }
max_age_days = { list = 30, consent = 10 }
"""


def holds(name, days_old=1):
    return law.register(name, EVERYBODY, days_old=days_old)


def lacks(name, days_old=1):
    return law.register(name, days_old=days_old)


def agrees(name, days_old=1):
    return law.allow(name, EVERYBODY, days_old)


def silent(name):
    return law.allow(name)


NO_LIST, LIST, OLD_LIST = lacks("list"), holds("list"), holds("list", 31)
OPPOSED, NOT_OPPOSED, OF_ACME = holds("internal"), lacks("internal"), holds("internal@acme")
COVERING, NOT_BOUGHT = law.register("list", [SAME_AREA]), law.register("list", [ELSEWHERE])
TO_ACME = agrees("consent@acme")
YES, NO, NO_WASH = agrees("consent"), silent("consent"), silent("washed")
TABLE = [
    # law, registers, members, the reason and the registers behind it
    (OUT, [NO_LIST], {}, "clear"),
    (OUT, [LIST], {}, "opposed list"),
    (OUT, [LIST, OPPOSED], {}, "opposed internal list"),
    # what lifts the list, and never the company's own
    (OUT, [LIST], CONTRACT, "contract"),
    (OUT, [LIST], PRESS, "exempt"),
    (OUT, [LIST], {"purpose": "survey"}, "opposed list"),
    (OUT, [LIST], {"purpose": "contract"}, "opposed list"),
    (OUT, [NO_LIST], CONTRACT, "clear"),
    (OUT, [NO_LIST, OPPOSED], CONTRACT, "opposed internal"),
    (OUT, [NO_LIST, OPPOSED], PRESS, "opposed internal"),
    (SILENT, [NO_LIST, OPPOSED], {}, "opposed internal"),
    (FREE, [OPPOSED], CONTRACT, "opposed internal"),
    # stale: never held, too old, of the wrong kind
    (OUT, [NOT_OPPOSED], {}, "stale-register list"),
    (OUT, [OLD_LIST], {}, "stale-register list"),
    (OUT, [lacks("list", 30)], {}, "clear"),
    (OUT, [silent("list")], {}, "stale-register list"),
    (OUT, [NO_LIST, agrees("internal")], CONTRACT, "stale-register internal"),
    (OUT, [], CONTRACT, "contract"),
    (OUT, [OLD_LIST], PRESS, "exempt"),
    (OUT, [OPPOSED], {}, "opposed internal"),
    (FREE, [], {}, "clear"),
    # scopes
    (OUT, [NO_LIST, OF_ACME], {}, "opposed internal@*"),
    (OUT, [NO_LIST, lacks("internal@acme")], {}, "clear"),
    (OUT, [NO_LIST, OF_ACME], ACME, "opposed internal@acme"),
    (OUT, [NO_LIST, OF_ACME], {"campaign": ["Acme", "ACME ", "acme"]}, "opposed internal@acme"),
    (OUT, [NO_LIST, holds("internal@other")], ACME, "clear"),
    (OUT, [NO_LIST, lacks("list@acme", 31)], ACME, "stale-register list@acme"),
    (OUT, [lacks("list@acme")], ACME, "stale-register list"),
    (OUT, [holds("list@acme")], ACME, "opposed list@acme"),
    # consents
    (IN, [NO_LIST, YES, NO_WASH], {}, "consented"),
    (IN, [NO_LIST, NO, NO_WASH], {}, "no-consent"),
    (IN, [NO_LIST, NO, agrees("washed")], {}, "consented"),
    (IN, [NO_LIST, YES, NO_WASH, OPPOSED], {}, "opposed internal"),
    (IN, [LIST, YES, NO_WASH], {}, "opposed list"),
    (IN, [LIST, NO, NO_WASH], {}, "opposed list"),
    (IN, [NO_LIST, NO, NO_WASH], CONTRACT, "contract"),
    (IN, [NO_LIST, NO, NO_WASH], {**PRESS, **CONTRACT}, "contract"),
    (IN, [NO_LIST, NO, NO_WASH], PRESS, "exempt"),
    (IN, [NO_LIST, YES, NO_WASH], CONTRACT, "consented"),
    (IN, [NO_LIST, NO, NO_WASH, agrees("consent@acme")], ACME, "consented"),
    (IN, [NO_LIST, NO, NO_WASH, agrees("consent@acme")], {}, "no-consent"),
    (IN, [NO_LIST, NO_WASH, silent("consent@acme")], ACME, "stale-register consent"),
    # a purpose that nobody may call for
    (IN, [NO_LIST, YES, NO_WASH], BANNED, "banned-purpose"),
    (IN, [LIST, NO], BANNED, "banned-purpose"),
    (IN, [OPPOSED], BANNED, "opposed internal"),
    (IN, [NO_LIST, YES, NO_WASH], {**BANNED, **CONTRACT}, "consented"),
    (IN, [NO_LIST, NO, NO_WASH], {**BANNED, **CONTRACT}, "contract"),
    (IN, [NO_LIST, YES, NO_WASH], {"purpose": ["press", "energy-renovation"]}, "banned-purpose"),
    (STRICT, [NO_LIST, YES, NO_WASH], {**BANNED, **CONTRACT}, "banned-purpose"),
    (STRICT, [LIST, YES, NO_WASH], CONTRACT, "opposed list"),
    (STRICT, [NO_LIST, NO, NO_WASH], CONTRACT, "no-consent"),
    # fresh and stale together
    (IN, [OLD_LIST, NO, NO_WASH], {}, "no-consent"),
    (IN, [LIST, agrees("consent", 11), NO_WASH], {}, "opposed list"),
    (IN, [NO_LIST, agrees("consent", 11), NO_WASH], {}, "stale-register consent"),
    (IN, [NO_LIST, NO], {}, "stale-register washed"),
    (IN, [NO_LIST, YES], {}, "consented"),
    (IN, [OLD_LIST, YES, NO_WASH], {}, "stale-register list"),
    (IN, [OLD_LIST, agrees("consent", 11)], {}, "stale-register list consent washed"),
    (IN, [NO_LIST, holds("consent"), NO_WASH], {}, "stale-register consent"),
    # the company's own list, when the rule says that it may grow too old
    (IN, [NO_LIST, YES, NO_WASH, lacks("internal", 51)], CONTRACT, "stale-register internal"),
    (IN, [NO_LIST, NO, NO_WASH, lacks("internal", 51)], {}, "no-consent"),
    (IN, [NO_LIST, YES, NO_WASH, holds("internal", 51)], CONTRACT, "opposed internal"),
    # before the first rule
    (LATER, [NO_LIST], {}, "no-rule"),
]
TABLE_OF_LINES = [
    # law, number, registers, members, the reason and the registers behind it
    (IN, PREMIUM, [LIST, YES, NO_WASH], {**BANNED, **CONTRACT}, "not-callable"),
    (IN, PREMIUM, [], {}, "not-callable"),
    (IN, PREMIUM, [OPPOSED], {}, "opposed internal"),
    (IN, ROBOT, [NO_LIST, YES, NO_WASH], {}, "not-callable"),
    (IN, ROBOT + 1_000_000, [NO_LIST, law.allow("consent", [ROBOT + 1_000_000]), NO_WASH], {}, "consented"),
    # a country without a rule
    (OUT, BRITISH, [LIST], {**PRESS, **CONTRACT, **ACME}, "no-rule"),
    (OUT, BRITISH, [OPPOSED], ACME, "opposed internal"),
    (OUT, BRITISH, [OF_ACME], {**CONTRACT, **ACME}, "opposed internal@acme"),
    (OUT, BRITISH, [agrees("internal")], ACME, "no-rule"),
    # types of numbers that need a consent to the caller
    (OF_TYPE, MOBILE, [NO_LIST], ACME, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST, agrees("consent@acme")], ACME, "consented"),
    (OF_TYPE, MOBILE, [NO_LIST, agrees("consent@acme", 11)], ACME, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST, holds("consent@acme")], ACME, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST, agrees("consent")], ACME, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST, agrees("consent@acme")], {}, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST, agrees("consent@acme")], {"campaign": ["acme", "beta"]}, "no-consent"),
    (OF_TYPE, MOBILE, [NO_LIST], CONTRACT, "contract"),
    (OF_TYPE, MOBILE, [NO_LIST, OPPOSED], ACME, "opposed internal"),
    (OF_TYPE, FIXED, [NO_LIST], ACME, "clear"),
    # a consent that names the caller lifts the list, for that caller
    (US, AMERICAN, [LIST, TO_ACME], ACME, "consented"),
    (US, AMERICAN, [COVERING, TO_ACME], ACME, "clear"),
    (US, AMERICAN, [LIST, TO_ACME], {}, "opposed list"),
    (US, AMERICAN, [LIST, TO_ACME], {"campaign": "other"}, "opposed list"),
    (US, AMERICAN, [LIST, TO_ACME], {"campaign": ["acme", "other"]}, "opposed list"),
    (US, AMERICAN, [LIST, YES], ACME, "opposed list"),
    (US, AMERICAN, [LIST, law.allow("consent@acme", [SAME_AREA])], ACME, "opposed list"),
    (US, AMERICAN, [LIST, agrees("consent@acme", 11)], ACME, "opposed list"),
    (US, AMERICAN, [LIST, holds("consent@acme")], ACME, "opposed list"),
    # the company's own opposition stands above it, and so does its age
    (US, AMERICAN, [LIST, TO_ACME, OPPOSED], ACME, "opposed internal list"),
    (US, AMERICAN, [LIST, TO_ACME, lacks("internal", 51)], ACME, "stale-register internal"),
    # a list that is missing or too old is not needed where the person consented
    (US, AMERICAN, [TO_ACME], ACME, "consented"),
    (US, AMERICAN, [OLD_LIST, TO_ACME], ACME, "consented"),
    # an area of which the list holds no number
    (US, AMERICAN, [NO_LIST], {}, "stale-register list"),
    (US, AMERICAN, [NOT_BOUGHT, TO_ACME], ACME, "consented"),
    (US, AMERICAN, [NOT_BOUGHT], CONTRACT, "contract"),
    (US, AMERICAN, [NO_LIST, law.register("list@acme", [SAME_AREA])], ACME, "clear"),
    (US, AMERICAN, [NO_LIST, law.register("list@acme", [SAME_AREA])], {}, "stale-register list"),
    # a consent that lifts one list does not stand in for what is required
    (US_IN, AMERICAN, [LIST, TO_ACME, agrees("washed")], ACME, "consented"),
    (US_IN, AMERICAN, [LIST, TO_ACME, silent("washed")], ACME, "no-consent"),
    (US_IN, AMERICAN, [LIST, TO_ACME], ACME, "stale-register washed"),
    (US_IN, AMERICAN, [NOT_BOUGHT, silent("washed")], ACME, "no-consent"),
    (OF_TYPE.replace("lifted_by", 'require = ["washed"]\nlifted_by'), MOBILE, [NO_LIST], ACME, "no-consent"),
]
ROWS = [(text, NUMBER, *row) for text, *row in TABLE] + TABLE_OF_LINES


@pytest.mark.parametrize(("text", "number", "registers", "members", "expected"), ROWS, ids=range(len(ROWS)))
def test_the_order_in_which_the_law_speaks(text, number, registers, members, expected):
    """A person who opposed or never consented would be called, or a lead lost that could be sold."""
    value = json.dumps({"phone": f"+{number}", **members}).encode()

    out = scrub(value, scrubber(text), law.index(*registers))

    assert " ".join([out.reason, *out.stamp.get("registers", [])]) == expected


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("Energy_Renovation ", ("energy-renovation",)),
        ("energy renovation", ("energy-renovation",)),
        (["Press", "PRESS", None, ["x"], {"a": 1}, 7], ("press", UNCLEAR, "7")),
        (True, (UNCLEAR,)),
        (1.5, (UNCLEAR,)),
        ({"purpose": "press"}, (UNCLEAR,)),
        ("", ()),
        (None, ()),
    ],
)
def test_a_purpose_is_met_however_it_is_written(member, words):
    """A banned purpose would pass by its spelling, or one that is not understood lift a law."""
    assert facts_of(member, None, None).purposes == words


@pytest.mark.parametrize(
    "member",
    [["insurance"] * 101, "é" * 2_000_000, [[f"p{n}" for n in range(500_000)]], [["é" * 2_000_000]]],
    ids=["too many", "long", "a list in a list", "a long one in a list"],
)
def test_more_than_anybody_says_is_understood_by_nobody_and_costs_nothing(member):
    """One question of some megabytes would keep every other dialler waiting for seconds, or lift a law."""
    said = dict.fromkeys(("purpose", "campaign", "channel", "who", "voice_kind"), member)
    assert cpu_s(lambda: facts_of(**said), enough=0.1) < 1
    facts = facts_of(**said)
    assert facts.purposes == (UNCLEAR,) and facts.campaigns == (UNNAMED,)
    assert facts.channel == "unknown" and facts.artificial and not facts.company


def test_as_much_as_anybody_says_is_understood():
    """A prospect that is called for a hundred purposes would lose what it says."""
    words = [f"purpose-{n}" for n in range(100)]
    facts = facts_of(purpose=words, campaign=[*words[:99], "x" * 200])
    assert facts.purposes == tuple(words) and facts.campaigns == (*words[:99], "x" * 200)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_one_verdict(reason):
    """A dialler that looks at the verdict alone would call for a reason that blocks."""
    allowing = {Reason.CLEAR, Reason.CONSENTED, Reason.CONTRACT, Reason.EXEMPT}

    assert reason.verdict is (Verdict.ALLOWED if reason in allowing else Verdict.BLOCKED)
