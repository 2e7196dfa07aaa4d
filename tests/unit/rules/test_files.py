"""Rule files: what is wrong is told all at once, with file, line and remedy; a user's folder goes over the shipped ones."""

import pickle
from datetime import date

import pytest

from stream_scrub.errors import ConfigError
from stream_scrub.model import RegisterKind
from stream_scrub.rules import Country, Rulebook, RuleFile

HEAD = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n'
RULE = '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\n'
GOOD = HEAD + RULE


def problems(text: str | bytes, name: str = "xx.toml") -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        Rulebook.of([RuleFile(name, f"rules/{name}", content)])
    return caught.value.problems


def country(text: str, name: str = "xx.toml") -> Country:
    return Rulebook.of([RuleFile(name, name, text.encode())]).countries["XX"]


ONE_PROBLEM = [
    (GOOD + "denny = []\n", 8, 'unknown key "denny": did you mean "deny"?'),
    (
        HEAD + 'shape = "round"\n' + RULE,
        4,
        'unknown key "shape": use one of country, evidence_days, prefixes, regions, rule, timezone',
    ),
    (GOOD.replace('deny = ["list", "internal"]', "deny = 3"), 7, "`deny` must be a list of texts"),
    (GOOD.replace('"list", "internal"', '"list", "list"'), 7, "`deny` names something twice"),
    (GOOD.replace('"list"', '"list@acme"'), 7, "has a scope"),
    (GOOD.replace('"list"', '"List"'), 7, "is not a register name"),
    (GOOD.replace('"list"', '"of-33612345678"'), 7, "looks like a phone number"),
    (GOOD.replace("2020-01-01", '"2020-01-01"'), 5, "`from` must be a day without quotes or hours"),
    (GOOD.replace("2020-01-01", "2020-01-01T00:00:00Z"), 5, "`from` must be a day without quotes or hours"),
    (GOOD.replace('source = "law"\n', ""), 4, "`source` is missing"),
    (GOOD.replace('"law"', '"  "'), 6, "`source` must be a text that is not empty"),
    (GOOD.replace('deny = ["list", "internal"]\n', ""), 4, "the rule requires nothing"),
    (GOOD + 'require = ["list"]\n', 8, "is in `deny` as well"),
    (
        HEAD + RULE.replace('"list", "internal"', '"list"') + 'require = ["internal"]\n',
        8,
        "move it to `deny`",
    ),
    (GOOD + 'lifted_by = ["consent"]\n', 8, '"consent" is a register, which lifts nothing'),
    (GOOD + 'lifted_by = [" "]\n', 8, "a word is empty"),
    (GOOD + 'lifted_by = ["Press"]\n', 8, 'would never match: write it "press"'),
    (GOOD + 'banned_purposes = ["energy_renovation"]\n', 8, 'write it "energy-renovation"'),
    (GOOD + 'lifted_by = ["press"]\nbanned_purposes = ["press"]\n', 9, "is in `lifted_by` as well"),
    (
        GOOD + 'banned_purposes = ["gas"]\nbanned_despite_contract = ["gas"]\n',
        9,
        "is in `banned_purposes` as",
    ),
    (GOOD + 'lifted_by = ["gas"]\nbanned_despite_contract = ["gas"]\n', 9, "is in `lifted_by` as well"),
    (GOOD + 'require_named_for = { mobil = ["consent"] }\n', 8, 'type of number: did you mean "mobile"?'),
    (GOOD + 'require_named_for = { mobile = ["consent@acme"] }\n', 8, "has a scope"),
    (
        GOOD + 'require_named_for = { mobile = ["list"] }\n',
        8,
        "is a register of opposition and gives no consent",
    ),
    (GOOD + 'wash = ["list"]\n', 8, '"list" is used otherwise as well'),
    (GOOD + 'wash = ["washed"]\nwash_named = ["washed"]\n', 9, '"washed" is used otherwise as well'),
    (GOOD + "require_named_for = { mobile = [] }\n", 8, "`require_named_for.mobile` asks nothing"),
    (GOOD + "max_age_days = 3\n", 8, "`max_age_days` must be a table"),
    (GOOD + "max_age_days = { lost = 3 }\n", 8, 'names "lost", which this rule does not use'),
    (GOOD + "max_age_days = { list = 0 }\n", 8, "`max_age_days.list` must be a whole number of days"),
    (GOOD + "[rule.max_age_days]\nlist = true\n", 8, "`max_age_days.list` must be a whole number of days"),
    (GOOD + "valid_days = 0\n", 8, "`valid_days` must be a whole number of days from 1"),
    (GOOD + "valid_days = 99999999999999999999\n", 8, "`valid_days` must be"),
    (GOOD + 'not_callable = ["premium-rate"]\n', 8, 'not a type of number: did you mean "premium_rate"?'),
    (GOOD + 'not_callable = ["+0162"]\n', 8, "is not a prefix"),
    (GOOD + 'not_callable = ["+٣٣"]\n', 8, "is not a prefix"),
    (GOOD + "uncertain = [\n  'real',\n  '',\n]\n", 8, "a note is empty"),
    (
        GOOD.replace("Europe/Paris", "Europe/Pari"),
        3,
        'no zone is called "Europe/Pari": did you mean "Europe/Paris"?',
    ),
    (GOOD.replace('timezone = "Europe/Paris"\n', ""), 1, "`timezone` is missing"),
    (GOOD.replace('country = "XX"', 'country = "xx"'), 1, "two capital letters"),
    (GOOD.replace('country = "XX"', 'country = "XY"').replace('["XX"]', '["XY"]'), 1, "call it xy.toml"),
    (GOOD.replace('regions = ["XX"]\n', ""), 1, "`regions` is missing or empty"),
    (GOOD.replace('["XX"]', '["YY"]'), 2, '`regions` lacks "XX"'),
    (GOOD.replace('["XX"]', '["XX", "yy"]'), 2, '"yy" is not a region'),
    (HEAD, 1, "no rule: add [[rule]]"),
    (GOOD.replace("[[rule]]", "[rule]"), 4, "`rule` must be tables: write [[rule]]"),
    (GOOD + RULE, 9, "two rules start on 2020-01-01"),
    (GOOD + RULE.replace("2020", "2019"), 9, "is below the one from 2020-01-01: put the oldest first"),
    (GOOD + "valid_days = \n", 8, "not valid TOML: Invalid value"),
    (GOOD.encode() + b"# caf\xe9\n", 8, "not UTF-8"),
    (GOOD + "uncertain = " + "[" * 5000 + "]" * 5000, 1, "nested too deep"),
    (GOOD + "#" * (1 << 18), 1, "over 262144 bytes"),
    (GOOD + "to = 2019-12-31\n", 8, "`to` is before `from`: the last day of the rule is 2020-01-01 or later"),
    (GOOD + 'to = "2021-01-01"\n', 8, "`to` must be a day without quotes or hours"),
    (
        GOOD + "to = 2021-01-01\n" + RULE.replace("2020-01-01", "2021-01-01"),
        10,
        "lasts to 2021-01-01: start after",
    ),
    (GOOD + 'named_consents = ["list"]\n', 8, '"list" is a register of opposition and lifts nothing'),
    (GOOD + 'named_consents = ["internal"]\n', 8, '"internal" is a register of opposition and lifts nothing'),
    (
        GOOD.replace('"list", "internal"', '"internal"') + 'named_consents = ["consent"]\n',
        8,
        "`deny` names nothing but internal",
    ),
    (GOOD + "areas = 4\n", 8, "`areas` must be a table, as in areas = { us-dnc = 4 }"),
    (GOOD + "areas = { internal = 4 }\n", 8, '`areas` names "internal", which this rule does not use'),
    (GOOD + "areas = { list = 1 }\n", 8, "`areas.list` must be how many digits name an area, 2 to 7"),
    (GOOD + "areas = { list = true }\n", 8, "`areas.list` must be how many digits name an area, 2 to 7"),
]


