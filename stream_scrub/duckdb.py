"""`register`: verdicts inside DuckDB, as the function `scrub` of a connection. Needs DuckDB and pyarrow."""

from typing import Any

from stream_scrub.api.checker import Checker
from stream_scrub.api.columns import table
from stream_scrub.call import Call

_VERDICT = (
    'STRUCT(number UBIGINT, allowed BOOLEAN, reason VARCHAR, why VARCHAR, until DATE, "index" BIGINT, rules VARCHAR,'
    ' "at" TIMESTAMPTZ)'
)


def register(
    connection: Any, checker: Checker, call: Call = Call(), *, region: str | None = None, name: str = "scrub"
) -> None:
    """Gives a connection the function `scrub(VARCHAR)`, whose result has the columns of `Checker.check_many` as members.

    DuckDB calls it once for each member that a query names: for several, join the verdicts instead (docs/tables.md).

    A NULL is `invalid-number`; `reason` is NULL without a verdict, and nothing is allowed then. Raises ValueError for a
    region without numbers.
    """
    checker.check_many([], call, region=region)

    def scrub(phones: Any) -> Any:
        return table(checker.check_many(phones, call, region=region)).to_struct_array()

    # Not a constant: the registers change between two runs of a prepared query.
    connection.create_function(
        name, scrub, ["VARCHAR"], _VERDICT, type="arrow", null_handling="special", side_effects=True
    )
