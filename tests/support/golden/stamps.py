"""Stamps, and the texts of the rules that gave them: `python -m tests.support.golden.stamps` writes tests/golden/stamps
and tests/golden/rules/kept again, only for a change of the formats that is meant."""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from stream_scrub.index import Index
from stream_scrub.rules import Archive, Rulebook, digest_of, read_text, text_of
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.golden import files as golden

RULES = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "golden: opt-out"
deny = ["list", "internal"]
named_consents = ["consent"]
lifted_by = ["contract", "press"]
max_age_days = { list = 30 }
valid_days = 28
[[rule]]
from = 2026-08-11
source = "golden: opt-in"
deny = ["internal"]
require = ["consent"]
lifted_by = ["contract"]
exempt = [{ who = "company", relation = "purchase", months = 12, source = "golden: customers" }]
max_age_days = { consent = 30 }
valid_days = 28
banned_purposes = ["energy-renovation"]
not_callable = ["premium_rate"]
"""
EVERY_KEY = """country = "XX"
regions = ["XX", "XY"]
timezone = "Etc/GMT+5"
[[rule]]
from = 2020-02-29
to = 2031-12-31
source = "every key at once: \\"quotes\\", back\\\\slash, é, tab\\t"
deny = ["list", "other", "internal"]
require = ["consent", "washed"]
require_named = ["own"]
require_named_for = { mobile = ["own", "signed"], voip = ["own"] }
wash = ["clean"]
wash_named = ["own-clean"]
lifted_by = ["contract", "press"]
named_consents = ["consent"]
max_age_days = { consent = 10, list = 30 }
consent_days = { consent = 730 }
areas = { list = 4 }
valid_days = 28
banned_purposes = ["a", "b"]
banned_despite_contract = ["d"]
banned_without_consent = ["e"]
exempt = [{ contract = true, purposes = ["press"], other_than = ["other"], who = "company", relation = "purchase", months = 18, lifts = ["require"], bans = ["a"], source = "art. 1" }]
artificial_voice = ["consent-artificial"]
not_callable = ["premium_rate", "voicemail", "+1900", "+1976"]
channels = ["sms", "voice"]
uncertain = ["one", "two"]
purposes = { a = ["e", "one-word"], c = ["one-word"] }
reading = 1
"""
# Before and after midnight in Paris of the day on which the second rule begins.
MOMENTS = (
    datetime(2026, 8, 10, 21, 59, 59, 999_000, UTC),
    datetime(2026, 11, 24, 12, 0, 0, 123_000, UTC),
)
VALUES = (
    b'{"phone":"0611111111","name":"Rose"}',
    b'{"phone":"06 22 22 22 22"}',
    b'{"phone":"+33622222222","campaign":"acme"}',
    b'{"phone":"0666666666","campaign":"Acme"}',
    b'{"phone":"0644444444"}',
    b'{"phone":"0612345678"}',
    b'{"phone":["0622222222","0612345678","x"]}',
    b'{"phone":"0611111111","contract":true}',
    b'{"phone":"0611111111","contract":{"until":"2026-11-30"}}',
    b'{"phone":"0611111111","contract":"C-77"}',
    b'{"phone":"0622222222","purpose":"Energy renovation"}',
    b'{"phone":"0612345678","purpose":["Press",7]}',
    b'{"phone":"0612345678","purpose":"newspaper"}',
    b'{"phone":"0611111111","who":"company","relation":{"kind":"purchase","since":"2026-01-31"}}',
    b'{"phone":"0622222222","voice_kind":"artificial"}',
    b'{"phone":"0622222222","channel":"sms"}',
    b'{"phone":"0622222222","residence":"RE"}',
    b'{"phone":"0622222222","residence":"BE"}',
    b'{"phone":"0899123456"}',
    b'{"phone":"07400123456","country":"GB"}',
    b'{"phone":null}',
    b'{"phone":"0622222222","phone":"0622222222"}',
    b"",
    b"\xff",
    b'{"scrub":{"verdict":"allowed"},"phone":"0622222222" , "x":[1, 2.50, "\\u00e9\\n"]}\n',
    b'{ "phone" : "06\\u0032 22 22 22 2" }',
    b'{"phone":622222222}',
    b"[]",
    '{"name":"Renée %d","phone":"0622222222"}'.encode(),
    b'{"phone":"0692123456"}',
    None,
)


def texts() -> Iterator[bytes]:
    """The texts of rules: those of the stamps, one with every key, and what this release ships for some countries."""
    yield from law.rulebook(RULES).texts.values()
    country = read_text(EVERY_KEY.encode())
    yield text_of(country.rules[0], country.regions, country.timezone)
    for region in ("FR", "GB", "IT", "US"):
        if (rule := Rulebook.load().rule(region, MOMENTS[1])) is not None:
            yield rule.text


def terms(mixed: Any, stamp: Any) -> Terms:
    """What the stamps were made with, besides the rules and the index."""
    return Terms(
        MEMBERS, mixed=mixed, stamp=stamp, stale="block", default_purpose="other", default_campaign="house"
    )


def archive() -> Archive:
    """The texts as tests/golden keeps them."""
    return Archive(path.read_bytes() for path in sorted((golden.GOLDEN / "rules" / "kept").iterdir()))


def index() -> Index:
    """The registers by which the stamps were made."""
    return law.index(
        law.register("list", [33612345678], days_old=4),
        law.register("internal", [33644444444], days_old=4),
        law.register("internal@acme", [33666666666], days_old=4),
        law.allow("consent", [33622222222, 33644444444], days_old=4),
        position=40,
    )


def stamps() -> Iterator[dict[str, Any]]:
    """Each prospect and the result for it."""

    def packed(content: bytes | None) -> str | None:
        return None if content is None else base64.b64encode(content).decode()

    for now in MOMENTS:
        for mixed, where in (("block", "value"), ("strip", "header")):
            scrubber = Scrubber(terms(mixed, where), law.rulebook(RULES))
            for value in VALUES:
                batch = scrubber.scrub([value], index(), now)
                yield {
                    "now": now.isoformat(),
                    "mixed": mixed,
                    "stamp": where,
                    "in": packed(value),
                    "allowed": batch.allowed[0],
                    "out": packed(batch.values[0]),
                    "header": packed(batch.stamps[0]),
                }


if __name__ == "__main__":
    kept = golden.GOLDEN / "rules" / "kept"
    for path in kept.iterdir():
        path.unlink()
    for text in texts():
        (kept / f"{digest_of(text)}.toml").write_bytes(text)
    lines = [json.dumps(line) for line in stamps()]
    (golden.GOLDEN / "stamps" / "stamps.jsonl").write_text("\n".join(lines) + "\n")
