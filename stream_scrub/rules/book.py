"""All rule files, joined (`Rulebook`), and the rules of old stamps (`Archive`). Files are read in `load` only."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from stream_scrub.call import VOICE
from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.model import RegisterKind
from stream_scrub.rules import hours, public_names, purposes
from stream_scrub.rules.check import read_country
from stream_scrub.rules.country import Country, Rule, digest_of, parent_of, text_of
from stream_scrub.rules.purposes import Vocabulary
from stream_scrub.rules.shipped import shipped as shipped_rules
from stream_scrub.toml_lines import TomlLines

_FILES_KEPT = 64
# What `rules.reassigned_query` asks of rules that know of reassigned numbers, as the rule of Maine does by law: that a
# query of the database came back clean, and how old the answer may be. The database is renewed monthly.
_REASSIGNED = "us-reassigned"
_NOT_REASSIGNED = "us-rnd-clean"
_ANSWER_DAYS = 31
NO_REGION = "ZZ"  # Unicode's code for an unknown region: it has no rule


class RuleFile(NamedTuple):
    """The bytes of one rule file."""

    name: str  # as in `fr.toml`
    where: str  # the path to show to people
    content: bytes
    default_timezone: str | None = None


class Rulebook:
    """All countries' rules. Immutable, for any thread; no method blocks or reads a file."""

    def __init__(self, countries: Iterable[Country]) -> None:
        by_code = {country.code: country for country in countries}
        rules = tuple(rule for country in by_code.values() for rule in country.rules)
        self.countries: Mapping[str, Country] = by_code  # by their code
        self.rules = rules  # of all countries and days
        # Every register that any rule of any date names.
        self.registers = frozenset(name for rule in rules for name in rule.registers)
        # Every register that any rule of any date asks: a list for any other one changes no verdict.
        self.asked = frozenset(name for rule in rules for name in rule.asked)
        # The kind that each of them must have. A register on which rules disagree is left out.
        self.kinds: Mapping[str, RegisterKind] = _kinds(rules)
        # Every register of clean answers that some rule washes by.
        self.washes = frozenset(name for rule in rules for name in (*rule.wash, *rule.wash_named))
        # Every register that some rule lets grow too old.
        self.aging = frozenset(name for rule in rules for name in rule.max_age_days)
        # The canonical text of every rule by its digest: the log keeps them, so that old stamps can be replayed.
        self.texts: Mapping[str, bytes] = {rule.digest: rule.text for rule in rules}
        self._of_region = {region: each for each in by_code.values() for region in each.regions}
        # By country of which some file lists prefixes: the region of its numbers by their first digits, a state's or the
        # country's own. NO_REGION for digits that no file lists, if the country's own file lists any.
        self.regions_of: Mapping[str, Mapping[str, str]] = _regions_of(by_code.values())

    @classmethod
    def load(cls, folder: Path | None = None, *, always_query: bool = False) -> "Rulebook":
        """The shipped rules, and those of a user's folder over them. Reads files. `always_query`: see `survey`.

        Raises ConfigError with every problem of every file.
        """
        return cls._sound(survey(folder, always_query=always_query))

    @classmethod
    def of(cls, rule_files: Iterable[RuleFile]) -> "Rulebook":
        """The rules in these files and no others. Raises ConfigError with every problem of every file."""
        return cls._sound(_surveyed(rule_files))

    @classmethod
    def _sound(cls, survey: "Survey") -> "Rulebook":
        if survey.problems:
            raise ConfigError(list(survey.problems))
        return cls(survey.countries)

    def narrowed(self, codes: Collection[str]) -> "Rulebook":
        """The rules of these countries and their states; all rules without any code. Numbers of other countries have no
        rule. Raises ConfigError for a code without a country."""
        if problems := unknown_countries(self.countries.values(), codes):
            raise ConfigError(problems)
        return Rulebook(in_use(self.countries.values(), codes))

    def country(self, region: str) -> Country | None:
        """The country, or state, whose rules govern numbers of that region, if any. A state without rules of its own
        has those of its country."""
        return self._of_region.get(region) or self._of_region.get(parent_of(region))

    def region_of(self, number: int, region: str) -> str:
        """The region of a number whose plan says `region`: that of its state, if the state has rules of its own; NO_REGION if
        its area is not known."""
        regions = self.regions_of.get(region)
        if regions is None:
            return region
        text = str(number)
        return next((regions[text[:end]] for end in range(1, len(text)) if text[:end] in regions), region)

    def day(self, region: str, at: datetime) -> date | None:
        """The day of that instant in the zone of the country that governs the region; None without one. Raises
        ValueError if `at` has no zone."""
        local = self.local(region, at)
        return None if local is None else local.date()

    def local(self, region: str, at: datetime) -> datetime | None:
        """That instant in the zone of the country that governs the region; None without one. Raises ValueError if `at`
        has no zone."""
        if at.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        # The law of the number's own country counts, whatever country the prospect names.
        country = self.country(region)
        return None if country is None else at.astimezone(country.zone)

    def rule(self, region: str, at: datetime, channel: str = VOICE) -> Rule | None:
        """The rule for a number of that region at that instant by that channel; None without one: then the number may
        not be called. Raises ValueError if `at` has no zone."""
        day = self.day(region, at)
        return None if day is None else self.on(region, day, channel)

    def in_force(self, at: datetime) -> Iterator[tuple[Rule, datetime]]:
        """Every rule in force at that instant, for any channel, with the instant in the zone of its country."""
        for country in self.countries.values():
            local = at.astimezone(country.zone)
            for rule in country.all_on(local.date()):
                yield rule, local

    def on(self, region: str, day: date, channel: str = VOICE) -> Rule | None:
        """The rule for a number of that region and a channel on that day of its country; None without one."""
        country = self.governing(region, day, channel)
        return None if country is None else country.on(day, channel)

    def governing(self, region: str, day: date, channel: str = VOICE) -> Country | None:
        """As `country`; on a day without a rule of a state for that channel, its country."""
        country = self.country(region)
        if country is not None and country.parent and country.on(day, channel) is None:
            return self._of_region.get(country.parent)
        return country


