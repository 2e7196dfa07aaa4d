"""The text behind a digest: what a stamp names is kept word for word, and read again years later."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.rules import Archive, Country, Rulebook, RuleFile, digest_of, read_text, text_of
from stream_scrub.rules import country as text_module
from stream_scrub.rules.country import Exemption

KEPT = Path(__file__).parents[2] / "golden" / "rules" / "kept"
HEAD = 'country = "XX"\nregions = ["XX", "XY"]\ntimezone = "Europe/Paris"\n'
RULE = (
    '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\nmax_age_days = { list = 3 }\n'
)
NEXT = RULE.replace("2020", "2022")
GOOD = HEAD + RULE


def country(text: str) -> Country:
    return Rulebook.of([RuleFile("xx.toml", "xx.toml", text.encode())]).countries["XX"]


@pytest.mark.parametrize("path", sorted(KEPT.iterdir()), ids=lambda path: path.name)
def test_a_text_that_was_kept_is_read_for_ever(path):
    """An upgrade would leave the stamps of earlier years without the rules that they name, or one flipped bit pass."""
    text = path.read_bytes()
    assert digest_of(text) == path.stem
    archive = Archive([text])
    read = archive.country(path.stem)
    assert read is not None
    assert {(rule.digest, rule.text) for rule in read.rules} == {(path.stem, text)}
    book = archive.book([path.stem])
    assert book.on(read.regions[-1], read.rules[0].start) == read.rules[0]
    assert archive.lacks(book) == []


def test_every_key_is_in_the_text():
    """A rule would come back without what it asked, and an old verdict be another when it is given again."""
    (path,) = KEPT.glob("xx@*.toml")
    (rule,) = read_text(path.read_bytes()).rules
    assert (rule.start, rule.end) == (date(2020, 2, 29), date(2031, 12, 31))
    assert rule.source == 'every key at once: "quotes", back\\slash, é, tab\t'
    assert (rule.deny, rule.require) == (("list", "other", "internal"), ("consent", "washed"))
    assert rule.require_named == ("own",)
    assert (rule.wash, rule.wash_named) == (("clean",), ("own-clean",))
    assert rule.require_named_for == {"mobile": ("own", "signed"), "voip": ("own",)}
    assert (rule.lifted_by, rule.named_consents) == (("contract", "press"), ("consent",))
    assert (rule.max_age_days, rule.areas, rule.valid_days) == ({"consent": 10, "list": 30}, {"list": 4}, 28)
    assert rule.consent_days == {"consent": 730}
    assert rule.banned_purposes == {"a", "b"} and rule.banned_despite_contract == {"d"}
    assert rule.banned_without_consent == {"e"} and rule.banned == {"a", "b", "d", "e"}
    (exemption,) = rule.exempt
    assert exemption == Exemption(
        "art. 1", True, ("press",), ("other",), "company", "purchase", 18, 0, ("require",), ("a",)
    )
    assert (rule.artificial_voice, rule.channels) == (("consent-artificial",), ("sms", "voice"))
    assert rule.uncertain == ("one", "two")
    assert (rule.not_callable_types, rule.not_callable_prefixes) == (
        {"premium_rate", "voicemail"},
        ("1900", "1976"),
    )
    assert rule.scoped == ("consent", "own", "signed", "consent-artificial", "own-clean")
    assert rule.purposes == {"a": ("a",), "c": ("c",), "e": ("a",), "one-word": ("a", "c")}
    assert rule.meanings("One word") == {"a", "c"} and rule.meanings("B") == {"b"}
    assert text_of(rule, ["XX", "XY"], "Etc/GMT+5") == path.read_bytes()


@pytest.mark.parametrize("reading", ["2", "0", '"1"', "true"])
def test_a_text_of_another_reading_is_refused(reading):
    """A rule would be applied with a meaning that it did not have when its verdicts were given."""
    text = country(GOOD).rules[0].text
    assert b"reading = 1\n" in text and country(GOOD + "reading = 1\n").rules[0].text == text
    with pytest.raises(ConfigError, match=r"`reading` must be 1, .* install the release that wrote it"):
        read_text(text.replace(b"reading = 1\n", f"reading = {reading}\n".encode()))
    with pytest.raises(ConfigError, match=r"`reading` must be 1, .*: remove it from a file of your own"):
        country(f"{GOOD}reading = {reading}\n")


def test_a_digest_is_of_what_the_rule_asks_and_of_nothing_else():
    """A comment or a rule of a later day would rename the law that years of stamps were given by."""
    (rule,) = country(GOOD).rules
    assert rule.digest == digest_of(rule.text)
    for same in (
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        "# why\n" + GOOD.replace(" = ", "=") + "\n\n",
        HEAD + RULE.replace("2020", "2012") + RULE,
        GOOD.replace('deny = ["list", "internal"]\n', "") + 'deny = [\n  "list",\n  "internal", # ours\n]\n',
    ):
        assert country(same).rules[-1].digest == rule.digest, same
    for other in (
        GOOD.replace('"law"', '"lax"'),
        GOOD.replace('"XX", "XY"', '"XX"'),
        GOOD.replace("Paris", "Berlin"),
        GOOD + "valid_days = 3\n",
        GOOD + "to = 2021-12-31\n",
        GOOD + 'uncertain = ["all of it"]\n',
        GOOD.replace("list = 3", "list = 4"),
    ):
        assert country(other).rules[0].digest != rule.digest, other


def test_every_shipped_rule_comes_back_from_its_text():
    """An old verdict could not be given again."""
    book = Rulebook.load()
    assert len(book.texts) == sum(len(each.rules) for each in book.countries.values())
    for each in book.countries.values():
        for rule in each.rules:
            read = read_text(book.texts[rule.digest])
            assert read.rules == (rule,)
            assert (read.code, read.regions, read.timezone) == (each.code, each.regions, each.timezone)


def test_a_book_of_digests_answers_with_exactly_those_rules():
    """A stamp would be replayed by today's law, or a number of another country be given one that it never had."""
    today = Rulebook.load()
    archive = Archive(today.texts.values())
    old, british = today.on("FR", date(2026, 8, 10)), today.on("GB", date(2026, 8, 10))
    book = archive.book([old.digest, british.digest, old.digest])
    at = datetime(2026, 8, 10, 12, tzinfo=UTC)
    assert book.rule("RE", at) == old and book.rule("GB", at) == british
    assert book.day("FR", datetime(2026, 8, 10, 22, 30, tzinfo=UTC)) == date(2026, 8, 11)
    assert book.rule("FR", datetime(2026, 8, 10, 22, 30, tzinfo=UTC)) is None
    assert book.rule("US", at) is None and archive.book([]).rule("FR", at) is None