@pytest.mark.parametrize(("text", "line", "sentence"), ONE_PROBLEM, ids=range(len(ONE_PROBLEM)))
def test_a_mistake_is_told_with_its_line(text, line, sentence):
    """A mistake in a rule file would pass, or would be told without the place to mend it."""
    told = problems(text)
    assert len(told) == 1, told
    assert told[0].startswith(f"rules/xx.toml:{line}: ")
    assert sentence in told[0]


def test_every_problem_of_every_file_is_told_at_once():
    """A user would mend one mistake, start again, and meet the next."""
    first = GOOD.replace("deny", "denny") + "valid_days = 0\n"
    second = GOOD.replace("XX", "YY").replace("Europe/Paris", "Mars/Base")
    with pytest.raises(ConfigError) as caught:
        Rulebook.of(
            [
                RuleFile("xx.toml", "a/xx.toml", first.encode()),
                RuleFile("yy.toml", "b/yy.toml", second.encode()),
            ]
        )
    places = [problem.split(" ", 1)[0] for problem in caught.value.problems]
    assert places == ["a/xx.toml:4:", "a/xx.toml:7:", "a/xx.toml:8:", "b/yy.toml:3:"]


def test_a_file_of_the_same_name_replaces_the_shipped_one(tmp_path):
    """A company's stricter rules would be ignored, or mixed with the shipped ones."""
    (tmp_path / "gb.toml").write_text(GOOD.replace("XX", "GB"))
    (tmp_path / "notes.txt").write_text("not a rule file")
    (tmp_path / ".#gb.toml").write_text("an editor's lock")
    book = Rulebook.load(tmp_path)
    assert book.on("GB", date(2010, 1, 1)) is None
    assert book.on("GB", date(2026, 1, 1)).deny == ("list", "internal")
    assert book.countries["GB"].where == str(tmp_path / "gb.toml")
    assert book.on("FR", date(2026, 8, 11)) == Rulebook.load().on("FR", date(2026, 8, 11))


