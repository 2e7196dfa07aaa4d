"""The order in which the law speaks, as tables: which of two reasons wins, for every pair that can meet."""

from datetime import timedelta

import pytest

from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import Line
from stream_scrub.scrub import plans
from stream_scrub.scrub.decide import Finding, is_barred
from stream_scrub.scrub.facts import NO_FACTS, UNCLEAR, UNNAMED, Facts, facts_of
from tests.support.fakes import law
from tests.support.machine.cost import cpu_s

NUMBER = 33612345678
MOBILE = Line.of("FR", "mobile")
PREMIUM = Line.of("FR", "premium_rate")
CONTRACT = Facts(contract=True)
PRESS = Facts(purposes=("press",))
BANNED = Facts(purposes=("energy-renovation",))
ACME = Facts(campaigns=("acme",))

OPPOSED, CLEAR, CONSENTED = Reason.OPPOSED, Reason.CLEAR, Reason.CONSENTED
NO_CONSENT, STALE, NO_RULE = Reason.NO_CONSENT, Reason.STALE_REGISTER, Reason.NO_RULE

internal, bloctel = law.register("internal", [NUMBER]), law.register("list", [NUMBER])
no_internal, no_list = law.register("internal"), law.register("list")
consent, no_consent = law.allow("consent", [NUMBER]), law.allow("consent")
no_washed = law.allow("washed")
old_list = law.register("list", [NUMBER], days_old=31)
old_empty_list = law.register("list", days_old=31)
old_consent = law.allow("consent", [NUMBER], days_old=11)


def found(text, registers, told=NO_FACTS, line=MOBILE, number=NUMBER, now=law.NOW):
    """The finding for a number, straight from a plan."""
    rulebook = law.rulebook(text)
    rule = rulebook.rule(line.region, now)
    told = told if told.purposes else told._replace(purposes=("other",))
    plan = plans.plan_for(line, is_barred(number, rule), rule, told, law.index(*registers), now)
    return plan.verdict_for({r.name for r in plan.registers if number in r.numbers})._replace(last=None)


