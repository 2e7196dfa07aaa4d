"""The entries of a JSON list, for the formats whose files are answers of an API: an array, an object with one in it
(whatever it is called: items, data, content), or JSON lines.

JSON lines are read line by line; an array is held whole, which is why it may have 64 MiB at most. Entries of an array
count as lines.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from stream_scrub.imports.parsing.parsed_list import BadList, ParsedList
from stream_scrub.imports.parsing.unpack import LINE_BYTES_MAX, ListSource
from stream_scrub.languages import by_door, say

_BLOCK = 1 << 20
_WHOLE_BYTES_MAX = 64 << 20
_COMMAS_MAX = 2_000_000  # more than an array of that size has when it holds objects; bounds the entries
_DEPTH = 3  # objects that the array may be within
_BLANKS_MAX = 1 << 12
_ESCAPED = re.compile(rb"\\u00([2-7][0-9A-Fa-f])")  # a sign of ASCII, perhaps of a member's name
_MEMBERS_MAX = 16  # more than any format asks for
_OTHERS_MAX = 1000  # members of an object that has the array in it; each costs some hundred bytes to look at
_BETWEEN_BYTES_MAX = 1 << 20  # names, commas and blanks of an object that has the array in it
_NO_ARRAY = "JSON without an array of entries in it, or with too much else: save the entries as JSON lines"
JsonEntry: TypeAlias = bytes | msgspec.Raw
T = TypeVar("T")


def entries(source: ListSource, reading: ParsedList, key: str) -> Iterator[tuple[int, JsonEntry]]:
    """Each entry with its number from 1, as it stands in the file. `key` is a member that only an entry has.

    Blank lines are counted in `reading`. Raises BadList when the file is no JSON, or too large to be held.
    """
    blocks = source.blocks(_BLOCK)
    blank, head = 0, b""
    for block in blocks:
        head = block.lstrip()
        blank += block.count(b"\n", 0, len(block) - len(head))
        if head:
            break
    if head[:1] == b"{":
        while b"\n" not in head and len(head) < LINE_BYTES_MAX and (block := next(blocks, b"")):
            head += block
        members = decoded(head.partition(b"\n")[0], msgspec.json.Decoder(dict[str, msgspec.Raw]))
        if members is not None and key in members:
            reading.blank += blank
            yield from _lines(head, blocks, reading, before=blank)
            return
    if head:
        yield from enumerate(_whole(head, blocks, key), 1)


def decoded(entry: JsonEntry, decoder: "msgspec.json.Decoder[T]") -> T | None:
    """An entry as the decoder's type; None when it is none of these, or longer than a line may be. Bytes that are not
    UTF-8 are read as Latin-1.
    """
    if memoryview(entry).nbytes > LINE_BYTES_MAX:
        return None
    try:
        return decoder.decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return decoder.decode(bytes(entry).decode("latin-1").encode())
    except (msgspec.DecodeError, RecursionError):
        return None


def only_once(entry: JsonEntry, members: "re.Pattern[bytes]") -> bool:
    """Whether each of some members is there at most once, however its name is spelled: of two a decoder takes the last
    and loses the other. `members` is a pattern of their quoted names, in a group, with the colon.
    """
    text = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), bytes(entry))
    names = [found[1] for found in islice(members.finditer(text), _MEMBERS_MAX)]
    return len(names) == len(set(names)) < _MEMBERS_MAX


def _lines(
    head: bytes, blocks: Iterator[bytes], reading: ParsedList, *, before: int
) -> Iterator[tuple[int, JsonEntry]]:
    at, rest = before, head
    while True:
        block = next(blocks, b"")
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if not block and rest.strip():
            lines.append(rest)
        for line in lines:
            at += 1
            if line.strip():
                yield at, line
            else:
                reading.blank += 1
        if not block:
            return
        if len(rest) > LINE_BYTES_MAX:
            raise _bad(
                f"line {at + 1} is longer than {LINE_BYTES_MAX >> 20} MiB: this is no list of JSON lines"
            )


def _whole(head: bytes, blocks: Iterator[bytes], key: str) -> Sequence[JsonEntry]:
    held = io.BytesIO()  # which gives what it holds without a copy
    size = held.write(head)
    commas = head.count(b",")
    for block in blocks:
        size += held.write(block)
        commas += block.count(b",")
        if size > _WHOLE_BYTES_MAX or commas > _COMMAS_MAX:
            raise _bad(
                f"a JSON array of more than {_WHOLE_BYTES_MAX >> 20} MiB, or of too many small entries: save it as"
                " JSON lines, one entry a line"
            )
    found = _array(held.getvalue(), key, _DEPTH)
    if found is None:
        raise _bad("JSON without an array of entries in it, or with several: save the entries as JSON lines")
    return found


def _bad(why: str) -> BadList:
    """What to raise for JSON that cannot be read; a page's reader has another form of the list."""
    page = say("this JSON file cannot be read as a list of phone numbers: save the list as a CSV file")
    return BadList(by_door(why, page))


def _array(content: JsonEntry, key: str, depth: int) -> Sequence[JsonEntry] | None:
    """The one array in some JSON, or the one entry that it is; None when there is none, or no telling which."""
    try:
        if _first_sign(content) == b"[":
            return msgspec.json.decode(content, type=list[msgspec.Raw])
        members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        _check_once(content, members)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"broken JSON ({_place(error)}): fetch the file again") from error
    if key in members:
        return [content]
    inner = []
    for value in members.values():
        sign = _first_sign(value)
        if sign == b"[" or (sign == b"{" and depth > 1):
            inner.append(_array(value, key, depth - 1))
    arrays = [array for array in inner if array is not None]
    of_entries = [array for array in arrays if array and key.encode() in bytes(array[0])] or arrays
    return of_entries[0] if len(of_entries) == 1 else None


def _check_once(content: JsonEntry, members: dict[str, msgspec.Raw]) -> None:
    """Raises BadList for an object with two members of one name: the decoder gave the last, and the first may be the
    array with the numbers."""
    if len(members) > _OTHERS_MAX:
        raise _bad(_NO_ARRAY)
    start = _address(content)
    spans = sorted((_address(value) - start, memoryview(value).nbytes) for value in members.values())
    at, between = 0, []
    for begin, size in spans:
        between.append(bytes(memoryview(content)[at:begin]))
        at = begin + size
    between.append(bytes(memoryview(content)[at:]))
    names = b"0".join(between)  # what is left of it with 0 for each value that was given
    if len(names) > _BETWEEN_BYTES_MAX:
        raise _bad(_NO_ARRAY)
    if len(json.loads(names, object_pairs_hook=list)) > len(members):
        raise _bad("JSON in which a member stands twice, so that one is lost: save the entries as JSON lines")


def _address(content: JsonEntry) -> int:
    """Its address in memory: the decoder's values are parts of the bytes that it was given."""
    address: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    return address


def _first_sign(content: JsonEntry) -> bytes:
    return bytes(memoryview(content)[:_BLANKS_MAX]).lstrip()[:1]


def _place(error: Exception) -> str:
    """The place where JSON is broken, without anything that stands there."""
    found = re.search(r"byte (\d++)", str(error))
    if found:
        return f"at byte {int(found[1]):,}"
    return "it ends too early" if "truncated" in str(error) else "too deep, or not UTF-8"
