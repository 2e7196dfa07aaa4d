"""Rules as values: any of them comes back from its text, and any list of them has one rule or none for each day."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.imports.parsing import cells
from stream_scrub.model import RegisterKind
from stream_scrub.rules import (
    Country,
    Rule,
    Rulebook,
    RuleFile,
    digest_of,
    in_words,
    read_text,
    text_of,
)
from stream_scrub.rules.names import NUMBER_TYPES
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS, NUMBER

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
    own = tuple(draw(st.lists(st.sampled_from(["own", "own-too"]), unique=True)))
    used = [*deny, *require, *named, *own]
    types = st.sampled_from(sorted(NUMBER_TYPES))
    signed = st.lists(st.sampled_from(["signed", "own"]), unique=True, min_size=1).map(tuple)
    of_types = draw(st.dictionaries(types, signed, max_size=2))
    used += sorted({name for names in of_types.values() for name in names} - {*used})
    lifted = draw(WORDS)
    banned = frozenset(draw(WORDS)) - set(lifted)
    start = draw(st.dates())
    prefixes = st.from_regex(r"[1-9][0-9]{0,14}", fullmatch=True)
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
        banned_purposes=banned,
        not_callable_types=frozenset(draw(st.lists(types))),
        not_callable_prefixes=tuple(draw(st.lists(prefixes.filter(str.isascii), unique=True))),
        uncertain=tuple(draw(st.lists(TEXTS, unique=True, max_size=3))),
        require_named=own,
        require_named_for=of_types,
        banned_despite_contract=frozenset(draw(WORDS)) - set(lifted) - banned,
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


ZONES = ["Europe/Paris", "America/New_York", "Pacific/Auckland"]
MOMENTS = st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
HOURS = st.integers(-30 * 24, 100 * 24).map(lambda hours: timedelta(hours=hours))


@given(rules(), st.sampled_from(ZONES), MOMENTS, st.sampled_from([{}, {"contract": True}]), st.data())
def test_no_verdict_outlives_what_it_rests_on(rule, zone, now, told, data):
    """A number would be dialled by a list that is older than the law allows, or by a consent that has ended."""
    day = now.astimezone(ZoneInfo(zone)).date()
    lifts = data.draw(st.sampled_from([rule.lifted_by, ("contract",)]))
    rule = replace(
        rule,
        country="FR",
        start=date.min,
        end=rule.end and max(rule.end, day),
        lifted_by=lifts,
    )
    rule = replace(
        rule, not_callable_types=frozenset(), not_callable_prefixes=(), areas={}, banned_purposes=frozenset()
    )
    signed = data.draw(st.sampled_from([(), ("signed",)]))
    rule = replace(
        rule,
        banned_despite_contract=frozenset(),
        require_named_for={"mobile": signed} if signed else {},
        named_consents=(),
        require_named=(),
        wash_named=(),
    )
    held, ages, ends, registers = set(), {}, {}, []
    for name in {*rule.deny, *rule.require, *rule.wash, *signed}:
        allows = name not in rule.deny
        kind = RegisterKind.ALLOW if allows else RegisterKind.DENY
        age = data.draw(HOURS)
        end = data.draw(st.none() | HOURS.map(lambda ahead: now + ahead)) if allows else None
        inside = data.draw(st.booleans()) if allows else data.draw(st.integers(0, 9)) == 0
        made = law.register(f"{name}@acme" if name in signed else name, [NUMBER] * inside, kind=kind)
        registers.append(replace(made, effective_at=now - age, next_end=end))
        held |= {name} if inside else set()
        ages[name], ends[name] = (now - age).astimezone(ZoneInfo(zone)).date(), end
    book = Rulebook([Country("FR", ("FR",), zone, (rule,), "", "fr.toml")])
    prospect = json.dumps({"phone": f"+{NUMBER}", "campaign": "acme", **told}).encode()
    terms = Terms(MEMBERS, stamp="header", stale="block")
    (made,) = Scrubber(terms, book).scrub([prospect], law.index(*registers), now).stamps
    stamp = json.loads(made)
    if stamp["verdict"] == "blocked":
        return
    until = date.fromisoformat(stamp["until"]) if "until" in stamp else date.max

    def lasts(name):
        days = rule.max_age_days.get(name)
        young = days is None or until <= ages[name] + timedelta(days=days)
        end = ends[name]
        over = datetime.combine(until, time.max, ZoneInfo(zone)) if until < date.max else None
        if over is None:
            return young and (end is None or end - now > FAR)
        same = until == day or (end and end.timestamp() == cells.earliest(until + timedelta(days=1)))
        return young and (end is None or same or over < end or end - now > FAR)

    assert rule.valid_days is None or until <= day + timedelta(days=rule.valid_days)
    assert rule.end is None or until <= rule.end
    assert until >= day
    if stamp["reason"] not in {"contract", "exempt"}:
        assert all(lasts(name) for name in rule.deny)
        assert not rule.require or any(lasts(name) for name in held if name in rule.require)
        assert all(name in held and lasts(name) for name in (*signed, *rule.wash))
    if stamp["reason"] == "consented":
        assert until <= day + timedelta(days=1)


FAR = timedelta(days=3661)