def in_use(countries: Iterable[Country], codes: Collection[str]) -> tuple[Country, ...]:
    """The countries with these codes. A country is in use with its states: without the rules of a state, its country's
    would hold there. Without any code, all."""
    return tuple(
        country for country in countries if not codes or country.code in codes or country.parent in codes
    )


def unknown_countries(countries: Iterable[Country], codes: Iterable[str]) -> list[str]:
    """The problem with unknown country codes, if any."""
    governing = {
        region: country.parent or country.code for country in countries for region in country.regions
    }
    known = sorted(set(governing.values()))
    unknown = []
    for code in dict.fromkeys(codes):
        if code not in known:
            of_country = f" (its rules are those of {governing[code]})" if code in governing else ""
            unknown.append(f'"{code}"{of_country}')
    if not unknown:
        return []
    return [f"rules.countries: no country is called {', '.join(unknown)}: use some of {', '.join(known)}"]


def _regions_of(countries: Iterable[Country]) -> dict[str, dict[str, str]]:
    regions: dict[str, dict[str, str]] = {}
    with_prefixes = [each for each in countries if each.prefixes]
    # Countries first: the file of a state may take over prefixes of its country.
    for country in sorted(with_prefixes, key=lambda each: each.parent):
        of_country = regions.setdefault(country.parent or country.code, {})
        of_country.update(dict.fromkeys(country.prefixes, country.code))
    for country in with_prefixes:
        if not country.parent:
            regions[country.code].update(dict.fromkeys(_unlisted(regions[country.code]), NO_REGION))
    return regions


def _unlisted(prefixes: Collection[str]) -> list[str]:
    """The shortest prefixes of all numbers that begin with none of these."""
    begun = {prefix[:end] for prefix in prefixes for end in range(len(prefix))}
    tried = (f"{start}{digit}" for start in begun for digit in range(10))
    return [prefix for prefix in tried if prefix not in begun and prefix not in prefixes]


def _kinds(rules: Iterable[Rule]) -> dict[str, RegisterKind]:
    """The kind of each register: DENY if rules deny by it, ALLOW if rules require it, wash by it or let it lift for one caller."""
    denying: set[str] = set()
    allowing: set[str] = set()
    for rule in rules:
        denying.update(rule.deny, rule.reassigned)
        allowing.update(rule.require, rule.wash, rule.scoped)
    kinds = dict.fromkeys(denying - allowing, RegisterKind.DENY)
    return kinds | dict.fromkeys(allowing - denying, RegisterKind.ALLOW)


class Survey(NamedTuple):
    """The countries of all rule files that could be read, and every problem of the others."""

    countries: tuple[Country, ...]
    problems: tuple[str, ...]
    own: frozenset[str] = frozenset()  # countries whose file is in the user's folder
    replaced: frozenset[str] = frozenset()  # those of them that are shipped as well
    purposes: Vocabulary = MappingProxyType({})  # the words for what a call is for


def survey(folder: Path | None = None, *, always_query: bool = False) -> Survey:
    """The shipped rules, those of a user's folder over them, and every problem. Reads files. `always_query`: no American
    number is called before a query of the database of reassigned numbers, whatever the person agreed to."""
    shipped = _shipped()
    own: dict[str, RuleFile] = {}
    problems: list[str] = []
    meanings = purposes.shipped()
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
                meanings = purposes.joined(meanings, read)
    read_all = _surveyed({**shipped, **own}.values(), meanings)
    codes = {name: name.removesuffix(".toml").upper() for name in own}
    countries = read_all.countries
    if always_query:
        countries = tuple(_queried(country) for country in countries)
    return read_all._replace(
        countries=countries,
        problems=(*problems, *read_all.problems),
        own=frozenset(codes.values()),
        replaced=frozenset(code for name, code in codes.items() if name in shipped),
    )


