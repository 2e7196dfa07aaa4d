"""Which consents end when a person says more than their number: everything they agreed to before. Pure.

Whoever takes consents back, and names no campaign, takes all of them back, to whomever they were. Whoever opposed and
consents again has agreed to what he says now, and to nothing that he agreed to before he opposed: an opposition stands
above the consents beneath it, so the request that lifts it must end these. Only the registers say which there are.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.index import Register
from stream_scrub.model import RegisterKind, RegisterName, family


class OlderConsents(NamedTuple):
    """What a request ends: the consents of these families to that campaign ("": to every one), and those to nobody in
    particular. Not those in `but`, which it gives. `witness` is a register that the request changes in any case. With
    `lifted` only those of numbers that one of these registers of opposition holds."""

    families: Collection[str]
    campaign: str
    witness: str
    but: Collection[str] = ()
    lifted: Collection[str] = ()

    def among(self, names: Iterable[str]) -> Iterator[str]:
        """Those of the registers whose consents end."""
        for name in sorted(names):
            told = RegisterName.split(name)
            meant = not self.campaign or not told.scope or told.campaign == self.campaign
            if meant and told.base in self.families and name not in self.but:
                yield name


class ConsentsHeld:
    """The registers of consents that hold each of some numbers, as a batch of requests has left them."""

    def __init__(self, registers: Mapping[str, Register], families: Collection[str]) -> None:
        self._registers, self._families = registers, families
        self._of: defaultdict[int, set[str]] = defaultdict(set)

    def look(self, numbers: Iterable[int]) -> None:
        """Find these numbers in the registers. All of a batch at once: there may be thousands of registers."""
        asked = BitMap64(sorted(set(numbers)))
        for name, register in self._registers.items() if asked else ():
            if register.kind is RegisterKind.ALLOW and family(name) in self._families:
                for number in register.numbers & asked:
                    self._of[number].add(name)

    def note(self, register: str, numbers: Iterable[int], *, held: bool) -> None:
        """What the batch has made of numbers in a register of consents."""
        for number in numbers:
            (self._of[number].add if held else self._of[number].discard)(register)

    def of(self, number: int) -> Collection[str]:
        """The registers that hold the number."""
        return self._of.get(number, ())
