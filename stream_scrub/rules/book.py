"""The rule files, found and joined: `Rulebook`. Reads files once, in `load`, and never again."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from stream_scrub.errors import ConfigError
from stream_scrub.model import RegisterKind
from stream_scrub.rules import purposes
from stream_scrub.rules.check import read_country
from stream_scrub.rules.country import READING, VOICE, Country, Rule
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.toml_lines import TomlLines

_SHIPPED = "stream_scrub/rules"
_FILES_KEPT = 64


class RuleFile(NamedTuple):
    """One rule file as it was found: its own name (`fr.toml`), the path to show to people, its bytes."""

    name: str
    where: str
    content: bytes
    default_timezone: str | None = None


class Rulebook:
    """All countries' rules. Immutable once made; any thread may ask it, and no question blocks or reads a file."""

    def __init__(self, countries: Iterable[Country]) -> None:
        self._countries = {country.code: country for country in countries}
        self._zones = {code: ZoneInfo(country.timezone) for code, country in self._countries.items()}
        self._of_region = {
            region: country for country in self._countries.values() for region in country.regions
        }
        rules = [rule for country in self._countries.values() for rule in country.rules]
        self._registers = frozenset(name for rule in rules for name in rule.registers)
        self._kinds = _kinds(rules)
        self._aging = frozenset(name for rule in rules for name in rule.max_age_days)
        self._texts = {rule.digest: rule.text for rule in rules}
        self._reading = min((rule.reading for rule in rules), default=READING)

    @classmethod
    def load(cls, folder: Path | None = None) -> "Rulebook":
        """The shipped rules, and those of a user's folder over them. Reads files.

        Raises ConfigError with every problem of every file.
        """
        return cls._sound(survey(folder))

    @classmethod
    def of(cls, rule_files: Iterable[RuleFile]) -> "Rulebook":
        """The rules in these files and no others. Raises ConfigError with every problem of every file."""
        return cls._sound(_surveyed(rule_files))

    @classmethod
    def _sound(cls, found: "Survey") -> "Rulebook":
        if found.problems:
            raise ConfigError(list(found.problems))
        return cls(found.countries)

    @property
    def countries(self) -> Mapping[str, Country]:
        """The countries by their code."""
        return MappingProxyType(self._countries)

    @property
    def registers(self) -> frozenset[str]:
        """Every register that any rule of any date names."""
        return self._registers

    @property
    def aging(self) -> frozenset[str]:
        """Every register that some rule lets grow too old."""
        return self._aging

    @property
    def kinds(self) -> Mapping[str, RegisterKind]:
        """The kind that each register named by a rule must have. A register on which rules disagree is left out."""
        return MappingProxyType(self._kinds)

    @property
    def reading(self) -> int:
        """The reading by which prospects are read for these rules: the earliest that one of the rules names."""
        return self._reading

    @property
    def texts(self) -> Mapping[str, bytes]:
        """The canonical text of every rule by its digest: what must be kept for old stamps to be replayed."""
        return MappingProxyType(self._texts)

    def country(self, region: str) -> Country | None:
        """The country whose rules govern numbers of that region; None when none does."""
        return self._of_region.get(region)

    def day(self, region: str, at: datetime) -> date | None:
        """The day of that instant in the zone of the country that governs the region; None when none does.

        Raises ValueError when `at` has no zone: an instant that must be guessed has no day.
        """
        local = self.local(region, at)
        return None if local is None else local.date()

    def local(self, region: str, at: datetime) -> datetime | None:
        """That instant in the zone of the country that governs the region; None when none does.

        Raises ValueError when `at` has no zone.
        """
        if at.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        country = self._of_region.get(region)
        return None if country is None else at.astimezone(self._zones[country.code])

    def rule(self, region: str, at: datetime, channel: str = VOICE) -> Rule | None:
        """The rule for a number of that region at that instant, reached by that channel; None when there is none: then
        nobody may be reached by it.

        Raises ValueError when `at` has no zone.
        """
        day = self.day(region, at)
        return None if day is None else self.on(region, day, channel)

    def in_force(self, at: datetime) -> Iterator[tuple[Rule, datetime]]:
        """Every rule in force at that instant, for whatever channel, with the instant in the zone of its country."""
        for country in self._countries.values():
            local = at.astimezone(self._zones[country.code])
            for rule in country.all_on(local.date()):
                yield rule, local

    def on(self, region: str, day: date, channel: str = VOICE) -> Rule | None:
        """The rule for a number of that region and a channel on that day of its country; None when there is none."""
        country = self._of_region.get(region)
        return None if country is None else country.on(day, channel)


