"""Rules by the digest on a stamp, from the texts that the log has kept. They give an old verdict again."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from stream_scrub.errors import ConfigError, Corrupt
from stream_scrub.rules.book import Rulebook
from stream_scrub.rules.check import read_country
from stream_scrub.rules.country import Country
from stream_scrub.rules.text import digest_of


def read_text(text: bytes) -> Country:
    """The country file that a rule's text is. Its rule has the digest of exactly these bytes, whatever text this
    version would write for it.

    Raises ConfigError for what this version cannot read: (a) bytes that are no rule, (b) keys of a later version.
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
    """The texts of rules by their digest. Immutable. A text is read only when it is asked for: one that only a later
    version understands does no harm to the others.
    """

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        """Raises Corrupt when a text is no rule's text, or when two texts have one digest: neither is ever
        published."""
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
        """The rules to replay one stamp with. Each digest's rule holds for the numbers that it governs, on the days
        that it was in force. Other numbers have no rule.

        Raises KeyError for a digest that was never kept. Raises ConfigError (a) as `read_text` does, (b) when two
        rules are of one country: no stamp names two such rules.
        """
        countries = [read_text(self._texts[digest]) for digest in dict.fromkeys(digests)]
        codes = [country.code for country in countries]
        if twice := sorted({code for code in codes if codes.count(code) > 1}):
            raise ConfigError([f"two rules of {code}: a stamp is given by one" for code in twice])
        return Rulebook(countries)

    def lacks(self, book: Rulebook) -> list[bytes]:
        """The texts of a rulebook that were not kept yet, in the order of their digests. Keep them before the first
        stamp by these rules goes out.

        Raises ConfigError when a text has the digest of a different text that was kept: a stamp could not tell them
        apart.
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