def _queried(country: Country) -> Country:
    """The country with a query of the database of reassigned numbers in each rule that knows of these numbers."""
    rules: list[Rule] = []
    for rule in country.rules:
        if _REASSIGNED in rule.reassigned:
            asking = replace(
                rule,
                wash=tuple(dict.fromkeys((*rule.wash, _NOT_REASSIGNED))),
                wash_despite_consent=tuple(dict.fromkeys((*rule.wash_despite_consent, _NOT_REASSIGNED))),
                max_age_days={_NOT_REASSIGNED: _ANSWER_DAYS, **rule.max_age_days},
            )
            text = text_of(asking, country.regions, country.timezone, country.prefixes)
            asking = replace(asking, text=text, digest=digest_of(text))
            rules.append(asking)
        else:
            rules.append(rule)
    return replace(country, rules=tuple(rules))


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
    """The country in a file, read once: a command may load its rules twice, and that takes a tenth of a second."""
    return read_country(file.name, file.where, file.content, file.default_timezone, dict(words) or None)


def _shipped() -> dict[str, RuleFile]:
    shipped = shipped_rules()
    found = [path for path in shipped.folder.iterdir() if path.name.endswith(".toml")]
    return {
        each.name: RuleFile(each.name, f"{shipped.where}/{each.name}", each.read_bytes())
        for each in sorted(found, key=lambda each: each.name)
        if each.name not in (purposes.FILE, hours.FILE, public_names.FILE)
    }


def _own(folder: Path, shipped: Mapping[str, RuleFile]) -> dict[str, RuleFile]:
    """The user's files. Raises ConfigError for a folder that cannot be read or holds no rules."""
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
    """The time zone of a country whose file has none: (a) the shipped file's, of a state also its country's, else (b)
    its only zone, else (c) None."""
    file = shipped.get(f"{stem}.toml") or shipped.get(f"{parent_of(stem)}.toml")
    if file is not None:
        read = _read(file, ())
        return read.timezone if isinstance(read, Country) else None
    # Code, coordinates, zone, comments.
    table = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8")
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
    # The country's own prefixes first: its states may take them over.
    begins = sorted((prefix, each.parent, each.where, each) for each in countries for prefix in each.prefixes)
    for (prefix, _, _, first), (longer, _, where, each) in pairwise(begins):
        taken_over = prefix == longer and each.parent == first.code
        if longer.startswith(prefix) and not taken_over:
            problems.append(
                f"{where}:{TomlLines(each.text).of('prefixes')}: numbers with +{longer} are those of {first.where} as "
                "well: leave them in one of them"
            )
    return problems


def read_text(text: bytes) -> Country:
    """A rule's text as a country file. Its rule has the digest of exactly these bytes, whatever text this release would
    write for it. Raises ConfigError for (a) invalid rules, (b) the text of a later release.
    """
    try:
        digest = digest_of(text)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    read = read_country(f"{digest.partition('@')[0]}.toml", digest, text, kept=True)
    if not isinstance(read, Country):
        raise ConfigError(read)
    return replace(read, rules=tuple(replace(rule, text=text, digest=digest) for rule in read.rules))


class Archive:
    """The texts of rules by their digest. Immutable. A text is only read when its rule is needed: one that only a later
    release understands does not harm the others.
    """

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        """Raises Corrupt if a text is not a rule, or if two texts have one digest: neither is ever published."""
        self._texts: dict[str, bytes] = {}
        for text in texts:
            try:
                digest = digest_of(text)
            except ValueError as error:
                raise Corrupt(f"the archive of rules: {error}") from error
            if self._texts.setdefault(digest, text) != text:
                raise Corrupt(f"the archive of rules holds two texts with the digest {digest}")

    def __contains__(self, digest: object) -> bool:
        return digest in self._texts

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, digest: str) -> bytes | None:
        """The text with that digest; None without one."""
        return self._texts.get(digest)

    def country(self, digest: str) -> Country | None:
        """The country file with the rule of that digest and no other; None without one. Raises as `read_text`."""
        text = self._texts.get(digest)
        return None if text is None else read_text(text)

    def book(self, digests: Iterable[str]) -> Rulebook:
        """The rules to replay one stamp with. Each holds for the numbers that it governs, on the days that it was in
        force; other numbers have no rule.

        Raises KeyError for a digest without a text. Raises ConfigError (a) as `read_text`, (b) for two rules of one
        country: no stamp names two such rules.
        """
        countries = [read_text(self._texts[digest]) for digest in dict.fromkeys(digests)]
        codes = [country.code for country in countries]
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            raise ConfigError([f"two rules of {code}: a stamp is given by one" for code in twice])
        return Rulebook(countries)

    def lacks(self, book: Rulebook) -> list[bytes]:
        """The texts of a rulebook that are not here, in the order of their digests. Publish them before the first stamp
        by these rules is emitted.

        Raises ConfigError if a text has the digest of a different one that is here: a stamp could not tell them apart.
        """
        problems = []
        lacking = []
        for digest, text in sorted(book.texts.items()):
            kept = self._texts.get(digest)
            if kept is None:
                lacking.append(text)
            elif kept != text:
                problems.append(
                    f"{digest}: an older rule with another text has the same digest: change a word of the source"
                )
        if problems:
            raise ConfigError(problems)
        return lacking
