"""The canonical text of one rule and the digest that names it on stamps.

The text is a rule file of its own: the country, whose numbers, the zone of its days, and one `[[rule]]` with every
key that says something, in a fixed order and spelling. Comments, layout and the other rules of the file are not in
it, so that a stamp names exactly the rule that gave it. The text is kept on the log, and gives the verdict again
years later (`archive.py`). A digest is made from the text's bytes alone, so a later change of this form renames no
old rule. The first stamps named whole files as they were; these are texts as well.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from stream_scrub.rules.country import VOICE, Rule
from stream_scrub.rules.purposes import purposes_in

DIGEST_DIGITS = (
    6  # short, as it is on every stamp; `check.py` and `archive.py` refuse two texts with one digest
)
_TEXTS_KEPT = 4_096  # every rule with a ban has all words for purposes in its text
_COUNTRY = re.compile(rb'^country *= *"([A-Z]{2})"', re.MULTILINE)


def text_of(rule: Rule, regions: Sequence[str], timezone: str) -> bytes:
    """The canonical text of a rule of that country file."""
    return "".join(f"{line}\n" for line in _lines(rule, regions, timezone)).encode()


def digest_of(text: bytes) -> str:
    """The name of a text on a stamp, as in "fr@9c01f2". Raises ValueError for bytes that name no country."""
    country = _COUNTRY.search(text)
    if country is None:
        raise ValueError("the text of a rule names no country")
    return f"{country[1].decode().lower()}@{hashlib.sha256(text).hexdigest()[:DIGEST_DIGITS]}"


def _lines(rule: Rule, regions: Sequence[str], timezone: str) -> Iterator[str]:
    yield f"country = {_text(rule.country)}"
    yield f"regions = {_list(regions)}"
    yield f"timezone = {_text(timezone)}"
    yield "[[rule]]"
    yield f"from = {rule.start.isoformat()}"
    if rule.end is not None:
        yield f"to = {rule.end.isoformat()}"
    yield f"source = {_text(rule.source)}"
    not_callable = (
        *sorted(rule.not_callable_types),
        *(f"+{digits}" for digits in rule.not_callable_prefixes),
    )
    keys: list[tuple[str, str]] = [
        ("deny", _list(rule.deny)),
        ("require", _list(rule.require)),
        ("require_named", _list(rule.require_named)),
        ("require_named_for", _lists(dict(sorted(rule.require_named_for.items())))),
        ("lifted_by", _list(rule.lifted_by)),
        ("named_consents", _list(rule.named_consents)),
        ("max_age_days", _table(rule.max_age_days)),
        ("consent_days", _table(rule.consent_days)),
        ("areas", _table(rule.areas)),
        ("valid_days", "" if rule.valid_days is None else str(rule.valid_days)),
        ("banned_purposes", _list(sorted(rule.banned_purposes))),
        ("banned_despite_contract", _list(sorted(rule.banned_despite_contract))),
        ("banned_without_consent", _list(sorted(rule.banned_without_consent))),
        ("exempt", _tables([each.text for each in rule.exempt])),
        ("artificial_voice", _list(rule.artificial_voice)),
        ("not_callable", _list(not_callable)),
        ("channels", "" if rule.channels == (VOICE,) else _list(rule.channels)),
        ("uncertain", _list(rule.uncertain)),
        ("purposes", _lists(purposes_in(rule.purposes))),
        ("reading", "" if rule.reading == 1 else str(rule.reading)),
    ]
    for key, value in keys:
        if value:
            yield f"{key} = {value}"


@lru_cache(_TEXTS_KEPT)
def _text(text: str) -> str:
    """A TOML string. JSON's escapes are valid in TOML; only U+007F, which JSON does not escape, must be escaped
    here."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]" if texts else ""


def _tables(texts: Sequence[str]) -> str:
    return f"[{', '.join(texts)}]" if texts else ""


def _lists(by_name: Mapping[str, Sequence[str]]) -> str:
    inner = ", ".join(f"{name} = [{', '.join(map(_text, texts))}]" for name, texts in by_name.items())
    return f"{{ {inner} }}" if inner else ""


def _table(days: Mapping[str, int]) -> str:
    inner = ", ".join(f"{name} = {number}" for name, number in sorted(days.items()))
    return f"{{ {inner} }}" if inner else ""
