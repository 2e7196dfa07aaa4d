"""What is odd about a list, so that somebody should look at it before it is published. An option lets it through."""

import math
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from difflib import get_close_matches

from pyroaring import BitMap64

from stream_scrub.errors import TooMany
from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.parsing.list_columns import suggested_columns
from stream_scrub.imports.parsing.parsed_list import AS_IT_CAME, CHANGES_ONLY, ListColumn
from stream_scrub.index import Register
from stream_scrub.index.deltas import Delta
from stream_scrub.languages import by_door, say, translatable
from stream_scrub.model import RegisterKind, RegisterName, family, scoped_name
from stream_scrub.texts import masked

LETS_THROUGH = "--allow-change"
_LONGEST = 15  # digits of a number (ITU-T E.164)
# For a page.
_CONSENTED = translatable(
    "this is a list of people who consented: upload it under “People who consented to your calls”"
)


class OddList(BadList):
    """A list that may be right all the same, so that an option lets it through. `fact` is what is odd."""

    def __init__(self, fact: str, cure: str) -> None:
        super().__init__(f"{fact}. {cure}", [fact])
        self.fact = fact


@contextmanager
def noted(facts: list[str], *, allow: bool) -> Iterator[None]:
    """With `allow`, an odd list passes, and what is odd is noted."""
    try:
        yield
    except OddList as error:
        if not allow:
            raise
        facts.append(error.fact)


@contextmanager
def collected(objections: list[BadList | TooMany], *, dry_run: bool) -> Iterator[None]:
    """In a dry run a refusal is collected, and the plan goes on as if it had been allowed."""
    try:
        yield
    except (BadList, TooMany) as error:
        if not dry_run:
            raise
        objections.append(error)


def check_name(register: str, known: Collection[str]) -> None:
    """Raises BadList for a new register whose name is not among those that rules and settings use: nothing would be
    judged by it."""
    name = family(register)
    if known and name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise BadList(
            f"no rule of any day uses a register {name}{hint}: correct the name, or pass --register-unknown"
            " of `stream-scrub lists import`"
            " (in Python ListFile.register_unknown, in a drop folder allow-change)"
        )


def check_fits(reading: ParsedList, change: str, base: Register, wanted: RegisterKind | None = None) -> None:
    """Raises BadList when the list is not one for this register, or not one for this kind of change. `wanted` is the
    kind that the operator named: the operator knows better than the format what the numbers are.
    """
    if reading.kind is not None and reading.kind is not base.kind and wanted is not base.kind:
        why = (
            f"a list like this is for a register of kind {reading.kind}, and {base.name} is of kind {base.kind}:"
            f" name another register, or choose the kind {base.kind} (--kind on the command line) if that is what"
            " its numbers mean"
        )
        page = say(
            "this is a list of people who must not be called: upload it under “People who asked you not to call”"
        )
        if reading.kind is RegisterKind.ALLOW:
            page = say(_CONSENTED)
        raise BadList(by_door(why, page))
    if reading.endless and base.kind is RegisterKind.ALLOW and change != "removes":
        why = (
            f"the ends of {reading.endless} lines cannot be read, and without them these consents would never end:"
            f" {reading.described}. Write them as in 2027-11-24"
        )
        page = say(
            "lines whose end of consent cannot be read: %(lines)s. Write the days as in 2027-11-24",
            lines=reading.endless,
        )
        raise BadList(by_door(why, page))
    if reading.scope and _compared(base.name, reading.scope) != _compared(base.name, base.scope):
        why = (
            f"the list is for the campaign {masked(reading.scope)}, and the register {base.name} is not: import it with"
            f" --register {scoped_name(family(base.name), reading.scope)}"
        )
        page = say("the list is for another campaign: %(campaign)s", campaign=masked(reading.scope))
        raise BadList(by_door(why, page))
    if reading.change == "delta" and change != "full":
        raise BadList("the list states additions and removals itself: leave --adds and --removes out")
    if reading.base is not None and reading.base != base.seq:
        why = (
            f"the delta applies on sequence {reading.base} of {base.name}, which is at {base.seq}: import the deltas"
            " in between first, or a full list"
        )
        raise BadList(by_door(why, say(CHANGES_ONLY)))


def _compared(register: str, scope: str) -> RegisterName:
    return RegisterName(family(register), scope).plainly


