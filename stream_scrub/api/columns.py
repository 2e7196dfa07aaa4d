"""A column of numbers from any library, and the verdicts on it (`Stamps`), which go back as an Arrow table.

Arrow comes and goes by its PyCapsule interface, so a column of polars, DuckDB or pyarrow is read where it lies. pyarrow
does it, an optional extra: DuckDB's functions and Spark's ask for it too, and smaller libraries read ten thousand texts
at a quarter of its speed. Without it, a column is whatever numpy takes for an array.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from stream_scrub.model import Reason
from stream_scrub.scrub import batch
from stream_scrub.scrub.decide_batch import JudgedColumn
from stream_scrub.stamp import Stamp, Unknown, decode


def text_of(cell: object) -> str:
    """The text of a cell, read as a prospect's member is; an integer may be numpy's."""
    return batch.text_of(int(cell) if isinstance(cell, np.integer) else cell)


class _Texts(Sequence[str]):
    """An Arrow column's texts. A slice becomes Python's own when it is asked for, so that a long column is never held
    twice."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, int):
            return text_of(self._chunks[place].as_py())
        return [text_of(cell) for cell in self._chunks[place].to_pylist()]

    def take(self, places: NDArray[np.int64]) -> "_Texts":
        """The texts at these places."""
        arrow = import_module("pyarrow")
        chunks = self._chunks
        if arrow.types.is_string_view(chunks.type):
            chunks = chunks.cast(arrow.large_string())  # pyarrow takes no rows of a view
        return _Texts(chunks.take(places))


Cells = Sequence[str] | NDArray[np.uint64]


def cells_of(numbers: Any) -> Cells:
    """A column as `judge_column` takes it. Raises TypeError for anything that is no column of texts or integers."""
    if isinstance(numbers, str | bytes):
        raise TypeError("a column is a list or an array of numbers; use `check` for a single one")
    cells = numbers
    if not isinstance(numbers, list | tuple):
        chunks = _arrow(numbers)
        if chunks is not None:
            return _of_arrow(chunks)
        hides = np.ma.is_masked(numbers)
        array = numbers if hides else np.asarray(numbers)
        if array.ndim != 1 or array.dtype.kind not in "uiOUT":
            raise _no_column(f"{array.dtype}, with {array.ndim} dimensions")
        if array.dtype.kind in "ui" and not hides:
            return _digits(array)
        cells = array.tolist()
    if set(map(type, cells)) <= {str}:
        return list(cells)
    return [text_of(cell) for cell in cells]


def cells_at(cells: Cells, places: NDArray[np.int64]) -> Cells:
    """The cells at these places."""
    if isinstance(cells, np.ndarray):
        return cells[places]
    if isinstance(cells, _Texts):
        return cells.take(places)
    return [cells[place] for place in places.tolist()]


def rows_by_facts(
    columns: Mapping[str, Any], count: int
) -> Iterator[tuple[dict[str, Any], NDArray[np.int64]]]:
    """The different facts in `columns`, by the columns' names, each with the places of its rows. Missing cells are left
    out. Raises ValueError for a column that has not `count` cells."""
    row_facts = np.zeros(count, np.int64)
    facts: list[dict[str, Any]] = [{}]
    for name, column in columns.items():
        cells = _members_of(column)
        if len(cells) != count:
            raise ValueError(f"columns: {name} has {len(cells):,} cells, and the numbers are {count:,}")
        codes: dict[Any, int] = {}
        members: list[Any] = []
        cell_codes = np.empty(count, np.int64)
        for place, cell in enumerate(cells):
            key = cell if isinstance(cell, str) else (type(cell), repr(cell))
            code = codes.setdefault(key, len(codes))
            if code == len(members):
                members.append(cell)
            cell_codes[place] = code
        pairs, row_facts = np.unique(row_facts * len(members) + cell_codes, return_inverse=True)
        together = []
        for pair in pairs.tolist():
            before, code = divmod(pair, len(members))
            member = members[code]
            together.append(facts[before] if _is_missing(member) else facts[before] | {name: member})
        facts = together
    order = np.argsort(row_facts, kind="stable")
    ends = np.searchsorted(row_facts[order], np.arange(len(facts)), "right").tolist()
    start = 0
    for row_members, end in zip(facts, ends, strict=True):
        yield row_members, order[start:end]
        start = end


def _members_of(column: Any) -> Sequence[Any]:
    """The cells of a column as members of a prospect."""
    if isinstance(column, list | tuple):
        return column
    chunks = _arrow(column)
    if chunks is not None:
        return chunks.to_pylist()  # type: ignore[no-any-return]
    return np.asarray(column).tolist()  # type: ignore[no-any-return]


def _is_missing(member: Any) -> bool:
    """Whether a cell is empty: None, a blank text, or NaN and NaT, which pandas writes for None."""
    return member is None or member != member or (isinstance(member, str) and not member.strip())  # noqa: PLR0124


def _arrow(numbers: Any) -> Any:
    """The column as pyarrow's chunks; None if it does not come by Arrow, or pyarrow is not installed."""
    streams = hasattr(numbers, "__arrow_c_stream__")
    if not streams and not hasattr(numbers, "__arrow_c_array__"):
        return None
    if isinstance(getattr(numbers, "dtype", None), np.dtype):
        return None  # of pandas, in numpy's arrays: Arrow would take a column of mixed objects for one type
    try:
        arrow = import_module("pyarrow")
    except ImportError:
        return None
    try:
        return arrow.chunked_array(numbers if streams else [arrow.array(numbers)])
    except (arrow.ArrowException, OSError):  # of no one type, or it broke off; what it says may hold a number
        return None