def test_a_file_of_another_name_adds_a_country(tmp_path):
    """Numbers of a country that is not shipped could never be called."""
    (tmp_path / "im.toml").write_text(GOOD.replace('["XX"]', '["IM", "GG", "JE"]').replace("XX", "IM"))
    (tmp_path / "fi.toml").write_text(GOOD.replace("XX", "FI").replace('timezone = "Europe/Paris"\n', ""))
    book = Rulebook.load(tmp_path)
    assert book.on("JE", date(2026, 1, 1)).country == "IM"
    assert book.countries["FI"].timezone == "Europe/Helsinki"
    assert b'timezone = "Europe/Helsinki"' in book.on("FI", date(2026, 1, 1)).text
    assert "list" in book.registers and len(book.countries) == len(Rulebook.load().countries) + 2
    # The day on which a law changes would be guessed in a country of many zones.
    (tmp_path / "br.toml").write_text(GOOD.replace("XX", "BR").replace('timezone = "Europe/Paris"\n', ""))
    with pytest.raises(ConfigError, match=r"br\.toml:1: `timezone` is missing"):
        Rulebook.load(tmp_path)


STATE = GOOD.replace('["XX"]', '["XX-Y"]\nprefixes = ["+9991", "+9992"]').replace('"XX"', '"XX-Y"')


def test_two_files_may_not_claim_one_number_or_region(tmp_path):
    """Which of two laws judges a number would depend on the order of the files."""
    (tmp_path / "xx-y.toml").write_text(STATE)
    (tmp_path / "xx-z.toml").write_text(STATE.replace("XX-Y", "XX-Z").replace("+9991", "+99912"))
    (tmp_path / "mc.toml").write_text(GOOD.replace('["XX"]', '["MC", "FR"]').replace("XX", "MC"))
    with pytest.raises(ConfigError) as caught:
        Rulebook.load(tmp_path)
    xx_y, xx_z = (f"{tmp_path}/xx-{state}.toml" for state in "yz")
    taken = (f"numbers with +{prefix} are those of {xx_y} as well" for prefix in ("99912", "9992"))
    region = f"{tmp_path}/mc.toml:2: region FR is claimed by stream_scrub/rules/fr.toml as well: leave it in one of them"
    numbers = [f"{xx_z}:3: {each}: leave them in one of them" for each in taken]
    assert sorted(caught.value.problems) == sorted([region, *numbers])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('\nprefixes = ["+9991", "+9992"]', "", "`prefixes` is missing: list how the numbers of XX-Y begin"),
        ('"+9992"', '"992"', '"992" is not a prefix'),
        ('regions = ["XX-Y"]', 'regions = ["XX-Y", "XX"]', "`regions` of a state is the state alone"),
        ('country = "XX-Y"', 'country = "XX-"', "`country` must be the two capital letters"),
    ],
)
def test_a_mistake_in_the_file_of_a_state(old, new, sentence):
    """The numbers of a state would be judged by the rules of its country, and nobody be told."""
    assert old in STATE
    assert any(sentence in problem for problem in problems(STATE.replace(old, new), "xx-y.toml"))