def check_answers(reading: ParsedList, register: str) -> None:
    """Raises BadList for a list of several columns in a register of clean answers of which only the numbers were read:
    if another column holds the answers, whoever is opposed would be taken for clean."""
    if reading.answered or reading.unread_columns:
        why = (
            f"{register} holds clean answers, and another column may hold them. Use --format wash, with --columns"
            " status=COLUMN,clean=WORD, or with --columns listed=clean if the opposed numbers were taken out"
        )
        raise BadList(by_door(why, say(AS_IT_CAME)))


class UnstatedConsents(BadList):
    """A list for a register of consents that does not state them. `columns` are its columns, `named` those that
    might state them, by role."""

    def __init__(self, register: str, columns: Sequence[ListColumn]) -> None:
        self.register, self.columns = register, tuple(columns)
        self.named = suggested_columns(columns)
        head = f"{register} is a register of consents, and the list does not state that each of its persons consented"
        lines = ["it has these columns:", *map(str, columns)] if columns else ["its layout states none"]
        self.facts = [f"{head}: {lines[0]}", *lines[1:]]
        super().__init__("\n".join([*self.facts, *self.cures()]))

    @property
    def order(self) -> str:
        """The columns as `--columns` takes them; empty if none are known."""
        return ",".join(f"{role}={name}" for role, name in self.named.items())

    def cures(self, command: Sequence[str] = (), register: str = "") -> list[str]:
        """What to do, with the whole command if `command` is the one that was refused. `register` stands before the columns
        and in --all-consented, where an option of a command is for one of several lists."""
        everybody = f"--all-consented={register}" if register else "--all-consented"
        named = f"{register}:{self.order}" if register else self.order
        options = ["--columns", named] if self.named else []
        if "consent" in self.named:
            return self._cures(shlex.join([*command, *options]), shlex.join([*command, everybody]))
        example = "--columns phone=Mobile,consent=Opt-in"
        return self._cures(example, shlex.join([*command, *options, everybody]))

    def _cures(self, columns: str, everybody: str) -> list[str]:
        """What to do, in the words of an interface: how it names the columns, and how it says that everybody consented."""
        if "consent" in self.named:
            name_them = f"to count only the rows with a yes, name the columns: {columns}"
        else:
            name_them = f"if one of its columns says who agreed to these calls, name it, as in {columns}"
        return [name_them, f"if every person in the list consented: {everybody}"]

    def in_python(self) -> BadList:
        """The same error for the Python interface."""
        columns = f"ListFile(columns={self._columns})"
        return BadList("\n".join([*self.facts, *self._cures(columns, "ListFile(all_consented=True)")]))

    def in_drop_folder(self) -> str:
        """The same text for a file in the drop folder."""
        pairs = ", ".join(f'{role} = "{name}"' for role, name in self._columns.items())
        columns = f'"{self.register}" = {{ {pairs} }} below [lists.columns]'
        everybody = f"drop the file into {self.register}/all-consented"
        return "\n".join([*self.facts, *self._cures(columns, everybody)])

    @property
    def _columns(self) -> dict[str, str]:
        """The columns to name, by role; an example if none of them may be the answer."""
        return self.named if "consent" in self.named else {"phone": "Mobile", "consent": "Opt-in"}


def check_consents(reading: ParsedList, register: str) -> None:
    """Raises UnstatedConsents for a list of which nobody said that its persons consented, BadList for one whose ends
    may be one of two days."""
    if reading.unstated:
        raise UnstatedConsents(register, reading.columns)
    line, column = reading.end_at
    if line:
        why = (
            f"line {line}: column {column} says until when the person may be called, and its day may be one of two. Write"
            f" its days as in 2027-01-31, or name the columns: --columns phone=1,until={column} --all-consented"
        )
        page = say(
            "line %(line)s: the day in column %(column)s may be one of two days. Write the days as in 2027-01-31",
            line=line,
            column=column,
        )
        raise BadList(by_door(why, page))


