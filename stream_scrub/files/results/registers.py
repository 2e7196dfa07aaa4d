"""The registers and rules that a run's verdicts rest on, as its summary, page and proof tell them."""

from collections.abc import Iterable
from datetime import datetime

from stream_scrub.files.results.summary import RegisterUsed, RuleUsed
from stream_scrub.lists.parsing.unpack import digest
from stream_scrub.redaction import masked
from stream_scrub.rules import Rulebook, in_words
from stream_scrub.wiring.index_sources import IndexUsed


def registers_of(used: IndexUsed, now: datetime) -> list[RegisterUsed]:
    """Every register of the index by its name, with its list file where the run was given one. Raises BadList."""
    found = []
    for name, register in sorted(used.index.registers.items()):
        file = used.files.get(name)
        found.append(
            RegisterUsed(
                register=name,
                kind=str(register.kind),
                count=len(register.numbers),
                effective_at=register.effective_at,
                age_days=max(0, (now - register.effective_at).days),
                chain=register.chain,
                file="" if file is None else masked(file.name),
                sha256="" if file is None else digest(file),
            )
        )
    return found


def rules_of(rulebook: Rulebook, digests: Iterable[str]) -> list[RuleUsed]:
    """The rules with these digests."""
    known = {
        rule.digest: (code, rule) for code, country in rulebook.countries.items() for rule in country.rules
    }
    return [
        RuleUsed(rules=name, country=code, source=rule.source, says=in_words(rule))
        for name in digests
        for code, rule in [known.get(name, ("", None))]
        if rule is not None
    ]
