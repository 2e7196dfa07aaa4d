"""What a valid number is (step 3 of a prospect's life): exactly what phonenumbers says, at the speed of a table.

phonenumbers is the reference. For digits in a shape whose parsing its metadata proves, tables made from that metadata
(`generate`) answer validity, region and type with one look-up; all else is asked of phonenumbers itself. Tables made
from another version than the installed one are ignored. Must never: log or keep a number, guess, or raise for a text.
"""

from stream_scrub.numbering.arrays import Many, validator
from stream_scrub.numbering.columns import Column, column_reader
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.row_cache import Learnt, LineOf, Normalise, liner, normaliser
from stream_scrub.numbering.tables import REGIONS, Tables
from stream_scrub.numbering.typed import lines_reader

__all__ = [
    "DATA_VERSION",
    "REGIONS",
    "Column",
    "Line",
    "e164",
    "line_of",
    "lines_many",
    "normalise",
    "read_column",
    "rows",
    "tables_in_use",
    "valid_many",
]

_TABLES = Tables.shipped()
DATA_VERSION: str = _TABLES.version  # the phonenumbers that the tables were made from
rows = Learnt(_TABLES)  # the rows met so far, for whoever looks numbers up by other means than `normalise`
normalise: Normalise = normaliser(rows)
line_of: LineOf = liner(_TABLES)
_MANY = Many(_TABLES)
lines_many = lines_reader(_MANY)  # the same for whole chunks of lines and arrays of numbers: lists
valid_many = validator(_MANY, line_of)
read_column = column_reader(_MANY, lines_many, normalise)  # cells with their lines: a table's column


def e164(number: int) -> str:
    """A number as diallers write it, ITU-T E.164 with a plus: 33612345678 is "+33612345678"."""
    return f"+{number}"


def tables_in_use() -> bool:
    """Whether the tables answer; False when another phonenumbers is installed and answers everything itself."""
    return _TABLES.in_use