def check_region(reading: ParsedList, name: str) -> None:
    """Raises BadList for a list whose national numbers nobody named the country of, and whose other numbers, or one of whose
    columns, speak against the default one. `name` is the file's."""
    if reading.assumed is None:
        return
    doubt = reading.assumed.doubt
    unread = [column.name for column in reading.columns if column.suggested == "country" and not column.role]
    if unread and not doubt:
        doubt = reading.assumed.doubt_by(say("column %(place)s", place=unread[0]))
    if doubt:
        why = (
            f"{masked(name)}: {doubt}; nothing was published. Pass --region of `stream-scrub lists import` (in Python"
            " ListFile.region) if all of them are of one country, or name the column with each row's country, as in --columns"
            " phone=1,country=2"
        )
        page = say(
            "%(doubt)s. Choose “Country of numbers without a country code” if all of them are of one country",
            doubt=doubt,
        )
        raise BadList(by_door(why, page), [doubt])


def check_every_row(reading: ParsedList, register: str) -> None:
    """Raises BadList for a list of oppositions, or of numbers to remove, that was read by the columns of its consents."""
    if reading.answered:
        why = (
            f"every row of this list counts for {register}: name no column but phone. To import only the people who said"
            " no, import the list into its register of consents with --no-into REGISTER"
        )
        page = say(_CONSENTED)
        raise BadList(by_door(why, page))


def within(area: str, numbers: BitMap64) -> int:
    """How many of the numbers begin with these digits."""
    if not area:
        return len(numbers)
    first, lengths = int(area), range(_LONGEST - len(area) + 1)
    return sum(int(numbers.rank((first + 1) * 10**n - 1) - numbers.rank(first * 10**n - 1)) for n in lengths)


def check_country(base: Register, delta: Delta, largest: float, codes: Sequence[str]) -> None:
    """Raises BadList when more than the share `largest` of the numbers that come into the register have another calling
    code than the countries whose rules use it."""
    foreign = len(delta.adds) - sum(within(code, delta.adds) for code in codes)
    if codes and foreign > largest * max(len(base.numbers), len(delta.adds)):
        raise OddList(
            f"{foreign:,} of its {len(delta.adds):,} new numbers are not of the countries of {base.name}"
            f" (+{', +'.join(codes)})",
            f"Check that it is the right file, and --region; {LETS_THROUGH} lets it through",
        )


def check_change(
    base: Register, delta: Delta, change: str, largest: float, free: float = math.inf, lines: int = 0
) -> None:
    """Raises BadList, with the figures, for (a) a full list that would change more than the share `largest` of the
    register, (b) numbers to add that are more than that and more than `free`, or (c) the first list of a register that
    adds more than `free` numbers and more than its `lines`: a file of a few bytes may stand for millions.
    """
    held, adds, removes = len(base.numbers), len(delta.adds), len(delta.removes)
    if math.isinf(largest):
        return
    if change != "full" or not held:
        if adds > max(largest * held, free, 0 if held else lines):
            raise OddList(
                f"it would add {adds:,} numbers, where {base.name} holds {held:,}: more than lists.max_added ({free:,})"
                " lets pass at once",
                f"Check that it is the right file; {LETS_THROUGH} lets it through",
            )
        return
    if max(adds, removes) <= largest * held:
        return
    changes = [
        f"{does} {count:,} ({count / held:.1%})"
        for does, count in (("add", adds), ("remove", removes))
        if count > largest * held
    ]
    raise OddList(
        f"it would {' and '.join(changes)}, where {base.name} holds {held:,} numbers: more than lists.max_change"
        f" ({largest:.1%}) lets pass",
        f"Check that the file is complete, and the right one; {LETS_THROUGH} lets it through",
    )


def check_joins(reading: ParsedList, register: str, held: Register | None) -> None:
    """Raises BadList for changes of a register whose lists grow too old that do not begin where it ends: (a) it has no
    list yet, (b) days are missing between them (OddList). Answers of a wash are no changes, and a delta that names its
    sequence is checked by that."""
    if reading.good_s or reading.base is not None:
        return
    if held is None or held.is_removed:
        why = f"it holds changes only, and {register} has no list yet: import the full list first"
        raise BadList(by_door(why, say(CHANGES_ONLY)))
    if reading.since is None:
        return
    first, last = held.effective_at.date() + timedelta(days=1), reading.since.date() - timedelta(days=1)
    if first <= last:
        days = f"{first}" if first == last else f"{first} to {last}"
        raise OddList(
            f"its changes begin on {reading.since.date()}, and {register} is of {held.effective_at.date()}: the changes"
            f" of {days} are missing",
            f"Import them first, or the full list. If nothing changed on these days, {LETS_THROUGH} lets it through",
        )