IN = law.OPT_IN
OUT = law.OPT_OUT
OPT_OUT_TABLE = [
    # registers, facts, line, the finding
    ([no_list], NO_FACTS, MOBILE, Finding(CLEAR)),
    ([no_list, no_internal], NO_FACTS, MOBILE, Finding(CLEAR)),
    ([bloctel], NO_FACTS, MOBILE, Finding(OPPOSED, ("list",))),
    ([no_list, internal], NO_FACTS, MOBILE, Finding(OPPOSED, ("internal",))),
    ([bloctel, internal], NO_FACTS, MOBILE, Finding(OPPOSED, ("internal", "list"))),
    # what lifts the list, and never the company's own
    ([bloctel], CONTRACT, MOBILE, Finding(Reason.CONTRACT)),
    ([bloctel], PRESS, MOBILE, Finding(Reason.EXEMPT)),
    ([bloctel], Facts(("survey",)), MOBILE, Finding(OPPOSED, ("list",))),
    ([bloctel], Facts(("contract",)), MOBILE, Finding(OPPOSED, ("list",))),
    ([no_list], CONTRACT, MOBILE, Finding(CLEAR)),
    ([no_list, internal], CONTRACT, MOBILE, Finding(OPPOSED, ("internal",))),
    ([no_list, internal], PRESS, MOBILE, Finding(OPPOSED, ("internal",))),
    # stale: never held, too old, of the wrong kind
    ([], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([no_internal], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([old_list], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([old_empty_list], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([law.register("list", days_old=30)], NO_FACTS, MOBILE, Finding(CLEAR)),
    ([law.allow("list", [])], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([no_list, law.allow("internal", [NUMBER])], NO_FACTS, MOBILE, Finding(STALE, ("internal",))),
    ([no_list, law.allow("internal", [NUMBER])], CONTRACT, MOBILE, Finding(STALE, ("internal",))),
    ([], CONTRACT, MOBILE, Finding(Reason.CONTRACT)),
    ([old_list], PRESS, MOBILE, Finding(Reason.EXEMPT)),
    ([internal], NO_FACTS, MOBILE, Finding(OPPOSED, ("internal",))),
    # scopes
    ([no_list, law.register("internal@acme", [NUMBER])], NO_FACTS, MOBILE, Finding(OPPOSED, ("internal@*",))),
    ([no_list, law.register("internal@acme")], NO_FACTS, MOBILE, Finding(CLEAR)),
    ([no_list, law.register("internal@acme", [NUMBER])], ACME, MOBILE, Finding(OPPOSED, ("internal@acme",))),
    ([no_list, law.register("internal@other", [NUMBER])], ACME, MOBILE, Finding(CLEAR)),
    ([no_list, law.register("list@acme", [NUMBER])], ACME, MOBILE, Finding(OPPOSED, ("list@acme",))),
    ([no_list, law.register("list@acme", days_old=31)], ACME, MOBILE, Finding(STALE, ("list@acme",))),
    ([law.register("list@acme")], ACME, MOBILE, Finding(STALE, ("list",))),
    ([law.register("list@acme", [NUMBER])], ACME, MOBILE, Finding(OPPOSED, ("list@acme",))),
]
OPT_IN_TABLE = [
    ([no_list, consent, no_washed], NO_FACTS, MOBILE, Finding(CONSENTED)),
    ([no_list, no_consent, no_washed], NO_FACTS, MOBILE, Finding(NO_CONSENT)),
    ([no_list, no_consent, law.allow("washed", [NUMBER])], NO_FACTS, MOBILE, Finding(CONSENTED)),
    ([no_list, consent, no_washed, internal], NO_FACTS, MOBILE, Finding(OPPOSED, ("internal",))),
    ([bloctel, consent, no_washed], NO_FACTS, MOBILE, Finding(OPPOSED, ("list",))),
    ([bloctel, no_consent, no_washed], NO_FACTS, MOBILE, Finding(OPPOSED, ("list",))),
    # a line that is no consumer's
    ([no_list, consent, no_washed], NO_FACTS, PREMIUM, Finding(Reason.NOT_CALLABLE)),
    ([no_list, consent, no_washed], CONTRACT, PREMIUM, Finding(Reason.NOT_CALLABLE)),
    ([no_list, consent, no_washed], BANNED, PREMIUM, Finding(Reason.NOT_CALLABLE)),
    ([bloctel, no_consent], NO_FACTS, PREMIUM, Finding(Reason.NOT_CALLABLE)),
    ([internal], NO_FACTS, PREMIUM, Finding(OPPOSED, ("internal",))),
    ([], NO_FACTS, PREMIUM, Finding(Reason.NOT_CALLABLE)),
    # a purpose that nobody may call for
    ([no_list, consent, no_washed], BANNED, MOBILE, Finding(Reason.BANNED_PURPOSE)),
    ([bloctel, no_consent, no_washed], BANNED, MOBILE, Finding(Reason.BANNED_PURPOSE)),
    ([], BANNED, MOBILE, Finding(Reason.BANNED_PURPOSE)),
    ([internal], BANNED, MOBILE, Finding(OPPOSED, ("internal",))),
    ([no_list, consent, no_washed], BANNED._replace(contract=True), MOBILE, Finding(CONSENTED)),
    ([no_list, no_consent, no_washed], BANNED._replace(contract=True), MOBILE, Finding(Reason.CONTRACT)),
    (
        [no_list, consent, no_washed],
        Facts(("press", "energy-renovation")),
        MOBILE,
        Finding(Reason.BANNED_PURPOSE),
    ),
    # what lifts the want of consent
    ([no_list, no_consent, no_washed], CONTRACT, MOBILE, Finding(Reason.CONTRACT)),
    ([no_list, no_consent, no_washed], PRESS, MOBILE, Finding(Reason.EXEMPT)),
    ([no_list, consent, no_washed], CONTRACT, MOBILE, Finding(CONSENTED)),
    (
        [no_list, no_consent, no_washed],
        Facts(("press",), contract=True),
        MOBILE,
        Finding(Reason.CONTRACT),
    ),
    # fresh and stale together
    ([old_list, no_consent, no_washed], NO_FACTS, MOBILE, Finding(NO_CONSENT)),
    ([bloctel, old_consent, no_washed], NO_FACTS, MOBILE, Finding(OPPOSED, ("list",))),
    ([no_list, old_consent, no_washed], NO_FACTS, MOBILE, Finding(STALE, ("consent",))),
    ([no_list, no_consent], NO_FACTS, MOBILE, Finding(STALE, ("washed",))),
    ([no_list, consent], NO_FACTS, MOBILE, Finding(CONSENTED)),
    ([old_list, consent, no_washed], NO_FACTS, MOBILE, Finding(STALE, ("list",))),
    ([old_list, old_consent], NO_FACTS, MOBILE, Finding(STALE, ("list", "consent", "washed"))),
    (
        [no_list, law.register("consent", [NUMBER]), no_washed],
        NO_FACTS,
        MOBILE,
        Finding(STALE, ("consent",)),
    ),
    # the company's own list, when the rule says that it may grow too old
    (
        [no_list, consent, no_washed, law.register("internal", days_old=51)],
        NO_FACTS,
        MOBILE,
        Finding(STALE, ("internal",)),
    ),
    (
        [no_list, consent, no_washed, law.register("internal", days_old=51)],
        CONTRACT,
        MOBILE,
        Finding(STALE, ("internal",)),
    ),
    (
        [no_list, no_consent, no_washed, law.register("internal", days_old=51)],
        NO_FACTS,
        MOBILE,
        Finding(NO_CONSENT),
    ),
    (
        [no_list, consent, no_washed, law.register("internal", [NUMBER], days_old=51)],
        CONTRACT,
        MOBILE,
        Finding(OPPOSED, ("internal",)),
    ),
    # scopes
    ([no_list, no_consent, no_washed, law.allow("consent@acme", [NUMBER])], ACME, MOBILE, Finding(CONSENTED)),
    (
        [no_list, no_consent, no_washed, law.allow("consent@acme", [NUMBER])],
        NO_FACTS,
        MOBILE,
        Finding(NO_CONSENT),
    ),
    (
        [no_list, no_washed, law.allow("consent@acme", [])],
        ACME,
        MOBILE,
        Finding(STALE, ("consent",)),
    ),
]


@pytest.mark.parametrize(("registers", "told", "line", "expected"), OPT_OUT_TABLE)
def test_where_the_law_is_opt_out(registers, told, line, expected):
    """A person who opposed would be called, or a lead lost that could be sold."""
    assert found(OUT, registers, told, line) == expected


@pytest.mark.parametrize(("registers", "told", "line", "expected"), OPT_IN_TABLE)
def test_where_the_law_is_opt_in(registers, told, line, expected):
    """A person who never consented would be called, or one who did be lost."""
    assert found(IN, registers, told, line) == expected


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        ([], Finding(NO_RULE)),
        ([bloctel], Finding(NO_RULE)),
        ([internal], Finding(OPPOSED, ("internal",))),
        ([law.register("internal@acme", [NUMBER])], Finding(OPPOSED, ("internal@acme",))),
        ([law.allow("internal", [NUMBER])], Finding(NO_RULE)),
    ],
)
@pytest.mark.parametrize("told", [ACME, Facts(("press",), contract=True, campaigns=("acme",))])
def test_a_country_without_a_rule_blocks(registers, expected, told):
    """A country whose law nobody has read would be called."""
    assert found(OUT, registers, told, Line.of("GB", "mobile")) == expected


@pytest.mark.parametrize(
    ("number", "reason"), [(33162123456, Reason.NOT_CALLABLE), (33163123456, CONSENTED), (NUMBER, CONSENTED)]
)
def test_a_prefix_that_is_never_a_consumer_is_not_called(number, reason):
    """A robot's or an operator's own line would be dialled."""
    registers = [no_list, law.allow("consent", [number]), no_washed]

    assert found(IN, registers, line=Line.of("FR", "fixed_line"), number=number) == Finding(reason)


def test_before_the_first_rule_of_a_country_nobody_is_called():
    """A verdict about a past day would be given by a law that was not there yet."""
    long_ago = law.NOW - timedelta(days=10_000)

    assert found(OUT, [no_list], now=long_ago) == Finding(NO_RULE)


def test_only_internal_of_a_rule_that_names_it_alone_may_be_absent():
    """A free regime would hold for ever, or a list that was never imported count as empty."""
    free = OUT.replace('["list", "internal"]', '["internal"]').replace("max_age_days = { list = 30 }\n", "")

    assert found(free, []) == Finding(CLEAR)
    assert found(free, [internal]) == Finding(OPPOSED, ("internal",))
    assert found(free, [internal], CONTRACT) == Finding(OPPOSED, ("internal",))


def test_a_contract_excuses_only_where_the_rule_says_so():
    """Whoever writes "contract" into a lead could call for a purpose that the law bans for everybody."""
    strict = IN.replace('lifted_by = ["contract", "press"]', "lifted_by = []")
    registers = [no_list, consent, no_washed]

    assert found(strict, registers, BANNED._replace(contract=True)) == Finding(Reason.BANNED_PURPOSE)
    assert found(strict, [bloctel, consent, no_washed], CONTRACT) == Finding(OPPOSED, ("list",))
    assert found(strict, [no_list, no_consent, no_washed], CONTRACT) == Finding(NO_CONSENT)


def test_internal_blocks_where_the_rule_does_not_name_it():
    """A rule file that forgot the company's own list would have its opponents called."""
    silent = OUT.replace('["list", "internal"]', '["list"]')

    assert found(silent, [no_list, internal]) == Finding(OPPOSED, ("internal",))


@pytest.mark.parametrize(
    "contract",
    [
        *(
            False,
            None,
            0,
            "",
            "  ",
            "0",
            "no",
            "No",
            "NONE",
            "null",
            "false",
            "n",
            "non",
            "Nein",
            "nee",
            "n/a",
        ),
        *(1.5, [], ["C-1"], {}, {"id": 1}),
    ],
)
def test_a_word_that_denies_a_contract_is_none(contract):
    """A CRM that writes "non" would lift the opposition of everybody in it."""
    assert facts_of(None, contract, None, contract_shapes=("C-#+",)).contract is False


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
    [
        ["insurance"] * 101,
        [f"p{n}" for n in range(500_000)],
        "é" * 2_000_000,
        ["é" * 2_000_000],
        [[f"p{n}" for n in range(500_000)]],
        [["é" * 2_000_000]],
    ],
    ids=["too many", "very many", "long", "a long one", "a list in a list", "a long one in a list"],
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


def test_a_campaign_named_twice_counts_once():
    """A stamp would name the same register twice."""
    told = facts_of(None, None, ["Acme", "ACME ", "acme"])

    assert told.campaigns == ("acme",)
    assert found(OUT, [no_list, law.register("internal@acme", [NUMBER])], told).registers == (
        "internal@acme",
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_one_verdict(reason):
    """A dialler that looks at the verdict alone would call for a reason that blocks."""
    allowing = {Reason.CLEAR, Reason.CONSENTED, Reason.CONTRACT, Reason.EXEMPT}

    assert reason.verdict is (Verdict.ALLOWED if reason in allowing else Verdict.BLOCKED)
