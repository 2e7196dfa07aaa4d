"""NDJSON: one prospect a line, judged and stamped by the very code that a worker runs. What cannot be read comes out
blocked, with its own bytes."""

import codecs
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import compress
from typing import Any

import msgspec
import numpy as np

from stream_scrub.call import FACTS
from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files import columns as columns_of
from stream_scrub.files.columns import Columns
from stream_scrub.files.csv_file import SAMPLE_ROWS
from stream_scrub.files.csv_records import RECORD_BYTES_MAX
from stream_scrub.files.options import COLUMNS, REGION, Asked, FileOptions
from stream_scrub.files.rows import (
    LACKING,
    LINES_TOLD,
    REMEMBERED,
    Counts,
    Duplicates,
    Judging,
    Targets,
    Watch,
)
from stream_scrub.files.source import InputFile
from stream_scrub.imports.parsing.parsed_list import NO_TABLE
from stream_scrub.languages import by_door, say
from stream_scrub.model import Reason
from stream_scrub.numbering import AssumedRegion, is_blank, line_of, read_lines
from stream_scrub.rules import earliest
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Batch, Scrubber
from stream_scrub.scrub.facts import Facts, FactsOf
from stream_scrub.stamp import NumberStamp, Stamp, decode
from stream_scrub.texts import shown

_STAMP = b'"scrub":'
_BLANK = b" \t\r\n"
# What msgspec raises for bytes that are no JSON, no UTF-8, or nested too deeply.
NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class StampCounts(Counts):
    """The counts of stamped lines. `watch` is shown the numbers."""

    def __init__(self, duplicates: Duplicates, watch: Watch | None) -> None:
        super().__init__(duplicates)
        self._watch = watch

    def take(self, batch: Batch, lines: Sequence[int]) -> None:
        """Count a batch; `lines` are the numbers of its lines."""
        self.rows += len(batch.allowed)
        self.allowed += sum(batch.allowed)
        self.reasons.update(batch.tally)
        self.stale.update(batch.stale)
        numbers: list[int] = []
        entries: list[Stamp | NumberStamp] = []
        for value, aside, allowed, line in zip(batch.values, batch.stamps, batch.allowed, lines, strict=True):
            # A line that cannot be read keeps its own bytes, whatever they end with: its stamp lies aside.
            stamp = _stamp_of(value or b"") if aside is None else None
            if stamp is None or stamp.reason is Reason.INVALID_NUMBER:
                self.invalid_lines += [line] if len(self.invalid_lines) < LINES_TOLD else []
            if stamp is not None:
                entries += stamp.each
                numbers += self._taken(stamp, allowed=allowed)
        self.duplicates.add(np.array(numbers, np.uint64))
        if self._watch is not None:
            self._watch.stamps(entries)

    def _taken(self, stamp: Stamp, *, allowed: bool) -> list[int]:
        """Count a line's stamp. Returns its numbers."""
        if stamp.reason in LACKING and any(each.allowed for each in stamp.each):
            self.partly += 1
        self.rules.update(each.rules for each in stamp.each if each.rules)
        numbers = [number for each in stamp.each if (number := int(each.number or 0))]
        for number in numbers:
            if (found := line_of(number)) is not None:
                self.lines[found, allowed] += 1
        if allowed:
            self.until = earliest((self.until, stamp.until))
            if stamp.call is not None:
                self.windows[tuple(stamp.call.windows)] += 1
        return numbers


def _stamp_of(value: bytes) -> Stamp:
    """The stamp at the end of a value that has one."""
    return decode(value[value.rindex(_STAMP) + len(_STAMP) : value.rindex(b"}")])


def is_ndjson(head: bytes) -> bool:
    """Whether a file that begins so has an object on its first line."""
    first = head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANK).split(b"\n", 1)[0]
    if first.startswith(b"[") and first.strip(_BLANK)[1:2] in b"{[]":
        why = "this is one JSON array: write one object a line (NDJSON), as `jq -c '.[]'` does"
        page = say(
            "this is one JSON array: write one object in each line (NDJSON), or save the leads as a CSV file"
        )
        raise BadFile(by_door(why, page))
    if not first.startswith(b"{"):
        return False
    try:
        return isinstance(msgspec.json.decode(first), dict)
    except NO_JSON:
        return b'"' in first[:100] and b":" in first[:1000]


