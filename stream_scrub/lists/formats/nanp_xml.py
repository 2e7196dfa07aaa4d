"""`nanp-xml`: a North American register as XML: `<list type='full' level='all' val='..'><ac val='416'><ph val='..'/>`.

Source: the Canadian DNCL's downloads, as described to its users; the US register's XML files look alike. `ac` is an area
code (3 digits), `ph` a number in it (7 digits, or 10 with the area code). In a list of another type than `full` each
number, or an element around it, must say whether it was added or deleted; one that does not is refused, and so is a
deletion in a full list. Entries stand for lines: there may be no line ends at all.

Read as a stream in bounded memory. Nothing is fetched or expanded: entity declarations and document types with a subset
of their own are refused, and so are depths, lengths and names that no list has. The parser protects itself against
entities and against nothing else: (a) it keeps every name that it ever met, and a new prefix makes a new name; (b) it
parses a tag that is not whole from its beginning again with every block.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from stream_scrub.lists.formats.nanp_change import REGION
from stream_scrub.lists.parsing.entry_buffer import EntryBuffer
from stream_scrub.lists.parsing.format import NEVER, FormatSpec, ListOptions, ListSample
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.lists.parsing.unpack import ListSource

_SURE, _LIKELY = 95, 80
_BLOCK = 1 << 14
_DEPTH_MAX = 32
_TOKEN_BYTES_MAX = 1 << 16
_ATTRIBUTES_MAX = 32  # of an element
_NAMES_MAX = 200  # different ones, of elements and attributes
_NAME_SIGNS_MAX = 100
_FOREIGN_MAX = 10_000  # elements and attributes that are no list's
_ADDED = frozenset({"a", "add", "adds", "added", "addition", "additions"})
_DELETED = frozenset(
    {"d", "del", "delete", "deletes", "deleted", "deletion", "deletions", "remove", "removed", "removes"}
)
_SAYING = ("type", "change", "action", "op", "status")  # attributes that may tell an addition from a deletion
_FULL = frozenset({"", "full", "all"})
_CHANGES = frozenset({"change", "changes", "delta", "update", "partial", "incremental", "diff"})
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
                raise BadList(
                    f"line {parser.CurrentLineNumber}: something longer than {_TOKEN_BYTES_MAX >> 10} KiB"
                )
        if fed:
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadList(
            f"line {error.lineno}: broken XML ({expat.ErrorString(error.code)}): fetch the file again"
        ) from error
    batch.close()
    if fed and not elements.met:
        raise BadList("XML without list, ac or ph in it: it is no North American list")
    reading.described = (
        "XML, "
        + (f"list of type {elements.type}" if reading.change == "delta" else "full list")
        + f", area codes: {elements.areas}"
    )


def _refuse_subset(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
    if has_subset:
        raise BadList("the XML declares a document type of its own, which no list needs: it is not read")


def _refuse_entity(*_: object) -> None:
    raise BadList("the XML declares entities, which no list needs: it is not read")


@dataclass(slots=True)
class _Elements:
    """What the parser meets. `_around` are the elements that are open: their name, and what they say of changes."""

    batch: EntryBuffer
    reading: ParsedList
    type: str = ""
    areas: int = 0
    met: bool = False
    _area: str = ""
    _entry: int = 0
    _foreign: int = 0
    _around: list[tuple[str, bool | None]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)  # as the parser keeps them

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens. `removed` is inherited from the element around it: None when nobody has said anything."""
        if not (name in self._names and self._names.issuperset(attributes)):
            self._meet({name, *attributes})
        name = name.rpartition(":")[2].lower()
        removed = self._around[-1][1] if self._around else None
        if name == "ph":
            if len(attributes) > 1 or "val" not in attributes:
                removed = self._said(attributes, removed)
            self._number(attributes.get("val", "").strip(), removed)
        elif name == "list":
            self._list(attributes)
        else:
            word = name if name in _ADDED or name in _DELETED else ""
            removed = self._said({**attributes, "op": word} if word else attributes, removed)
            if name == "ac":
                self._begin_area(attributes)
            elif self._area and not word:  # it may be a number in a shape that is not known here
                self._entry += 1
                self.batch.refuse(self._entry)
            if name != "ac" and not word:
                self._count_foreign(1)
        self._around.append((name, removed))
        if len(self._around) > _DEPTH_MAX:
            raise BadList(f"XML more than {_DEPTH_MAX} elements deep: it is no North American list")

    def end(self, _: str) -> None:
        """An element closes."""
        name, _removed = self._around.pop()
        if name == "ac":
            self._area = ""

    def _meet(self, names: set[str]) -> None:
        """New names. Raises BadList for more, or for longer ones, than any list has."""
        self._names |= names
        if (
            len(names) > _ATTRIBUTES_MAX
            or len(self._names) > _NAMES_MAX
            or max(map(len, names)) > _NAME_SIGNS_MAX
        ):
            raise BadList("the XML has more names, or longer ones, than a North American list")

    def _begin_area(self, attributes: dict[str, str]) -> None:
        self.met = True
        self.areas += 1
        area = attributes.get("val", "").strip()
        self._area = area if _AREA.fullmatch(area) else "?"  # its numbers are then refused one by one

    def _list(self, attributes: dict[str, str]) -> None:
        self.met = True
        self.reading.titles += 1
        self.type = attributes.get("type", "").strip().lower()
        delta = self.type in _CHANGES
        if not delta and self.type not in _FULL:
            raise BadList("the list is of a type that is neither full nor change: fetch the full list")
        if delta is (self.reading.change == "full") and self.reading.lines + self._entry:
            raise BadList("full lists and changes together: import the full ones first, then each change")
        self.reading.change = "delta" if delta else self.reading.change

    def _number(self, digits: str, removed: bool | None) -> None:  # one of three
        self.met = True
        self._entry += 1
        if _LOCAL.fullmatch(digits):
            digits = self._area + digits
        delta = self.reading.change == "delta"
        if _WHOLE.fullmatch(digits) and (removed is not None if delta else not removed):
            self.batch.put(f"+1{digits}", self._entry, removed=bool(removed))
        else:
            self.batch.refuse(self._entry)

    def _said(self, attributes: dict[str, str], inherited: bool | None) -> bool | None:
        """Whether these attributes mean a deletion (True) or an addition (False); `None` where they say neither."""
        known = 0
        for name in _SAYING:
            word = attributes.get(name, "").strip().lower()
            known += name in attributes
            if word in _ADDED or word in _DELETED:
                inherited = word in _DELETED
        self._count_foreign(len(attributes) - known - ("val" in attributes))
        return inherited

    def _count_foreign(self, count: int) -> None:
        self._foreign += count
        if self._foreign > _FOREIGN_MAX:
            raise BadList("the XML holds much that is no North American list")


FORMAT = FormatSpec(
    "nanp-xml", "a North American register as XML: list, ac and ph elements", _recognise, _read
)
