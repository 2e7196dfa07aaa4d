"""What `rules check` finds between the files, the numbering plans and the log."""

from dataclasses import replace
from datetime import date

import msgspec
import pytest

from stream_scrub.queries import rules_report
from stream_scrub.rules import Country, Rulebook, RuleFile
from tests.support.fakes import law

NOW = law.NOW
HEAD = 'country = "FR"\nregions = ["FR"]\ntimezone = "Europe/Paris"\n'
RULE = (
    '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\nmax_age_days = { list = 3 }\n'
)
OPT_IN = RULE + 'require = ["consent"]\n'
NAMED = RULE + 'named_consents = ["named"]\n'
OF_TYPE = RULE + 'require_named_for = { mobile = ["named"] }\n'


def country(text: str) -> Country:
    (read,) = Rulebook.of([RuleFile("fr.toml", "fr.toml", text.encode())]).countries.values()
    return read


FRESH = law.register("list")
NEVER = "{} was never imported, and the rules of FR need it: prospects there wait, or are blocked as stale-register"


@pytest.mark.parametrize(
    ("rules", "registers", "expected"),
    [
        (RULE, [FRESH, law.register("internal")], []),
        (RULE, [], [NEVER.format("list")]),
        (OPT_IN, [FRESH], [NEVER.format("consent")]),
        # what rules of other days name
        (
            RULE.replace('"list"', '"old"').replace("list =", "old =") + RULE.replace("2020", "2021"),
            [FRESH],
            [],
        ),
        (
            RULE + RULE.replace('"list"', '"new"').replace("list =", "new =").replace("2020", "2030"),
            [FRESH],
            [NEVER.format("new")],
        ),
        # not what the rules need
        (
            RULE,
            [law.register("list", days_old=4)],
            ["list is from 2026-11-20T12:00:00Z, too old for the rules of FR: import a fresh list"],
        ),
        (
            OPT_IN,
            [FRESH, law.register("consent")],
            ["consent is of kind deny on the log, and the rules of FR need allow: it counts as stale there"],
        ),
        (
            OPT_IN,
            [FRESH, replace(law.allow("consent"), next_end=NOW)],
            [
                "consent still has expired numbers, so it is stale: run `lists publish`",
            ],
        ),
        # what rests after too many calls
        (RULE + "attempts = { most = 4, days = 30 }\n", [FRESH, law.register("rested")], []),
        (
            RULE,
            [FRESH, law.register("rested")],
            ["rested is on the log and no rule of today or later names it: it blocks nothing"],
        ),
        # under a name that nobody looks for
        (
            RULE,
            [FRESH, law.register("internl")],
            [
                'internl is on the log and no rule of today or later names it: it blocks nothing: did you mean "internal"?'
            ],
        ),
        # with scopes
        (
            RULE,
            [FRESH, law.register("internal@acme"), law.register("internal@beta")],
            [],
        ),
        (
            RULE,
            [law.register("list@acme", days_old=4)],
            [
                NEVER.format("list"),
                "list@acme is from 2026-11-20T12:00:00Z, too old for the rules of FR: import a fresh list",
            ],
        ),
        # consents that name the caller: only scoped ones count, and none has to be there
        (NAMED, [FRESH], []),
        (
            NAMED,
            [FRESH, law.register("named@acme")],
            [
                "named@acme is of kind deny on the log, and the rules of FR need allow: it counts as stale there",
            ],
        ),
        # and so are those that only some types of numbers need
        (
            OF_TYPE,
            [FRESH, law.register("named@acme")],
            [
                "named@acme is of kind deny on the log, and the rules of FR need allow: it counts as stale there",
            ],
        ),
    ],
)
def test_the_log_held_against_the_rules(rules, registers, expected):
    """A list that is missing, old or under a wrong name would be noticed when leads stop, or somebody is called."""
    assert rules_report.log_warnings([country(HEAD + rules)], law.index(*registers), NOW) == expected


def test_consents_that_name_nobody_are_told_until_the_house_has_a_name():
    """An operator would learn from a day of blocked leads that one line of configuration was missing."""
    asking = country(HEAD + RULE + 'require_named = ["consent"]\n')
    unnamed, of_one = law.allow("consent", [33612345678]), law.allow("consent@acme", [33612345678])

    (said,) = rules_report.log_warnings([asking], law.index(FRESH, unnamed), NOW)
    assert said.startswith(
        "consent has 1 numbers without a campaign, and under the law of FR they permit no call"
    )
    assert rules_report.log_warnings([asking], law.index(FRESH, unnamed), NOW, "acme") == []
    assert rules_report.log_warnings([asking], law.index(FRESH, of_one), NOW) == []
    (said,) = rules_report.log_warnings([asking], law.index(FRESH), NOW)
    assert said.startswith("consent was never imported")
    told = [rules_report.warnings([asking], (), NOW, default_campaign=house) for house in ("", "acme", None)]
    assert [any("prospect.default_campaign" in each for each in said) for said in told] == [
        True,
        False,
        False,
    ]