class NdjsonFile:
    """A file of prospects, looked into. Raises ConfigError if its members are not clear."""

    kind = "ndjson"
    written_as = "NDJSON"
    extension = ".ndjson"
    titles = 0

    def __init__(
        self,
        file: InputFile,
        options: FileOptions,
        judging: Judging,
        duplicates: Duplicates,
    ) -> None:
        if unfit := [fact for fact in options.call.members() if fact != "purpose"]:
            why = f"{FACTS[unfit[0]].option}: each line says its own (prospect.{unfit[0]})"
            page = say(
                "in a file of JSON lines each lead says its own facts: choose nothing here but what the call is for"
            )
            raise ConfigError([by_door(why, page)])
        self._file = file
        self._judging = judging
        self.tally = StampCounts(duplicates, judging.watch)
        settings, region = judging.settings, options.region_by(judging.settings)
        table = _table(file.head)
        found = _members(table, options.columns, settings, region)
        self.countries = _countries(table, found, settings, region)
        self.spoken = found.pop("spoken")
        self.facts = frozenset(FACTS)  # each line may say its own
        said: dict[str, Any] = {"default_region": region, "stamp": "value"}
        if options.call.purpose:
            said["default_purpose"] = options.call.purpose
        prospect = settings.prospect.model_copy(update=found | said)
        asked = settings.model_copy(update={"prospect": prospect})
        terms = scrubbing.terms(asked, hold=False)
        self._scrubber = Scrubber(
            terms, scrubbing.rulebook(asked), facts_of=_noting(terms.facts_of, self.tally.purposes)
        )
        self._numbers, self._region_member, self._region = prospect.numbers, prospect.region, region
        if options.region is None:  # else nobody doubts it
            self.tally.assumed = [AssumedRegion(region) for _ in prospect.numbers]

    def values(self) -> Iterator[tuple[int, bytes]]:
        """Its lines that hold something, each with its number and without its line end."""
        line = 1
        for block in _lines(self._file.blocks()):
            for each in _split(block.removeprefix(codecs.BOM_UTF8) if line == 1 else block):
                if value := each.strip(_BLANK):
                    yield line, value
                line += 1

    def scrub(self, targets: Targets, progress: Callable[[], None]) -> None:
        """Write every line to its outputs. `progress` is called once a block. Raises BadFile, OSError."""
        line = 1
        for block in _lines(self._file.blocks()):
            mark = codecs.BOM_UTF8 if line == 1 and block.startswith(codecs.BOM_UTF8) else b""
            for file in targets.each:
                file.write(mark)
            line = self._put(block[len(mark) :], line, targets)
            progress()

    def _put(self, block: bytes, line: int, targets: Targets) -> int:
        """Write the lines of a block; `line` is the number of the first, and what is returned that of the next."""
        values, ends, numbers = [], [], []
        for place, each in enumerate(_split(block)):
            value = each.rstrip(b"\r\n")
            if value.strip(_BLANK):
                values.append(value)
                ends.append(each[len(value) :])
                numbers.append(line + place)
        batch = self._scrubber.scrub(values, self._judging.index, self._judging.now)
        self.tally.take(batch, numbers)
        self._count_assumed(values)
        rows = [(value or b"") + end for value, end in zip(batch.values, ends, strict=True)]
        targets.allowed.write(b"".join(compress(rows, batch.allowed)))
        targets.blocked.write(b"".join(compress(rows, [not allowed for allowed in batch.allowed])))
        if targets.annotated is not None:
            targets.annotated.write(b"".join(rows))
        return line + block.count(b"\n")

    def _count_assumed(self, values: Sequence[bytes]) -> None:
        """Count the numbers, by member, of lines that name no country."""
        if not self.tally.assumed:
            return
        alone = []
        for value in values:
            with suppress(*NO_JSON):
                row = msgspec.json.decode(value)
                if is_blank(_member(row, self._region_member)):
                    alone.append(row)
        if not alone:
            return
        for name, assumed in zip(self._numbers, self.tally.assumed, strict=True):
            texts = [_text(_member(row, name)) for row in alone]
            lines = "".join(f"{' '.join(text.split())}\n" for text in texts).encode(errors="replace")
            column = read_lines(lines, self._region, texts.__getitem__)
            assumed.count(lines, column.numbers, column.places >= 0)


