"""What to submit to a register that only washes: the numbers of a file that it must be asked about, each once.

Registers charge by the number, and some charge for invalid ones. So everything is left out whose verdict does not
depend on a new answer.
"""

import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.files.kinds.opening import Judging, leads_of
from stream_scrub.files.order import FileOrder
from stream_scrub.files.results.outputs import Nowhere, output_folder
from stream_scrub.files.rows.cells import CellColumn
from stream_scrub.files.rows.duplicates import Duplicates
from stream_scrub.files.rows.judging import JudgedRows
from stream_scrub.files.rows.run import NumberStamp, Targets
from stream_scrub.files.source import open_input
from stream_scrub.model import Reason, RegisterName, Verdict
from stream_scrub.numbering import national_digits
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.batch_context import Outcome
from stream_scrub.wiring import scrubbing
from stream_scrub.wiring.index_sources import IndexUsed

_MERGED = 1 << 20  # numbers that are gathered before equal ones are joined


class WashPrepared(msgspec.Struct, frozen=True, kw_only=True):
    """The upload and what it saves: `numbers` are in it, the others are left out. `cells` are all that hold something,
    `invalid` those without a valid number, `repeated` those whose number was there before; `good` are numbers whose verdict
    is still good by an earlier answer, `others` those that the register is not asked about: other countries' rules, or
    blocked whatever the answer."""

    register: str
    file: str
    cells: int
    numbers: int
    invalid: int
    repeated: int
    good: int
    others: int


class _Gathered:
    """The different numbers of each fate, gathered block by block."""

    def __init__(self, fates: int) -> None:
        self.cells = 0
        self.invalid = 0
        self._held: list[list[NDArray[np.uint64]]] = [[] for _ in range(fates)]
        self._waiting = 0

    def add(self, fate: int, numbers: NDArray[np.uint64]) -> None:
        self._held[fate].append(numbers)
        self._waiting += len(numbers)
        if self._waiting > _MERGED:
            self._waiting = 0
            self._held = [[self._unique(each)] for each in self._held]

    def of(self, fate: int) -> NDArray[np.uint64]:
        return self._unique(self._held[fate])

    @staticmethod
    def _unique(held: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
        if not held:
            return np.empty(0, np.uint64)
        ordered = np.sort(np.concatenate(held))
        return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


_ASKED, _GOOD, _OTHER = range(3)


def prepare_wash(order: FileOrder, register: str, settings: Settings, used: IndexUsed) -> WashPrepared:
    """Write the upload for a register into the order's folder: one number a line, in the digits of its country.

    Raises ConfigError for a register that no rule requires, and as `scrub_file`.
    """
    scrubber = scrubbing.scrubber(settings, hold=False)
    _need_required(register, scrubber.rulebook)
    gathered = _Gathered(3)
    watch = _Sorting(gathered, _Fates(register, scrubber.rulebook))
    judging = Judging(settings, scrubber, used.index, order.on or datetime.now(UTC), watch)
    nowhere = Nowhere()
    with (
        output_folder(order.output, force=order.force) as folder,
        tempfile.TemporaryFile(dir=order.output) as scratch,
    ):
        with open_input(order.input) as file:
            leads = leads_of(file, order, judging, Duplicates(scratch), folder.scratch)
            leads.scrub(Targets(nowhere, nowhere, None), lambda _rows: None)
        asked, good, others = (gathered.of(fate) for fate in (_ASKED, _GOOD, _OTHER))
        if not len(asked):
            raise Refused(f"{file.name}: no number in it has to be washed by {register}; nothing was written")
        name = f"wash-{register}.csv"
        folder.put(name, "".join(f"{national_digits(number)}\r\n" for number in asked.tolist()).encode())
        folder.keep()
    known = len(asked) + len(good) + len(others)
    return WashPrepared(
        register=register,
        file=name,
        cells=gathered.cells,
        numbers=len(asked),
        invalid=gathered.invalid,
        repeated=gathered.cells - gathered.invalid - known,
        good=len(good),
        others=len(others),
    )


class _Sorting:
    """Sorts numbers by their fate, as they are judged."""

    def __init__(self, into: _Gathered, fates: "_Fates") -> None:
        self._into = into
        self._fates = fates

    def rows(self, judged: JudgedRows, columns: Sequence[CellColumn]) -> None:
        """As `Watch.rows`."""
        for place, column in enumerate(columns):
            filled = ~column.blank
            self._into.cells += int(filled.sum())
            self._into.invalid += int((filled & (column.numbers == 0)).sum())
            fates = [self._fates.of(row.numbers[place]) for row in judged.outcomes]
            of_row = np.array(fates, np.int64)[judged.ids]
            for fate in (_ASKED, _GOOD, _OTHER):
                self._into.add(fate, column.numbers[(of_row == fate) & (column.numbers > 0)])

    def stamps(self, entries: Sequence[NumberStamp]) -> None:
        """As `Watch.stamps`."""
        held: list[list[int]] = [[], [], []]
        for each in entries:
            if number := int(each.number or 0):
                held[self._fates.of_finding(each.rules, each.reason, each.registers)].append(number)
        self._into.cells += len(entries)
        self._into.invalid += len(entries) - sum(map(len, held))
        for fate, numbers in enumerate(held):
            self._into.add(fate, np.array(numbers, np.uint64))


class _Fates:
    """What becomes of a number with an outcome, remembered by the outcome."""

    def __init__(self, register: str, rulebook: Rulebook) -> None:
        self._register = register
        self._required: Mapping[str, tuple[str, ...]] = {
            rule.digest: rule.require for country in rulebook.countries.values() for rule in country.rules
        }
        self._known: dict[Outcome | None, int] = {}

    def of(self, outcome: Outcome | None) -> int:
        """Whether the register must be asked about a number with this outcome."""
        fate = self._known.get(outcome)
        if fate is None:
            fate = self._known[outcome] = self._of(outcome)
        return fate

    def _of(self, outcome: Outcome | None) -> int:
        if outcome is None:
            return _OTHER
        return self.of_finding(outcome.rules, outcome.reason, outcome.finding.registers)

    def of_finding(self, rules: str, reason: Reason, registers: Sequence[str]) -> int:
        """The same by what a stamp says."""
        if self._register not in self._required.get(rules, ()):
            return _OTHER
        if reason is Reason.NO_CONSENT:
            return _ASKED
        if reason is Reason.STALE_REGISTER:
            return _ASKED if self._register in registers else _OTHER
        return _GOOD if reason.verdict is Verdict.ALLOWED else _OTHER


def _need_required(register: str, rulebook: Rulebook) -> None:
    """Raises ConfigError for a register that no rule requires: nothing of it would ever be asked."""
    required = {
        name for country in rulebook.countries.values() for rule in country.rules for name in rule.require
    }
    if register not in required or RegisterName.parse(register) is None:
        listed = ", ".join(sorted(required))
        raise ConfigError([f"--prepare-wash: no rule requires {register!r}; rules require: {listed}"])