def test_consents_that_every_campaign_may_use_are_told():
    """One client's leads would be called for another, and nobody notice that the list says so."""
    asking = country(HEAD + RULE + 'require = ["consent"]\n')
    to_all, of_one = law.allow("consent", [33612345678]), law.register("internal@acme")

    assert not any(
        "every campaign" in w for w in rules_report.log_warnings([asking], law.index(FRESH, to_all), NOW)
    )
    *_, said = rules_report.log_warnings([asking], law.index(FRESH, to_all, of_one), NOW)
    assert said.startswith(
        "consent has 1 numbers that every campaign may call for every purpose, and the law of FR"
    )


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "IE",
            "A number of the type mobile that is not in the consent@campaign of the prospect's own campaign is blocked, unless"
            " all its purposes are survey (Data Protection Commission: genuine market research is no direct marketing).",
        ),
        ("GB", "Numbers of these types are never called: pager, premium rate, shared cost, voicemail."),
    ],
)
def test_a_rule_says_in_words_what_it_asks(code, sentence):
    """Whoever answers for the calls could not read what blocks them."""
    shipped = Rulebook.load().countries[code]
    day = rules_report.of_day(shipped, date(2026, 11, 24))
    assert sentence in day.rule.says
    if code == "IE":
        use = ("consent", "require named for mobile", None)
        assert use in [(each.register, each.role, each.max_age_days) for each in day.rule.registers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + RULE, []),
        (
            (HEAD + RULE).replace('["FR"]', '["FR", "UK", "001"]'),
            ["fr.toml: no number has the region UK: use an ISO 3166-1 code"],
        ),
        (HEAD + RULE + 'not_callable = ["+33162", "+33949", "+3374"]\n', []),
        (
            HEAD + RULE + 'not_callable = ["+44", "+3300", "+330"]\n',
            [
                f"fr.toml: `not_callable`: no valid number of FR seems to begin with {prefix}: it blocks nothing"
                for prefix in ("+44", "+3300", "+330")
            ],
        ),
    ],
)
def test_what_the_numbering_plans_know_better(text, expected):
    """A region or a prefix that no number has would bar nobody, and nobody would notice."""
    assert rules_report.warnings([country(text)], (), NOW) == expected


def test_a_day_of_a_country():
    """A machine that reads the report would find another rule than a worker judges by."""
    shipped = Rulebook.load().countries["FR"]
    told = msgspec.to_builtins(rules_report.of_day(shipped, date(2026, 8, 10)))
    rule = shipped.on(date(2026, 8, 10))
    assert told["rule"]["rules"] == rule.digest and told["rule"]["to"] == "2026-08-10"
    assert told["rule"]["registers"] == [
        {"register": "internal", "role": "deny", "max_age_days": None},
        {"register": "bloctel-clean", "role": "wash", "max_age_days": 30},
        {"register": "consent-artificial", "role": "artificial voice", "max_age_days": None},
    ]
    assert told["rule"]["text"].encode() == rule.text
    assert told["next"]["from"] == "2026-08-11" and told["on"] == "2026-08-10"
    before = msgspec.to_builtins(rules_report.of_day(shipped, date(2000, 1, 1)))
    assert before["rule"] is None and before["next"]["from"] == "2011-12-01"
    assert rules_report.of_day(shipped, date(2026, 8, 11)).next is None


def test_a_state_of_ones_own_is_told_what_its_country_asks(tmp_path):
    """Its rule replaces the country's: people of the national register would be called."""
    (tmp_path / "us-ca.toml").write_text(
        'country = "US-CA"\nregions = ["US-CA"]\nprefixes = ["+1213"]\n[[rule]]\nfrom = 2026-01-01\nsource = "ours"\n'
        'deny = ["internal"]\n'
    )
    book, shipped = Rulebook.load(tmp_path), Rulebook.load()
    told = rules_report.warnings(book.countries.values(), shipped.countries.values(), NOW)
    (line,) = [each for each in told if "asks more" in each]
    assert "us-ca.toml: on 2026-11-24 the shipped rule us@" in line and "asks more: deny us-dnc;" in line


_FR_HOURS = '["10:00-13:00", "14:00-20:00"]'
_FR_LACKS = "hours Mon-Fri 10:00-13:00, 14:00-20:00"


@pytest.mark.parametrize(
    ("code", "old", "new", "lacks"),
    [
        ("fr", "attempts = ", "# attempts = ", "attempts most = 4, days = 30, refusal_withdraws = true"),
        ("fr", "consent = 365", "consent = 400", "consent_days consent = 365"),
        ("fr", "dated_consents = ", "# dated_consents = ", "dated_consents consent, consent-artificial, consent-hours"),
        ("fr", "most = 4", "most = 3", None),
        ("es", "\nhours = ", "\n# hours = ", "hours Mon-Fri 09:00-21:00"),
        ("fr", "windows_only = true, ", "", _FR_LACKS),
        ("fr", _FR_HOURS, '["09:00-20:00"]', _FR_LACKS),
        ("fr", _FR_HOURS, '["10:30-12:00"]', None),
        ("fr", 'RE = ["FR-RE"], ', "", _FR_LACKS),
        ("fr", "from = 2026-08-11", "from = 2026-10-01", None),
        ("gb", "tps = 28", "tps = 60", "max_age_days tps = 28"),
        ("es", "valid_days = 1 ", "valid_days = 30 ", "valid_days 1"),
        ("gr", "valid_days = 30", "valid_days = 7", None),
        ("it", "banned_despite_contract", "banned_purposes", "banned_despite_contract electricity, gambling, gas, lottery"),
    ],
)  # fmt: skip
def test_an_own_file_is_told_each_requirement_that_it_lacks(tmp_path, code, old, new, lacks):
    """A copy of rules from before the law counted calls or set hours would let people be called at night, for the fifth time."""
    shipped = Rulebook.load()
    text = shipped.countries[code.upper()].text
    assert old in text
    (tmp_path / f"{code}.toml").write_text(text.replace(old, new))
    book = Rulebook.load(tmp_path)
    told = rules_report.warnings(book.countries.values(), shipped.countries.values(), NOW)
    found = [each.split(" asks more: ")[1] for each in told if "asks more" in each]
    assert found == ([] if lacks is None else [f"{lacks}: take it over, unless you know better"])
