"""`nanp-xml`: a North American register as XML: `<list type='full' level='all' val='..'><ac val='416'><ph val='..'/>`.

Source: the Canadian DNCL's downloads, as described to its users; the US register's XML files look alike. `ac` is an area
code (3 digits), `ph` a number in it (7 digits, or 10 with the area code). Neither has more attributes, nor another element
around it: one that has may be a deletion, and is refused. Lists of changes are read as text only (`nanp-change`), since no
source says how XML tells additions from deletions. Entries stand for lines: there may be no line ends at all.

Read as a stream in bounded memory. Nothing is fetched or expanded: entity declarations and document types with a subset
of their own are refused, and so are depths, lengths and names that no list has. The parser protects itself against
entities and against nothing else: (a) it keeps every name that it ever met, and a new prefix makes a new name; (b) it
parses a tag that is not whole from its beginning again with every block.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from stream_scrub.imports.formats.nanp_change import REGION
from stream_scrub.imports.parsing.cells import EntryBuffer
from stream_scrub.imports.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.imports.parsing.parsed_list import CHANGES_ONLY, DAMAGED, NOT_A_LIST, BadList, ParsedList
from stream_scrub.imports.parsing.unpack import ListSource
from stream_scrub.languages import by_door, say

_SURE, _LIKELY = 95, 80
_BLOCK = 1 << 14
_DEPTH_MAX = 32
_TOKEN_BYTES_MAX = 1 << 16
_ATTRIBUTES_MAX = 32  # of an element
_NAMES_MAX = 200  # different ones, of elements and attributes
_NAME_SIGNS_MAX = 100
_FOREIGN_MAX = 10_000  # elements that are no list's
_FULL = frozenset({"", "full", "all"})
_ENTRY = re.compile(rb"<(?:ph|ac)\s[^<>]{0,200}?\bval\s{0,9}=")
_LIST = re.compile(rb"<list\s[^<>]{0,200}?\blevel\s{0,9}=")
_AREA, _LOCAL, _WHOLE = (
    re.compile(r"\d{3}", re.ASCII),
    re.compile(r"\d{7}", re.ASCII),
    re.compile(r"\d{10}", re.ASCII),
)


def _recognise(sample: ListSample) -> int:
    head = sample.head[: 1 << 12].lstrip()
    if not head.startswith(b"<"):
        return NEVER
    if _ENTRY.search(head):
        return _SURE
    return _LIKELY if _LIST.search(head) else NEVER


def _read(source: ListSource, options: ListOptions, reading: ParsedList) -> None:  # noqa: ARG001  # always +1
    """Every number. Raises BadList, with the line, for what is no XML, and for XML that is no such list."""
    batch = EntryBuffer(reading, REGION)
    # Everything that counts is ASCII, and in Latin-1 every byte is a sign: so no name in any encoding stops a list.
    parser = expat.ParserCreate("iso-8859-1")
    elements = _Elements(batch, reading)
    parser.StartElementHandler = elements.begin
    parser.EndElementHandler = elements.end
    parser.StartDoctypeDeclHandler = _refuse_subset
    parser.EntityDeclHandler = _refuse_entity
    fed = 0
    try:
        for block in source.blocks(_BLOCK):
            parser.Parse(block, False)
            fed += len(block)
            if fed - parser.CurrentByteIndex > _TOKEN_BYTES_MAX:
                raise _bad(
                    f"line {parser.CurrentLineNumber}: something longer than {_TOKEN_BYTES_MAX >> 10} KiB"
                )
        if fed:
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        why = f"line {error.lineno}: broken XML ({expat.ErrorString(error.code)}): fetch the file again"
        raise BadList(by_door(why, say(DAMAGED))) from error
    batch.close()
    if fed and not elements.met:
        raise _bad("XML without list, ac or ph in it: it is not a North American list")
    reading.described = f"XML, full list, area codes: {elements.areas}"


def _bad(why: str) -> BadList:
    """What to raise for XML that is not a North American list."""
    return BadList(by_door(why, say(NOT_A_LIST)))


def _refuse_subset(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
    if has_subset:
        raise _bad("the XML declares a document type of its own, which no list needs: it is not read")


def _refuse_entity(*_: object) -> None:
    raise _bad("the XML declares entities, which no list needs: it is not read")


@dataclass(slots=True)
class _Elements:
    """What the parser meets. `_around` are the names of the elements that are open."""

    batch: EntryBuffer
    reading: ParsedList
    areas: int = 0
    met: bool = False
    _area: str = ""
    _entry: int = 0
    _foreign: int = 0
    _around: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)  # as the parser keeps them

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""
        if not (name in self._names and self._names.issuperset(attributes)):
            self._meet({name, *attributes})
        name = name.rpartition(":")[2].lower()
        within = self._around[-1] if self._around else ""
        self.met = self.met or name in ("list", "ac", "ph")
        if name == "list":
            self._list(attributes)
        elif name == "ac":
            self.areas += 1
            area = attributes.get("val", "").strip()
            is_plain = attributes.keys() == {"val"} and within in ("", "list") and _AREA.fullmatch(area)
            self._area = area if is_plain else "?"  # its numbers are then refused one by one
        elif name == "ph":
            self._number(attributes, within)
        else:
            self._pass(within)
        self._around.append(name)
        if len(self._around) > _DEPTH_MAX:
            raise _bad(f"XML more than {_DEPTH_MAX} elements deep: it is not a North American list")

    def end(self, _: str) -> None:
        """An element closes."""
        if self._around.pop() == "ac":
            self._area = ""

    def _meet(self, names: set[str]) -> None:
        """New names. Raises BadList for more, or for longer ones, than any list has."""
        self._names |= names
        if (
            len(names) > _ATTRIBUTES_MAX
            or len(self._names) > _NAMES_MAX
            or max(map(len, names)) > _NAME_SIGNS_MAX
        ):
            raise _bad("the XML has more names, or longer ones, than a North American list")

    def _list(self, attributes: dict[str, str]) -> None:
        self.reading.titles += 1
        if attributes.get("type", "").strip().lower() not in _FULL:
            why = "the list is not of type full: fetch the full list, or the changes as text (format nanp-change)"
            raise BadList(by_door(why, say(CHANGES_ONLY)))

    def _number(self, attributes: dict[str, str], within: str) -> None:
        self._entry += 1
        digits = attributes.get("val", "").strip()
        if _LOCAL.fullmatch(digits):
            digits = self._area + digits
        is_plain = attributes.keys() == {"val"} and within in ("ac", "list") and self._area != "?"
        if is_plain and _WHOLE.fullmatch(digits):
            self.batch.put(f"+1{digits}", self._entry)
        else:
            self.batch.refuse(self._entry)

    def _pass(self, within: str) -> None:
        """An element that no list has. In an area it may be a number in a shape that is not known here."""
        if within == "ac":
            self._entry += 1
            self.batch.refuse(self._entry)
        self._foreign += 1
        if self._foreign > _FOREIGN_MAX:
            raise _bad("the XML holds much that is no North American list")


FORMAT = FormatSpec(
    "nanp-xml",
    "a North American register as XML: list, ac and ph elements",
    _recognise,
    _read,
    oppositions=True,
)
