"""A column gives the verdicts of its cells, in whatever library and form it comes."""

import sys
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scrub import Checker
from tests.support.fakes.lists import consents
from tests.support.machine.effort import examples


class Library:
    """Imported when a test uses it: every process of a run collects this module, and one runs it."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(pytest.importorskip(self._name), name)


pa, pl, pd, duckdb = map(Library, ("pyarrow", "polars", "pandas", "duckdb"))

ON = date(2026, 8, 20)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "0612345678",
            "+33 6 12 34 56 78",
            "33612345678",
            "612345678.0",
            "0612345680",
            "07400 123456",
            "",
            "x\ny",
            "é",
        ]
    ),
    st.text(st.sampled_from("0123456789+ -.;\n"), max_size=16),
)
INTEGERS = st.one_of(
    st.sampled_from([33612345678, 612345678, 33612345680, 0, -612345678, -33612345678]),
    st.integers(-(2**63), 2**63 - 1),
)
COLUMNS = st.one_of(
    *(
        st.tuples(st.just(kind), st.lists(st.one_of(st.none(), cells), max_size=12))
        for kind, cells in (("text", TEXTS), ("integer", INTEGERS))
    )
)


def in_chunks(cells, kind):
    """In two chunks, each a slice with an offset of an array with more rows."""
    half = len(cells) // 2
    chunks = [
        pa.array([*(cells[:1] * 3), *part, None], kind)[len(cells[:1] * 3) : -1]
        for part in (cells[:half], cells[half:])
    ]
    return pa.chunked_array(chunks, kind)


def query(cells, kind):
    """A query of DuckDB with one column."""
    held = pa.table({"phone": pa.array(cells, kind)})
    return duckdb.from_arrow(held)


class OfOneArray:
    """Gives an array, not a stream, as small libraries do."""

    def __init__(self, array):
        self._array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self._array.__arrow_c_array__(requested_schema)


FORMS = {
    "both": {
        "chunks": in_chunks,
        "array": lambda cells, kind: OfOneArray(pa.array(cells, kind)),
        "dictionary": lambda cells, kind: in_chunks(cells, kind).dictionary_encode(),
        "runs": lambda cells, kind: pytest.importorskip("pyarrow.compute").run_end_encode(pa.array(cells, kind)),
        "polars": lambda cells, kind: pl.Series(cells, dtype=pl.String if kind == pa.string() else pl.Int64),
        "polars slice": lambda cells, kind: pl.Series([None, *cells], dtype=pl.String if kind == pa.string() else pl.Int64)[1:],
        "polars table": lambda cells, kind: pl.DataFrame({"a": pl.Series(cells, dtype=pl.String if kind == pa.string() else pl.Int64)}),
        "pandas objects": lambda cells, kind: pd.Series(cells, dtype=object),
        "pandas of Arrow": lambda cells, kind: pd.Series(cells, dtype=pd.ArrowDtype(kind)),
        "numpy objects": lambda cells, kind: np.array(cells, object),
        "query": query,
    },
    "text": {
        "large": lambda cells, kind: in_chunks(cells, pa.large_string()),
        "view": lambda cells, kind: pa.chunked_array([pa.array(cells, kind).cast(pa.string_view())]),
        "categorical": lambda cells, kind: pl.Series(cells, dtype=pl.Categorical),
        "pandas": lambda cells, kind: pd.Series(cells, dtype="str"),
        "pandas category": lambda cells, kind: pd.Series(cells, dtype=object).astype("category"),
    },
    "integer": {"pandas": lambda cells, kind: pd.Series(cells, dtype="Int64")},
}  # fmt: skip


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    """Opposed: +33612345678. Consenting: that number, and +33612345680."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "internal.csv").write_text("+33612345678\n")
    (folder / "consent.csv").write_text(consents(["+33612345678", "+33612345680"]))
    lists = {name: folder / f"{name}.csv" for name in ("internal", "consent")}
    return Checker.from_lists(
        lists, settings={"prospect.default_purpose": "insurance", "prospect.default_campaign": "acme"}
    )


@settings(max_examples=examples(150))
@given(COLUMNS)
@example(("text", []))
@example(("integer", []))
@example(("text", [None, None, "0612345678", "0612345678", None, "+33612345680"]))
@example(("integer", [None, 33612345678, 33612345678, 33612345680]))
def test_a_column_of_any_library_gives_the_verdicts_of_its_cells(checker, column):
    """An opposed number would be called because its table was filtered, cut up or encoded before."""
    kind, cells = column
    plain, of = checker.check_many(cells, on=ON), {"text": pa.string(), "integer": pa.int64()}[kind]
    for name, form in (FORMS["both"] | FORMS[kind]).items():
        stamps = checker.check_many(form(cells, of), on=ON)
        assert stamps.numbers.tolist() == plain.numbers.tolist(), name
        assert stamps.reasons.tolist() == plain.reasons.tolist(), name


FLOATS = [33612345678.0, None]


@pytest.mark.parametrize(
    "column",
    [
        lambda: pl.Series(FLOATS),
        lambda: pa.array(FLOATS),
        lambda: pd.Series(FLOATS),
        lambda: pa.array([b"0612345678"]),
        lambda: pl.DataFrame({"a": ["0612345678"], "b": ["0612345680"]}),
    ],
)
def test_a_column_of_anything_else_is_refused(checker, column):
    """A column of floats would come out blocked as a whole without a word, or the wrong one of two would be judged."""
    with pytest.raises(TypeError, match="column of numbers") as refused:
        checker.check_many(column())
    assert "612345" not in str(refused.value)


def test_verdicts_become_a_table_of_any_library(checker):
    """Everybody would write the same seven lines, and some of them mix up rows."""
    stamps = checker.check_many(["0612345678", None, "0612345680"], on=ON)
    law, (index, at) = stamps.rules[0], (stamps.index, stamps.at)
    assert law.startswith("fr@")
    expected = [
        (33612345678, False, "opposed", None, None, index, law, at),
        (0, False, "invalid-number", "no-number", None, index, "", at),
        (33612345680, True, "consented", None, stamps.until[2].item(), index, law, at),
    ]
    assert pl.DataFrame(stamps).rows() == expected
    assert list(map(tuple, (row.values() for row in pa.table(stamps).to_pylist()))) == expected
    assert duckdb.sql("from stamps").fetchall() == expected
    assert [column.type for column in pa.table(checker.check_many([]))] == [
        column.type for column in pa.table(stamps)
    ]


def test_without_pyarrow_a_column_is_an_array(checker, monkeypatch):
    """A user with polars alone would get a traceback instead of verdicts."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    stamps = checker.check_many(pl.Series(["0612345678", None]), on=ON)
    assert stamps.reasons.tolist() == ["opposed", "invalid-number"]
