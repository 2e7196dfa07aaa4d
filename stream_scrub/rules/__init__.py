"""The dated rules of every country: which registers deny, which must hold the number, what lifts them.

There is one TOML file for each country, shipped with its legal source. A user's folder replaces files of the same name
and adds others. Legal numbers are in the files, never in the code. Step 4, decide, takes the rule in force for a region
on a day from here.
"""

from stream_scrub.rules.book import Archive, Rulebook, RuleFile, read_text, survey
from stream_scrub.rules.country import Country, Rule, digest_of, earliest, text_of
from stream_scrub.rules.words import (
    clauses,
    doubts,
    in_words,
    missing_campaign,
    missing_purpose,
    period,
    purposes_of,
)

__all__ = [
    "Archive",
    "Country",
    "Rule",
    "RuleFile",
    "Rulebook",
    "clauses",
    "digest_of",
    "doubts",
    "earliest",
    "in_words",
    "missing_campaign",
    "missing_purpose",
    "period",
    "purposes_of",
    "read_text",
    "survey",
    "text_of",
]