def _kinds(rules: Iterable[Rule]) -> dict[str, RegisterKind]:
    """The kind of each register: DENY if rules deny by it, ALLOW if rules require it or let it lift for one
    caller."""
    denying: set[str] = set()
    allowing: set[str] = set()
    for rule in rules:
        denying.update(rule.deny)
        allowing.update(rule.require, rule.scoped)
    kinds = dict.fromkeys(denying - allowing, RegisterKind.DENY)
    return kinds | dict.fromkeys(allowing - denying, RegisterKind.ALLOW)


class Survey(NamedTuple):
    """What a look at all rule files found: the countries that could be read, and every problem of the others.

    `own` are the countries whose file is in the user's folder, `replaced` those of them that are shipped as well.
    `purposes` holds the words in which prospects may say what a call is for.
    """

    countries: tuple[Country, ...]
    problems: tuple[str, ...]
    own: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    purposes: Vocabulary = MappingProxyType({})


def survey(folder: Path | None = None) -> Survey:
    """The shipped rules, those of a user's folder over them, and every problem. Reads files."""
    shipped = _shipped()
    own: dict[str, RuleFile] = {}
    problems: list[str] = []
    known = purposes.shipped()
    if folder is not None:
        try:
            own = _own(folder, shipped)
        except ConfigError as error:
            problems = error.problems
        if (words := own.pop(purposes.FILE, None)) is not None:
            read = purposes.read(words.where, words.content)
            if isinstance(read, list):
                problems += read
            else:
                known = purposes.joined(known, read)
    found = _surveyed({**shipped, **own}.values(), known)
    codes = {name: name.removesuffix(".toml").upper() for name in own}
    return found._replace(
        problems=(*problems, *found.problems),
        own=frozenset(codes.values()),
        replaced=frozenset(code for name, code in codes.items() if name in shipped),
    )


def _surveyed(rule_files: Iterable[RuleFile], known: Vocabulary | None = None) -> Survey:
    problems: list[str] = []
    countries: list[Country] = []
    words = () if known is None else tuple(known.items())
    for file in rule_files:
        read = _read(file, words)
        if isinstance(read, Country):
            countries.append(read)
        else:
            problems.extend(read)
    problems.extend(_claimed_twice(countries))
    return Survey(tuple(countries), tuple(problems), purposes=known or purposes.shipped())


@lru_cache(_FILES_KEPT)
def _read(file: RuleFile, words: tuple[tuple[str, tuple[str, ...]], ...]) -> Country | list[str]:
    """The country in a file, read once: a command may ask for its rules more than once, which takes a tenth of a second."""
    return read_country(file.name, file.where, file.content, file.default_timezone, dict(words) or None)


def _shipped() -> dict[str, RuleFile]:
    found = sorted(
        (
            each
            for each in files(__package__).iterdir()
            if each.name.endswith(".toml") and each.name != purposes.FILE
        ),
        key=lambda f: f.name,
    )
    return {each.name: RuleFile(each.name, f"{_SHIPPED}/{each.name}", each.read_bytes()) for each in found}


def _own(folder: Path, shipped: Mapping[str, RuleFile]) -> dict[str, RuleFile]:
    """The user's files. Raises ConfigError for a folder that cannot be read or holds no rules: that is surely a
    mistake."""
    own: dict[str, RuleFile] = {}
    problems: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml" and path.name[:1] != ".")
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigError(
            [f"{folder}: the folder of rules: {reason}: create it, or leave rules.folder empty"]
        ) from error
    for path in paths:
        try:
            own[path.name] = RuleFile(
                path.name, str(path), path.read_bytes(), _usual_timezone(path.stem, shipped)
            )
        except OSError as error:
            problems.append(
                f"{path}:1: {error.strerror or 'it cannot be read'}: make it a file that can be read"
            )
    if not paths:
        problems.append(
            f"{folder}: the folder of rules holds no .toml file: add one, or leave rules.folder empty"
        )
    if problems:
        raise ConfigError(problems)
    return own


def _usual_timezone(stem: str, shipped: Mapping[str, RuleFile]) -> str | None:
    """The time zone of a country whose file names none: (a) the shipped file's, else (b) the country's only zone,
    else (c) None."""
    if (file := shipped.get(f"{stem}.toml")) is not None:
        read = _read(file, ())
        return read.timezone if isinstance(read, Country) else None
    table = (
        files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
    )  # code, coordinates, zone, comments
    rows = [line.split("\t") for line in table.splitlines() if line.startswith(f"{stem.upper()}\t")]
    return rows[0][2] if len(rows) == 1 else None


def _claimed_twice(countries: Iterable[Country]) -> list[str]:
    problems = []
    owner: dict[str, Country] = {}
    for country in countries:
        for region in country.regions:
            first = owner.setdefault(region, country)
            if first is not country:
                problems.append(
                    f"{country.where}:{TomlLines(country.text).of('regions')}: region {region} is claimed by "
                    f"{first.where} as well: leave it in one of them"
                )
    return problems