def test_a_folder_without_rules_is_a_mistake(tmp_path):
    """A folder that failed to mount would quietly leave the shipped rules in force."""
    unreadable = tmp_path / "unreadable"
    (unreadable / "fr.toml").mkdir(parents=True)
    for folder, sentence in (
        (tmp_path, "holds no .toml file"),
        (tmp_path / "gone", "No such file"),
        (unreadable, r"fr\.toml:1: Is a directory"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            Rulebook.load(folder)


def test_a_rule_may_end_before_another_starts():
    """A law that lapsed would go on deciding, or days without a law be judged by the one before."""
    first = GOOD + "to = 2020-06-30\n"
    read = country(first + RULE.replace("2020", "2021") + "to = 2021-12-31\n")
    days = [date(2020, 6, 30), date(2020, 7, 1), date(2020, 12, 31), date(2021, 1, 1), date(2021, 12, 31)]
    assert [read.on(day) is not None for day in days] == [True, False, False, True, True]
    assert read.on(date(2022, 1, 1)) is None
    assert read.after(date(2020, 7, 1)) == read.rules[1] and read.after(date(2021, 1, 1)) is None


def test_a_rulebook_travels_to_another_process():
    """A worker of several processes could not start."""
    book = pickle.loads(pickle.dumps(Rulebook.load()))
    assert book.on("FR", date(2026, 8, 11)) == Rulebook.load().on("FR", date(2026, 8, 11))


def test_the_rules_say_of_what_kind_their_registers_are():
    """A first import of consents would make a register of oppositions, for good."""
    kinds = Rulebook.load().kinds
    assert {kinds[name] for name in ("tps", "us-dnc", "pacitel", "internal")} == {RegisterKind.DENY}
    assert {kinds[name] for name in ("consent", "consent-since-rpo", "rpo-clean", "robinson-clean")} == {
        RegisterKind.ALLOW
    }
    assert set(kinds) >= Rulebook.load().registers


def test_a_register_on_which_rules_disagree_is_of_no_kind():
    """Whichever of two countries' files came last would say what a list is."""
    other = GOOD.replace('"XX"', '"YY"').replace('"list", "internal"', '"internal"') + 'require = ["list"]\n'
    book = Rulebook.of(
        [RuleFile(name, name, text.encode()) for name, text in (("xx.toml", GOOD), ("yy.toml", other))]
    )
    assert dict(book.kinds) == {"internal": RegisterKind.DENY}


EMERGENCY = STATE.replace(
    "[[rule]]\n",
    '[[rule]]\nnamed_consents = ["consent"]\nemergencies = [\n  { from = 2021-03-01, to = 2021-03-05, source = "Order 1" },\n'
    '  { from = 2022-03-01, source = "Order 2" },\n]\n',
)


def test_an_emergency_asks_for_a_consent_on_its_days():
    """People would be called in an emergency, or not on the day after."""
    country = Rulebook.of([RuleFile("xx-y.toml", "xx-y.toml", EMERGENCY.encode())]).countries["XX-Y"]
    days = [date(2021, 2, 28), date(2021, 3, 1), date(2021, 3, 5), date(2021, 3, 6), date(2022, 3, 1)]
    rules = [country.on(day) for day in days]
    assert [rule.require_named for rule in rules] == [(), ("consent",), ("consent",), (), ("consent",)]
    assert [rule.end for rule in rules] == [days[0], days[2], days[2], date(2022, 2, 28), None]
    assert len({rule.digest for rule in rules}) == 4


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("to = 2021-03-05, ", "", "the emergency from 2021-03-01 has no end"),
        ("to = 2021-03-05", "to = 2022-04-01", "the emergency from 2022-03-01 is not within the rule"),
        ("to = 2021-03-05", "to = 2021-02-01", "the emergency from 2021-03-01 is not within the rule"),
        ("from = 2021-03-01", "from = 2001-03-01", "the emergency from 2001-03-01 is not within the rule"),
        (', source = "Order 2"', "", "`emergencies` needs `from`, `source` and perhaps `to`"),
        ('source = "Order 2"', 'source = "Order 2", until = 2023-01-01', "`emergencies` needs"),
        ('named_consents = ["consent"]\n', "", "no consent counts in an emergency"),
    ],
)
def test_an_emergency_has_its_days_and_its_source(old, new, sentence):
    """A misspelt emergency would let people be called in it."""
    assert any(sentence in problem for problem in problems(EMERGENCY.replace(old, new), "xx-y.toml"))
