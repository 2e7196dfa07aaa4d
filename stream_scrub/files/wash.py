"""What to submit to a register that only washes: the numbers of a file that it must be asked about, each once.

Registers charge by the number, and some charge for invalid ones. So everything is left out whose verdict does not
depend on a new answer.
"""

import tempfile
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.config import Settings
from stream_scrub.errors import BadFile, ConfigError
from stream_scrub.files.cells import CellColumn
from stream_scrub.files.options import FileOptions
from stream_scrub.files.outputs import Nowhere, need_apart, output_folder
from stream_scrub.files.rows import Duplicates, JudgedRows, Judging, Targets
from stream_scrub.files.scrub_file import leads_of
from stream_scrub.files.source import open_input
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.model import Reason, RegisterName
from stream_scrub.numbering import national_digits
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.stamp import Outcome
from stream_scrub.stamp import NumberStamp, Stamp

_MERGED = 1 << 20  # numbers that are gathered before equal ones are joined


class WashPrepared(msgspec.Struct, frozen=True, kw_only=True):
    """The upload and what it saves: `numbers` are in it, the others are left out. `cells` are all that hold something,
    `invalid` those without a valid number, `repeated` those whose number was there before; `good` are numbers whose verdict
    is still good by an earlier answer, `others` those that the register is not asked about: other countries' rules,
    blocked whatever the answer, or allowed without one (exempt, a contract, a consent). `answer_into`: the register for the
    answer, with CAMPAIGN in place of an unknown campaign."""

    register: str
    answer_into: str
    file: str
    cells: int
    numbers: int
    invalid: int
    repeated: int
    good: int
    others: int


_ASKED, _GOOD, _OTHER = range(3)  # whether the register must be asked about a number


class _Sorter:
    """Sorts numbers by what becomes of them, as they are judged (`Watch`): the different ones of each fate."""

    def __init__(self, register: str, rulebook: Rulebook) -> None:
        self.cells = 0
        self.invalid = 0
        self._register = register
        self._required: Mapping[str, tuple[str, ...]] = {
            rule.digest: (*rule.wash, *rule.wash_named) for rule in rulebook.rules
        }
        self._known: dict[Outcome, int] = {}
        self._held: list[list[NDArray[np.uint64]]] = [[], [], []]
        self._waiting = 0

    def rows(self, judged: JudgedRows, columns: Sequence[CellColumn]) -> None:
        """As `Watch.rows`."""
        for place, column in enumerate(columns):
            filled = ~column.blank
            self.cells += int(filled.sum())
            self.invalid += int((filled & (column.numbers == 0)).sum())
            # Rows of other blocks may have fewer numbers.
            fates = [self._of_outcome(next(iter(row.numbers[place:]), None)) for row in judged.outcomes]
            of_row = np.array(fates, np.int64)[judged.ids]
            self._add([column.numbers[(of_row == fate) & (column.numbers > 0)] for fate in range(3)])

    def stamps(self, entries: Sequence[Stamp | NumberStamp]) -> None:
        """As `Watch.stamps`."""
        held: list[list[int]] = [[], [], []]
        for each in entries:
            if number := int(each.number or 0):
                held[self._fate(each.rules, each.reason, each.registers)].append(number)
        self.cells += len(entries)
        self.invalid += len(entries) - sum(map(len, held))
        self._add([np.array(numbers, np.uint64) for numbers in held])

    def numbers(self, fate: int) -> NDArray[np.uint64]:
        """The different numbers of a fate, in order."""
        ordered = np.sort(np.concatenate([*self._held[fate], np.empty(0, np.uint64)]))
        return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered

    def _add(self, numbers: Sequence[NDArray[np.uint64]]) -> None:
        for held, each in zip(self._held, numbers, strict=True):
            held.append(each)
            self._waiting += len(each)
        if self._waiting > _MERGED:
            self._waiting = 0
            self._held = [[self.numbers(fate)] for fate in range(3)]

    def _of_outcome(self, outcome: Outcome | None) -> int:
        if outcome is None:
            return _OTHER
        fate = self._known.get(outcome)
        if fate is None:
            fate = self._fate(outcome.rules, outcome.reason, outcome.finding.registers)
            self._known[outcome] = fate
        return fate

    def _fate(self, rules: str, reason: Reason, registers: Sequence[str]) -> int:
        if self._register not in self._required.get(rules, ()):
            return _OTHER
        if reason in (Reason.NOT_WASHED, Reason.STALE_REGISTER):
            return _ASKED if self._register in registers else _OTHER
        return _GOOD if reason is Reason.CLEAR else _OTHER


def prepare_wash(options: FileOptions, register: str, settings: Settings, used: IndexUsed) -> WashPrepared:
    """Write the upload for a register into the folder of `options`: one number a line, in the digits of its country.

    Raises ConfigError for a register that no rule requires, and as `scrub_file`.
    """
    scrubber = scrubbing.scrubber(settings, hold=False)
    _need_required(register, scrubber.rulebook)
    sorter = _Sorter(register, scrubber.rulebook)
    judging = Judging.as_of(options.on, settings, scrubber, used.index, sorter)
    nowhere = Nowhere()
    need_apart((options.input, *used.files.values()), options.output)
    with (
        output_folder(options.output, force=options.force) as folder,
        tempfile.TemporaryFile(dir=options.output) as scratch,
    ):
        with open_input(options.input) as file:
            leads = leads_of(file, options, judging, Duplicates(scratch), folder.scratch)
            leads.scrub(Targets(nowhere, nowhere), lambda: None)
        asked, good, others = map(sorter.numbers, (_ASKED, _GOOD, _OTHER))
        if not len(asked):
            raise BadFile(f"{file.name}: no number in it has to be washed by {register}; nothing was written")
        name = f"wash-{register}.csv"
        folder.put(name, "".join(f"{national_digits(number)}\r\n" for number in asked.tolist()).encode())
        folder.keep()
    known = len(asked) + len(good) + len(others)
    return WashPrepared(
        register=register,
        answer_into=_answer_into(
            register, scrubber.rulebook, options.call.members().get("campaign"), settings
        ),
        file=name,
        cells=sorter.cells,
        numbers=len(asked),
        invalid=sorter.invalid,
        repeated=sorter.cells - sorter.invalid - known,
        good=len(good),
        others=len(others),
    )


def _answer_into(register: str, rulebook: Rulebook, campaign: str | None, settings: Settings) -> str:
    """The register for the answer: some rules count only an answer to the campaign's own question."""
    own = settings.prospect.default_campaign
    if not any(register in rule.wash_named for rule in rulebook.rules) or (campaign or own) == own != "":
        return register
    return f"{register}@{campaign or 'CAMPAIGN'}"


def _need_required(register: str, rulebook: Rulebook) -> None:
    """Raises ConfigError for a register that no rule requires: nothing of it would ever be asked."""
    required = rulebook.washes
    if register not in required or RegisterName.parse(register) is None:
        listed = ", ".join(sorted(required))
        raise ConfigError([f"--prepare-wash: no rule washes by {register!r}; rules wash by: {listed}"])
