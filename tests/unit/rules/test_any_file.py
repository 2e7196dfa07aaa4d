"""Any file at all, and any place in it: nothing but a rulebook or a sentence comes out, at the right line."""

from hypothesis import example, given
from hypothesis import strategies as st

from stream_scrub.errors import ConfigError
from stream_scrub.rules import Country, Rulebook, RuleFile
from stream_scrub.rules.check import is_timezone, read_country
from stream_scrub.toml_lines import TomlLines

HEAD = 'country = "XX"\nregions = ["XX"]\ntimezone = "Europe/Paris"\n'
RULE = '[[rule]]\nfrom = 2020-01-01\nsource = "law"\ndeny = ["list", "internal"]\n'
GOOD = HEAD + RULE


def test_lines_are_found_through_strings_comments_and_brackets():
    """A problem would be told at the line of a look-alike inside a text."""
    text = (
        'note = """\n[[rule]]\ndeny = 1 ""\\""""\n'  # lines 1 to 3
        "other = '''\n[[rule]]'''  # [[rule]]\n"  # 4 and 5
        'regions = [ # deny = 1\n  "[[rule]]", # ]\n  "x",\n]\n'  # 6 to 9
        '\n [[ rule ]] # first\n  "from" = 1\n deny.x = { a = "}" }\n'  # 11 to 13
        '[[rule]]\nfrom = 2\n[rule.max_age_days]\nlist = 1\n[tail]\nkey = "#"\n'  # 14 to 19
    )
    lines = TomlLines(text)
    assert [lines.of(key) for key in ("note", "other", "regions", "tail", "gone")] == [1, 4, 6, 18, 1]
    assert [lines.of("rule", 0, key) for key in ("from", "deny", "source")] == [12, 13, 11]
    assert [lines.of("rule", 1, key) for key in ("from", "max_age_days", "deny")] == [15, 16, 14]
    assert TomlLines("country = 1\nrule = [\n  { a = 1 },\n]").of("rule", 0, "a") == 2


WORDS = st.sampled_from(
    [
        *"country regions timezone [[rule]] [rule] from source deny require lifted_by to named_consents areas".split(),
        *"max_age_days valid_days banned_purposes banned_despite_contract require_named_for wash wash_named".split(),
        *"mobile not_callable uncertain = [ ] { } , . # 1 0 1e9 true nan \\ 2020-01-01 2020-13-45 07:00:00".split(),
        *("\n", "\r\n", '"XX"', '"list"', '"""', "'''", "9" * 5000, '"Europe/Paris"', '"\\u0000"'),
    ]
)


@given(
    st.one_of(
        st.binary(), st.text().map(str.encode), st.lists(WORDS).map(lambda words: " ".join(words).encode())
    )
)
@example(b"x = " + b"9" * 5000)
@example(b"x = " + b"[" * 3000)
@example(b"\xef\xbb\xbf" + GOOD.encode())
@example(b"\r")
def test_any_bytes_are_a_rulebook_or_a_config_error(content):
    """A damaged rule file would stop the worker with a traceback instead of a sentence."""
    told: list[str] = []
    try:
        Rulebook.of([RuleFile("xx.toml", "xx.toml", content)])
    except ConfigError as error:
        told = error.problems
    assert all(problem.startswith("xx.toml:") for problem in told)


VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(), st.sampled_from(['"a"', '""', '"XX"', "2020-01-01", "nan", "07:00:00"])
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = "from to source deny require lifted_by named_consents max_age_days areas valid_days banned_purposes".split()
KEYS += "not_callable uncertain require_named require_named_for banned_despite_contract".split()


@given(st.sampled_from(["country", "regions", "timezone", "rule"]), st.sampled_from(KEYS), VALUES)
def test_any_value_of_any_key_is_a_rulebook_or_a_config_error(outer, inner, value):
    """A key of an unexpected type would stop the worker with a traceback instead of a sentence."""
    text = str(value).replace("'", "").replace("True", "true").replace("False", "false")
    for rules in (
        f"{outer} = {text}\n{RULE}",
        f"{HEAD}[[rule]]\n{inner} = {text}\n",
        f"{GOOD}{inner}.x = {text}\n",
    ):
        read = read_country("xx.toml", "xx.toml", rules.encode())
        assert isinstance(read, Country) or all(problem.startswith("xx.toml:") for problem in read)


@given(st.text())
@example("../etc/passwd")
@example("/etc/localtime")
@example("a" * 5000)
@example("Europe")
@example(".")
def test_any_text_is_a_zone_or_not(key):
    """An odd zone name would stop the worker with a traceback instead of a sentence."""
    assert is_timezone(key) in {True, False}
