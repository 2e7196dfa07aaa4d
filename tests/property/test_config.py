"""Whatever stands in a file, the environment or the flags: settings or a list of problems, never anything else."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scrub.config import Settings, load, masked
from stream_scrub.errors import ConfigError
from stream_scrub.kafka.client.allowed_properties import HARMLESS
from tests.support.machine.effort import examples

SECTIONS = list(Settings.model_fields)
KEYS = sorted({key for section in SECTIONS for key in masked(Settings(), HARMLESS)[section]})
NAMES = [f"{section}.{key}" for section in SECTIONS for key in masked(Settings(), HARMLESS)[section]]
WORDS = st.one_of(st.sampled_from([*SECTIONS, *KEYS, "sasl.password", "scrub", ""]), st.text(max_size=8))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([400, 5000]).map(lambda digits: 10**digits),
    st.floats(),
    st.sampled_from(["header", "block", "debug", "[", "{}", "a,b", "1" * 5000, "FR"]),
    st.text(max_size=8),
    st.binary(max_size=4),
)
GARBAGE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=12)


def toml(value):
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return (
                f"{value:#x}".replace("-0x", "-") if isinstance(value, int) and value >= 0 else repr(float(0))
            )
        case list():
            return "[" + ", ".join(toml(inner) for inner in value) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
        case _:
            text = str(value).encode("utf-8", "replace").decode()
            return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


def settings_or_problems(**given_):
    with tempfile.TemporaryDirectory() as folder:
        if text := given_.pop("text", None):
            Path(folder, "stream-scrub.toml").write_bytes(text)
        problems = []
        try:
            found = load(cwd=Path(folder), **{"environ": {}, **given_})
        except ConfigError as error:
            problems = error.problems or [""]
        else:
            masked(found, HARMLESS)
            assert Settings.model_validate(found.model_dump()) == found
    assert all(0 < len(problem) < 2000 for problem in problems)


@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=12)), GARBAGE, max_size=6))
@settings(max_examples=examples(150), deadline=None)
def test_any_flags(flags):
    """A wrong flag would end in a traceback instead of a sentence."""
    settings_or_problems(flags=flags)


@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from([name.upper().replace(".", "__") for name in NAMES]),
            st.sampled_from(
                ["CONFIG", "KAFKA__CLIENT__SASL_PASSWORD_FILE", "KAFKA__CLIENT__", "KAFKA__CLIENT__A__B"]
            ),
            TEXTS,
        ).map("STREAM_SCRUB_".__add__),
        st.one_of(
            TEXTS,
            st.sampled_from(
                ["1", "1.5", "[1", '["a"]', '{"a": {"b": 1}}', "[" * 5_000, "9" * 5000, "\udcff"]
            ),
        ),
        max_size=6,
    )
)
@settings(max_examples=examples(150), deadline=None)
def test_any_environment(environ):
    """A wrong variable would end in a traceback instead of a sentence."""
    settings_or_problems(environ=environ)


@given(
    st.one_of(st.binary(max_size=64), st.text(max_size=64).map(lambda text: text.encode("utf-8", "replace")))
)
@settings(max_examples=examples(150), deadline=None)
def test_any_bytes_as_the_file(content):
    """A damaged file would end in a traceback instead of a sentence."""
    settings_or_problems(text=content)


@given(
    st.dictionaries(WORDS, GARBAGE, max_size=4), st.dictionaries(st.sampled_from(NAMES), LEAVES, max_size=4)
)
@settings(max_examples=examples(200), deadline=None)
def test_any_tables_in_the_file(tables, leaves):
    """A file of the wrong shape would end in a traceback instead of a sentence."""
    statements = [f"{toml(str(key))} = {toml(value)}" for key, value in tables.items()]
    statements += [f"{name} = {toml(value)}" for name, value in leaves.items()]
    settings_or_problems(text="\n".join(statements).encode())
