"""Rules as values: any of them comes back from its text, and any list of them has one rule or none for each day."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.rules import Country, Rule, Rulebook, RuleFile, digest_of, in_words, read_text, text_of
from stream_scrub.rules.rule import NUMBER_TYPES

FIRST = date(2000, 1, 1)
NAMES = ["list", "other", "us-dnc", "0-9", "x"]
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: bool(text.strip()))
WORDS = st.lists(st.sampled_from(["press", "survey", "a-b", "é", "42"]), unique=True).map(tuple)


@st.composite
def rules(draw) -> Rule:
    """Any rule that a file could hold."""
    deny = draw(st.lists(st.sampled_from(["internal", *NAMES[:3]]), unique=True).map(tuple))
    require = draw(st.lists(st.sampled_from(NAMES[3:]), unique=True, min_size=not deny).map(tuple))
    others = [name for name in deny if name != "internal"]
    named = tuple(draw(st.lists(st.sampled_from(["consent", "since"]), unique=True))) if others else ()
    used = [*deny, *require, *named]
    lifted = draw(WORDS)
    start = draw(st.dates())
    types, prefixes = (
        st.sampled_from(sorted(NUMBER_TYPES)),
        st.from_regex(r"[1-9][0-9]{0,14}", fullmatch=True),
    )
    return Rule(
        country="XX",
        start=start,
        end=draw(st.none() | st.dates(min_value=start)),
        source=draw(TEXTS),
        deny=deny,
        require=require,
        lifted_by=lifted,
        named_consents=named,
        max_age_days=draw(st.dictionaries(st.sampled_from(used), st.integers(1, 3660))),
        areas=draw(st.dictionaries(st.sampled_from(others), st.integers(2, 7))) if others else {},
        valid_days=draw(st.none() | st.integers(1, 3660)),
        banned_purposes=frozenset(draw(WORDS)) - set(lifted),
        not_callable_types=frozenset(draw(st.lists(types))),
        not_callable_prefixes=tuple(draw(st.lists(prefixes.filter(str.isascii), unique=True))),
        uncertain=tuple(draw(st.lists(TEXTS, unique=True, max_size=3))),
    )


@given(rules())
def test_any_rule_comes_back_from_its_text(rule):
    """Some rule, by a character in its source or a key that it leaves out, could not be replayed."""
    text = text_of(rule, ("XX", "XY"), "Europe/Paris")
    read = read_text(text)
    (again,) = read.rules
    assert text_of(again, read.regions, read.timezone) == text
    assert again.digest == digest_of(text)
    fields = [name for name in Rule.__dataclass_fields__ if name not in {"text", "digest"}]
    assert [getattr(again, name) for name in fields] == [getattr(rule, name) for name in fields]
    assert all(in_words(again))


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9)), min_size=1, max_size=5))
def test_each_day_has_the_rule_that_covers_it_or_none(spans):
    """A day between two rules, or at the edge of one, would be judged by the wrong law."""
    day, tables, expected = FIRST, [], {}
    for number, (before, length) in enumerate(spans):
        start = day + timedelta(days=before)
        last = None if length is None else start + timedelta(days=length)
        for covered in range(60):
            at = start + timedelta(days=covered)
            expected[at] = number if last is None or at <= last else None
        to = "" if last is None else f"to = {last}\n"
        tables.append(f'[[rule]]\nfrom = {start}\n{to}source = "law {number}"\ndeny = ["internal"]\n')
        day = (last or start) + timedelta(days=1)
    text = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n' + "".join(tables)
    country: Country = Rulebook.of([RuleFile("xx.toml", "xx.toml", text.encode())]).countries["XX"]
    for at, number in expected.items():
        rule = country.on(at)
        assert (None if rule is None else rule.source) == (None if number is None else f"law {number}")
        if rule is not None:
            assert rule.start <= at and (rule.end is None or at <= rule.end)