def test_a_book_of_digests_that_were_never_kept_is_refused():
    """A verdict would be called the same though the rules that it names are lost."""
    today = Rulebook.load()
    archive = Archive(today.texts.values())
    with pytest.raises(KeyError):
        archive.book(["fr@000000"])
    assert archive.country("fr@000000") is None and archive.text("fr@000000") is None
    both = [today.on("FR", day).digest for day in (date(2026, 8, 10), date(2026, 8, 11))]
    with pytest.raises(ConfigError, match="two rules of FR"):
        archive.book(both)


def test_an_archive_says_what_is_still_to_be_kept():
    """A stamp would go out by a rule whose text nobody kept."""
    book = Rulebook.load()
    texts = sorted(book.texts.values())
    archive = Archive(texts[3:])
    assert sorted(archive.lacks(book)) == texts[:3]
    grown = Archive(texts)
    assert grown.lacks(book) == [] and len(grown) == len(texts) and all(each in grown for each in book.texts)
    assert len(archive) == len(texts) - 3


def test_a_text_of_a_later_version_spoils_only_itself():
    """After a step back to an older version no old stamp at all could be replayed."""
    text = country(GOOD).rules[0].text
    later = text + b'moon = "full"\n'
    archive = Archive([text, later])
    assert archive.country(digest_of(text)) is not None
    with pytest.raises(ConfigError, match='unknown key "moon"'):
        archive.country(digest_of(later))


@pytest.mark.parametrize("text", [b"", b"country = FR\n", b"\xff\xfe", b'# country = "FR"\n'])
def test_bytes_that_are_no_rule_are_no_text(text):
    """Garbage on the log would be taken for a rule."""
    with pytest.raises(Corrupt, match="names no country"):
        Archive([text])
    with pytest.raises(ConfigError, match="names no country"):
        read_text(text)


@pytest.fixture
def short(monkeypatch):
    """Digests of one hex digit, so that two rules meet in one."""
    monkeypatch.setattr(text_module, "DIGEST_DIGITS", 1)


def colliding() -> tuple[str, str]:
    """Two sources whose rules have one digest."""
    seen: dict[str, str] = {}
    for number in range(99):
        digest = country(GOOD.replace('"law"', f'"law {number}"')).rules[0].digest
        if digest in seen:
            return seen[digest], f"law {number}"
        seen[digest] = f"law {number}"
    raise AssertionError


def test_two_rules_of_a_file_may_not_share_a_digest(short):
    """A stamp would name two laws at once."""
    rules = "".join(RULE.replace("2020", str(2000 + at)) for at in range(20))
    with pytest.raises(ConfigError) as caught:
        country(HEAD + rules)
    assert any("as well: change a word of the source" in problem for problem in caught.value.problems)


def test_a_rule_may_not_share_its_digest_with_one_that_was_kept(short):
    """A stamp of years ago would be replayed by a law of today."""
    old, new = colliding()
    kept = country(GOOD.replace('"law"', f'"{old}"')).rules[0].text
    archive = Archive([kept])
    book = Rulebook.of([RuleFile("xx.toml", "xx.toml", GOOD.replace('"law"', f'"{new}"').encode())])
    with pytest.raises(ConfigError, match="the same digest: change a word of the source"):
        archive.lacks(book)
    with pytest.raises(Corrupt, match="two texts with the digest"):
        Archive([kept, *book.texts.values()])
