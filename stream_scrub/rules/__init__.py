"""The dated rules of every country: which registers deny, which must hold the number, what lifts them.

There is one TOML file a country, shipped with its legal source. A user's folder replaces files of the same name and
adds others. Step 4 of a prospect's life asks here which rule is in force for a region on a day. Legal numbers live in
the files, never in the code. Nothing here knows what a phone number is.
"""

from stream_scrub.rules.archive import Archive, read_text
from stream_scrub.rules.book import Rulebook, RuleFile, Survey, survey
from stream_scrub.rules.country import (
    CALLERS,
    CLOSED,
    CONTRACT,
    FACTS,
    HOUSE,
    READING,
    RESTING,
    VOICE,
    Country,
    Rule,
    earliest,
    until,
)
from stream_scrub.rules.exemptions import COMPANY, DENY, RELATIONS, REQUIRE, Exemption, last_day
from stream_scrub.rules.lint import doubts, purposes_of, unnamed, unsaid
from stream_scrub.rules.text import digest_of, text_of
from stream_scrub.rules.words import in_words, period

__all__ = [
    "CALLERS",
    "CLOSED",
    "COMPANY",
    "CONTRACT",
    "DENY",
    "FACTS",
    "HOUSE",
    "READING",
    "RELATIONS",
    "REQUIRE",
    "RESTING",
    "VOICE",
    "Archive",
    "Country",
    "Exemption",
    "Rule",
    "RuleFile",
    "Rulebook",
    "Survey",
    "digest_of",
    "doubts",
    "earliest",
    "in_words",
    "last_day",
    "period",
    "purposes_of",
    "read_text",
    "survey",
    "text_of",
    "unnamed",
    "unsaid",
    "until",
]
