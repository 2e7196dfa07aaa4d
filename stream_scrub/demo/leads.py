"""The demo's prospects, as its lead producers spell them, each with the truth about it.

A `Lead` is a prospect without its id. It is sent many times, each time with the next id, so that a number that opts
out midway appears before and after. What must come out is kept beside what is sent.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from stream_scrub.demo.countries import COUNTRIES, SPELLINGS, Crowd, DemoCountry, national_digits
from stream_scrub.model import Header

_ID = b'{"id":'
_FORGED = b'{"verdict":"allowed","reason":"clear","number":"+33600000000","index":0}'
_NAMES = ("Ada Martin", "Zoé Lefèvre", "Jürgen Groß", "Marta O'Neill", "李 小龙", "Sam Day", "Kim Peeters")
_QUOTED = 'Theodora "Teddy" Low'  # an escape: only the strict reader may take it apart
_COMMON = (
    *("international", "international, spaced", "dialled from abroad", "national", "national, spaced"),
    *("national, dots", "national, hyphens"),
)


class Claim(NamedTuple):
    """A number that a prospect names, and the country that its law comes from."""

    number: int
    country: DemoCountry


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A prospect without its id. `start`, the id and `sent` make its value; `start`, the id, `head`, the stamp and
    `tail` make what comes out.

    Not `readable`: it comes out as it was sent, the stamp in a header. Without a `start`, `sent` is the whole value
    and a header `lead` holds the id. `claims` are its candidates in order, None for one that is no number; `purpose`
    and `contract` what the rules may ask for. `headers` are sent, `kept` must come out.
    """

    key: bytes | None = None
    start: bytes = _ID
    sent: bytes | None
    head: bytes = b""
    tail: bytes = b""
    readable: bool = True
    claims: tuple[Claim | None, ...] = ()
    purpose: str = ""
    contract: bool = False
    headers: tuple[Header, ...] = ()
    kept: tuple[Header, ...] = ()

    def value(self, number: int) -> bytes | None:
        """The value to send with this id."""
        return b"%b%d%b" % (self.start, number, self.sent) if self.sent else self.sent

    def outgoing(self, number: int) -> tuple[Header, ...]:
        """The headers to send with this id."""
        return self.headers if self.start else (*self.headers, ("lead", b"%d" % number))

    def arriving(self, number: int) -> tuple[Header, ...]:
        """The headers that must come out, without a stamp."""
        return self.kept if self.start else (*self.kept, ("lead", b"%d" % number))


def phone_forms(country: DemoCountry, number: int) -> dict[str, bytes]:
    """Every way in which a prospect of that country may spell the number, by its name, as the JSON of a member."""
    national = national_digits(country, number)
    texts = {name: spell(country, national) for name, spell in SPELLINGS.items()}
    forms = {name: msgspec.json.encode(text) for name, text in texts.items()}
    forms["escaped"] = b'"\\u002b%d"' % number
    forms["escaped no-break spaces"] = json.dumps(texts["national, no-break spaces"]).encode()
    if (
        not country.open_plan
    ):  # Germany's 49170... is also a fixed line in area 4917, and is read as that there
        forms["integer"] = b"%d" % number
    if not national.startswith("0"):
        forms["national integer"] = national.encode()  # as a spreadsheet leaves it
    return forms


# How often each kind of prospect is made, in thousandths: (kind, weight).
_KINDS = (
    ("opposed", 260),
    ("listed", 110),
    ("consented", 230),
    ("fresh", 160),
    ("swing", 120),
    ("facts", 30),
    ("several", 30),
    ("invalid", 20),
    ("unreadable", 20),
    ("stamped", 20),
)
_OF_A_CROWD = ("opposed", "listed", "consented", "fresh", "swing")