def _of_arrow(chunks: Any) -> Cells:
    types = import_module("pyarrow").types
    if types.is_struct(chunks.type):
        if chunks.type.num_fields != 1:  # its type would show the columns' titles
            raise _no_column(f"a table of {chunks.type.num_fields} columns")
        (chunks,) = chunks.flatten()
    kind = chunks.type
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        kind = kind.value_type
    whole = types.is_integer(kind)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if not (whole or text or types.is_null(kind)):
        raise _no_column(f"Arrow's {chunks.type}")
    if whole and kind == chunks.type and not chunks.null_count:
        return _digits(chunks.to_numpy())
    return _Texts(chunks)


def _digits(array: NDArray[Any]) -> Cells:
    if array.dtype.kind == "i" and (array < 0).any():
        return list(map(str, array.tolist()))
    return array.astype(np.uint64, copy=False)


def _no_column(what: str) -> TypeError:
    return TypeError(
        f"a column of numbers is a one-dimensional array of texts or integers; this one is of {what}."
        " In numpy's arrays integers with some missing become floats: fill these first"
    )


class Stamps:
    """The verdicts on a column, by place: as arrays of the same length, or one at a time. All are given by one index at
    one moment. `unknown` is None, or says why there is no verdict: then nothing is allowed.
    """

    __slots__ = ("_judged", "at", "index", "unknown")

    def __init__(
        self,
        judged: JudgedColumn,
        unknown: Unknown | None = None,
        index: int | None = None,
        at: datetime | None = None,
    ) -> None:
        """`index` is the position on the log, and `at` the moment, of all these verdicts; None without verdicts."""
        self._judged = judged
        self.unknown = unknown
        self.index, self.at = index, at

    @classmethod
    def without_verdicts(cls, count: int, unknown: Unknown) -> Self:
        """As many results, all unknown."""
        return cls(JudgedColumn(np.zeros(count, np.uint64), np.zeros(count, np.int32), ()), unknown)

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Whether each number may be called."""
        return self._each("allowed", np.bool_, unknown=False)

    @property
    def reasons(self) -> NDArray[np.object_]:
        """The `Reason` of each verdict, which is a `str`; None without a verdict."""
        return self._each("reason", np.object_)

    @property
    def why(self) -> NDArray[np.object_]:
        """Why each is `invalid-number`, a `Why`, which is a `str`; None for another reason."""
        return self._each("why", np.object_)

    @property
    def until(self) -> NDArray[np.datetime64]:
        """The last day on which each may be called by this verdict (`datetime64[D]`); NaT if nothing limits it."""
        return self._each("until", "datetime64[D]")

    @property
    def rules(self) -> NDArray[np.object_]:
        """The digest of the rule that decided each, as on the stamp; empty for none, None without a verdict."""
        return self._each("rules", np.object_)

    @property
    def numbers(self) -> NDArray[np.uint64]:
        """Each number as the integer of its E.164 digits; 0 if it is not valid, or without a verdict."""
        return self._judged.numbers

    def counts(self) -> dict[Reason, int]:
        """For each reason that occurs: how many verdicts have it."""
        if self.unknown is not None:
            return {}
        totals: dict[Reason, int] = {}
        counted = np.bincount(self._judged.ids, minlength=len(self._judged.outcomes)).tolist()
        for outcome, count in zip(self._judged.outcomes, counted, strict=True):
            if count:
                totals[outcome.reason] = totals.get(outcome.reason, 0) + count
        return totals

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface: a table with the columns `number`, `allowed`, `reason`, `why`, `until`,
        `index`, `rules` and `at`, by place: the last three with the list files or the log let a verdict be replayed. So
        `polars.DataFrame(stamps)`, `pyarrow.table(stamps)` and DuckDB's `from stamps` work. Needs pyarrow."""
        return table(self).__arrow_c_stream__(requested_schema)

    def _each(self, member: str, dtype: Any, unknown: Any = None) -> NDArray[Any]:
        outcomes = self._judged.outcomes
        values = [getattr(each, member) for each in outcomes] if self.unknown is None else [unknown]
        table: NDArray[Any] = np.empty(len(values), dtype)
        table[:] = values
        return table[self._judged.ids]

    def __len__(self) -> int:
        return len(self._judged.ids)

    def __iter__(self) -> Iterator[Stamp | Unknown]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> Stamp | Unknown: ...
    @overload
    def __getitem__(self, place: slice) -> "Stamps": ...
    def __getitem__(self, place: int | slice) -> "Stamp | Unknown | Stamps":
        numbers, ids, outcomes = self._judged
        if isinstance(place, slice):
            return Stamps(
                JudgedColumn(numbers[place], ids[place], outcomes), self.unknown, self.index, self.at
            )
        number, which = int(numbers[place]), int(ids[place])
        if self.unknown is not None:
            return self.unknown
        return decode(outcomes[which].bare % (number or ()))

    def __repr__(self) -> str:
        return f"<Stamps of {len(self)} numbers>"


def table(stamps: Stamps) -> Any:
    """The `pyarrow.Table` of these verdicts. Raises ModuleNotFoundError without pyarrow."""
    arrow: ModuleType = import_module("pyarrow")
    outcomes = arrow.array(stamps.reasons, arrow.string())
    until = arrow.array(stamps.until, arrow.date32())
    count = len(stamps)
    return arrow.table(
        {
            "number": stamps.numbers,
            "allowed": stamps.allowed,
            "reason": outcomes,
            "why": arrow.array(stamps.why, arrow.string()),
            "until": until,
            "index": arrow.repeat(arrow.scalar(stamps.index, arrow.int64()), count),
            "rules": arrow.array(stamps.rules, arrow.string()),
            "at": arrow.repeat(arrow.scalar(stamps.at, arrow.timestamp("ms", "UTC")), count),
        }
    )
