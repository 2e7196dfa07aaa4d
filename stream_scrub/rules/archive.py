"""Rules by the digest on a stamp, from the texts that the log has kept: what an old verdict is given again by."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.rules.book import Rulebook
from stream_scrub.rules.check import read_country
from stream_scrub.rules.country import Country
from stream_scrub.rules.text import digest_of


def read_text(text: bytes) -> Country:
    """The country file that a rule's text is, its rule with the digest of exactly these bytes: what a later version
    would make of it does not matter.

    Raises ConfigError for what this version cannot read: bytes that are no rule, or keys of a later version.
    """
    try:
        digest = digest_of(text)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    read = read_country(f"{digest[:2]}.toml", digest, text, kept=True)
    if not isinstance(read, Country):
        raise ConfigError(read)
    return replace(read, rules=tuple(replace(rule, text=text, digest=digest) for rule in read.rules))


class Archive:
    """The texts of rules by their digest. Immutable. A text is read when it is asked for, so that one that only a
    later version understands takes nothing away from the others.
    """

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        """Raises Corrupt when a text is none of a rule, or two have one digest: neither is ever published."""
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

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, digest: str) -> bytes | None:
        """The text that the digest names; None when it was never kept."""
        return self._texts.get(digest)

    def country(self, digest: str) -> Country | None:
        """The country file with the rule that the digest names, and no other; None when it was never kept.

        Raises ConfigError as `read_text` does.
        """
        text = self._texts.get(digest)
        return None if text is None else read_text(text)

    def book(self, digests: Iterable[str]) -> Rulebook:
        """Rules to replay one stamp by: each digest's rule for the numbers that it governs, on the days that it was
        in force, and none for any other number.

        Raises KeyError for a digest that was never kept, ConfigError as `read_text` does, or when two of them are of
        one country, which no stamp's are.
        """
        countries = [read_text(self._texts[digest]) for digest in dict.fromkeys(digests)]
        codes = [country.code for country in countries]
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            raise ConfigError([f"two rules of {code}: a stamp is given by one" for code in twice])
        return Rulebook(countries)

    def lacks(self, book: Rulebook) -> list[bytes]:
        """The texts of a rulebook that were not kept yet, in an order of their own: what to keep before its first
        stamp goes out.

        Raises ConfigError when one has the digest of another text that was kept: then a stamp would not tell which.
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