class Casting:
    """Makes leads from a crowd. `make` is all that others call."""

    def __init__(self, crowd: Crowd, rng: np.random.Generator) -> None:
        self._rng = rng
        self._groups = {name: getattr(crowd, name) for name in _OF_A_CROWD}
        self._made = 0
        self._special: dict[str, Callable[[], Lead]] = {
            "facts": self._with_facts,
            "several": self._several,
            "invalid": self._invalid,
            "unreadable": self._unreadable,
            "stamped": self._stamped,
        }

    def make(self, count: int) -> list[Lead]:
        """So many leads, in a random order of kinds."""
        names, weights = zip(*_KINDS, strict=True)
        chosen = self._rng.choice(len(names), count, p=np.array(weights) / sum(weights)).tolist()
        return [self._one(names[kind]) for kind in chosen]

    def _one(self, kind: str) -> Lead:
        self._made += 1
        if kind in self._special:
            return self._special[kind]()
        claim = self._claim((kind,))
        return self._lead(claim.country, self._phone(claim), (claim,))

    def _pick(self, count: int) -> int:
        return int(self._rng.integers(count))

    def _claim(self, groups: Sequence[str] = _OF_A_CROWD, country: DemoCountry | None = None) -> Claim:
        """A number of one of these groups, of one country or of any."""
        while True:
            chosen = country or _BY_SHARE[self._pick(len(_BY_SHARE))]
            numbers = self._groups[groups[self._pick(len(groups))]][chosen.code]
            if numbers:
                return Claim(numbers[self._pick(len(numbers))], chosen)

    def _phone(self, claim: Claim) -> bytes:
        """The number's spelling: three in four times a common one, otherwise any that a reader understands."""
        forms = phone_forms(claim.country, claim.number)
        names = _COMMON if self._pick(4) else tuple(forms)
        return forms[names[self._pick(len(names))]]

    def _key(self) -> bytes | None:
        return None if self._made % 20 == 0 else b"crm-%04d" % self._pick(4000)

    def _headers(self) -> tuple[Header, ...]:
        return (("source", b"form-%d" % self._pick(90)), ("trace", None)) if self._made % 15 == 0 else ()

    def _members(self, country: DemoCountry) -> tuple[bytes, bytes]:
        """What stands around the number: the members before it and after it, without the closing brace."""
        name = msgspec.json.encode(_QUOTED if self._made % 30 == 0 else _NAMES[self._pick(len(_NAMES))])
        before = b',"name":%b,"email":"lead%d@example.com"' % (name, self._made)
        after = b',"country":"%b","origin":"web","form":"offer-%d","score":%d' % (
            *(country.code.encode(), self._pick(50), self._pick(100)),
        )
        return before, after

    def _lead(
        self,
        country: DemoCountry,
        phone: bytes,
        claims: tuple[Claim | None, ...],
        *,
        more: bytes = b"",
        purpose: str = "",
        contract: bool = False,
    ) -> Lead:
        """A readable one whose number member is `phone`, with the members `more` at its end."""
        before, after = self._members(country)
        body = b'%b,"phone":%b%b%b' % (before, phone, after, more)
        tail = b"}\n" if self._made % 40 == 0 else b"}"
        if self._made % 25 == 0:
            body += b" "
        headers = self._headers()
        return Lead(
            key=self._key(),
            sent=body + tail,
            head=body + b",",
            tail=tail,
            claims=claims,
            purpose=purpose,
            contract=contract,
            headers=headers,
            kept=headers,
        )

    def _with_facts(self) -> Lead:
        claim = self._claim()
        facts = [(b'"contract":"C-%d"' % self._made, "", True), (b'"contract":false', "", False)]
        facts += [
            (b'"purpose":"%b"' % purpose.encode(), purpose, False)
            for purpose in ("energy-renovation", "pensions", "electricity", "telecom")
        ]
        member, purpose, contract = facts[self._pick(len(facts))]
        phone = self._phone(claim)
        return self._lead(
            claim.country, phone, (claim,), more=b"," + member, purpose=purpose, contract=contract
        )

    def _several(self) -> Lead:
        """A prospect with several numbers of one country, and perhaps a word or a foreign number among them."""
        first = self._claim()
        claims: list[Claim | None] = [first, self._claim(country=first.country)]
        spelled = [self._phone(claim) for claim in claims if claim is not None]
        if self._made % 3 == 0:
            foreign = self._claim()
            claims.append(foreign)
            spelled.append(b'"+%d"' % foreign.number)
        if self._made % 5 == 0:
            claims.insert(1, None)
            spelled.insert(1, b'"no phone"')
        return self._lead(first.country, b"[%b]" % b", ".join(spelled), tuple(claims))

    def _invalid(self) -> Lead:
        country = _BY_SHARE[self._pick(len(_BY_SHARE))]
        wrong = (b"null", b'""', b"[]", b"{}", b'"call me"', b'"+33 6 12"', b"3" * 300, b"true", b"12.5")
        return self._lead(country, wrong[self._pick(len(wrong))], (None,))

    def _unreadable(self) -> Lead:
        claim = self._claim()
        before, after = self._members(claim.country)
        body = b'%b,"phone":"+%d"%b' % (before, claim.number, after)
        kinds: tuple[tuple[bytes, bytes | None], ...] = (
            (b"", None),
            (b"", b""),
            (b"\xef\xbb\xbf" + _ID, body + b"}"),
            (b"[" + _ID, body + b"}]"),
            (_ID, body),  # cut off
            (_ID, body + b"}{}"),
            (_ID, body + b',"note":"caf\xe9"}'),
            (_ID, body + b',"phone":"+%d"}' % self._claim().number),
            (_ID, body + b',"ph\\u006fne":null}'),
            (_ID, body + b',"deep":' + b"[" * 2000 + b"]" * 2000 + b"}"),
        )
        start, sent = kinds[self._pick(len(kinds))]
        headers = self._headers()
        return Lead(key=self._key(), start=start, sent=sent, readable=False, headers=headers, kept=headers)

    def _stamped(self) -> Lead:
        """A prospect that claims to have a verdict already, in a member or in a header."""
        claim = self._claim()
        honest = self._lead(claim.country, self._phone(claim), (claim,))
        assert honest.sent is not None, "a readable prospect has a value"
        sent, headers = honest.sent, honest.headers
        match self._made % 4:
            case 0:
                sent = b',"scrub":' + _FORGED + sent
            case 1:
                sent = b',"\\u0073crub":' + _FORGED + sent
            case 2:
                body = honest.head.removesuffix(b",").rstrip(b" ")
                sent = body + b', "scrub" : ' + _FORGED + honest.tail
                return _replaced(honest, sent, headers, head=body + b",")
            case _:
                headers = (("scrub", _FORGED), *headers)
        return _replaced(honest, sent, headers, head=honest.head)


def _replaced(lead: Lead, sent: bytes, headers: tuple[Header, ...], *, head: bytes) -> Lead:
    return Lead(
        key=lead.key,
        sent=sent,
        head=head,
        tail=lead.tail,
        claims=lead.claims,
        headers=headers,
        kept=lead.kept,
    )


# Each country as often as its share says.
_BY_SHARE = tuple(country for country in COUNTRIES for _ in range(country.share // 10))