def _noting(facts_of: FactsOf, purposes: set[str]) -> FactsOf:
    """Read facts, and add their purposes to `purposes`."""

    def noted(*members: Any) -> Facts:
        facts = facts_of(*members)
        if len(purposes) < REMEMBERED:
            purposes.update(facts.purposes)
        return facts

    return noted


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks cut at line ends. Raises BadFile for a line that is too long."""
    rest = b""
    for block in blocks:
        rest += block
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        if len(rest) > RECORD_BYTES_MAX:
            why = f"no line ends within {RECORD_BYTES_MAX >> 20} MiB: this is not NDJSON"
            page = say(NO_TABLE, most=RECORD_BYTES_MAX >> 20)
            raise BadFile(by_door(why, page))
    if rest:
        yield rest


def _split(block: bytes) -> list[bytes]:
    """Lines that end in a line feed; a carriage return alone ends none."""
    return [part + b"\n" for part in block.split(b"\n")[:-1]] + (
        [block[block.rfind(b"\n") + 1 :]] if not block.endswith(b"\n") else []
    )


def _members(table: list[list[str]], asked: Asked, settings: Settings, region: str) -> dict[str, Any]:
    """The settings of the members that hold numbers, region and facts, and `spoken`. Those that the user named, else
    those of the settings where the file has them, else those that the content shows."""
    found: dict[str, Any] = dict(asked.facts)
    numbers = asked.numbers
    if not numbers and any(name.split(".")[0] in table[0] for name in settings.prospect.numbers):
        numbers = settings.prospect.numbers
    if not numbers:
        columns: Columns = columns_of.find(
            table, Asked(titles=1, members={REGION: settings.prospect.region}), region
        )
        numbers = tuple(columns.names[place] for place in columns.numbers)
        if columns.region is not None:
            found.setdefault(REGION, columns.names[columns.region])
    several = "s" if len(numbers) > 1 else ""
    spoken = [f"{', '.join(map(shown, numbers))}: {len(numbers)} number member{several}"]
    held = {name.casefold() for name in table[0]}
    for fact in COLUMNS:
        name = found.get(fact) or getattr(settings.prospect, fact)
        if name.split(".")[0].casefold() in held:
            spoken.append(f"{fact}: {shown(name)}")
    return found | {"numbers": tuple(numbers), "spoken": "; ".join(spoken)}


def _countries(
    table: list[list[str]], found: dict[str, Any], settings: Settings, region: str
) -> tuple[str, ...]:
    """The members that may name each line's country, if no line has the member that does."""
    names, *rows = table
    if (found.get(REGION) or settings.prospect.region) in names:
        return ()
    numbers = [index for index, name in enumerate(names) if name in found["numbers"]]
    places = columns_of.perhaps_countries(rows, names, numbers, region)
    return tuple(shown(names[place]) for place in places)


def _table(head: bytes) -> list[list[str]]:
    """The first lines as a table of their own members, titles first."""
    titles: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for line in head.removeprefix(codecs.BOM_UTF8).split(b"\n")[:SAMPLE_ROWS]:
        try:
            row = msgspec.json.decode(line)
        except NO_JSON:
            continue
        if isinstance(row, dict):
            rows.append(row)
            for name in row:
                titles.setdefault(name, len(titles))
    return [list(titles), *([_text(row.get(name)) for name in titles] for row in rows)]


def _member(row: Any, path: str) -> Any:
    """The member of a line, in any case; None without one."""
    for name in path.split("."):
        if not isinstance(row, dict):
            return None
        if name in row:
            row = row[name]
        else:
            folded = name.casefold()
            row = next((member for key, member in row.items() if key.casefold() == folded), None)
    return row


def _text(member: Any) -> str:
    if isinstance(member, bool) or member is None:
        return ""
    return member if isinstance(member, str) else str(member) if isinstance(member, int) else ""
