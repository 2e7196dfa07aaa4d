"""What a valid number is (step 3 of a prospect's life): exactly what phonenumbers says, at the speed of a table.

phonenumbers is the reference. For digits in a shape whose parsing its metadata proves, tables made from that metadata
(`generate`) answer validity, region and type with one look-up. phonenumbers itself answers everything else. Tables
made from another version than the installed one are ignored. This room never logs or keeps a number, never guesses,
and never raises for a text.
"""

from stream_scrub.numbering.arrays import Many, validator
from stream_scrub.numbering.columns import Column, cells_reader, column_reader
from stream_scrub.numbering.library import calling_code, national_digits
from stream_scrub.numbering.line import Line
from stream_scrub.numbering.row_cache import Learnt, LineOf, Normalise, liner, normaliser
from stream_scrub.numbering.tables import REGIONS, Tables
from stream_scrub.numbering.typed import lines_reader

__all__ = [
    "DATA_VERSION",
    "REGIONS",
    "Column",
    "Line",
    "calling_code",
    "e164",
    "line_of",
    "lines_many",
    "national_digits",
    "normalise",
    "read_column",
    "read_lines",
    "rows",
    "tables_in_use",
    "valid_many",
]

_TABLES = Tables.shipped()
DATA_VERSION: str = _TABLES.version  # the version of phonenumbers that the tables were made from
rows = Learnt(_TABLES)  # the rows met so far, for code that looks numbers up without `normalise`
normalise: Normalise = normaliser(rows)
line_of: LineOf = liner(_TABLES)
_MANY = Many(_TABLES)
lines_many = lines_reader(_MANY)  # the same for whole chunks of lines and arrays of numbers: lists
valid_many = validator(_MANY, line_of)
read_column = column_reader(_MANY, lines_many, normalise)  # the cells of a table's column, with their lines
read_lines = cells_reader(_MANY, lines_many, normalise)  # the same for cells that are lines of bytes: files


def e164(number: int) -> str:
    """A number as diallers write it, ITU-T E.164 with a plus: 33612345678 is "+33612345678"."""
    return f"+{number}"


def tables_in_use() -> bool:
    """Whether the tables answer. False when another version of phonenumbers is installed: it then answers everything
    itself."""
    return _TABLES.in_use
