"""What an import would do, told before it is done."""

from datetime import timedelta

import numpy as np

from stream_scrub.imports import import_list
from stream_scrub.rules import Rulebook, RuleFile
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS

RULE = b"""country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2016-06-01
source = "a test"
deny = ["list", "internal"]
lifted_by = ["contract"]
"""
FREE, LISTED, NEW = "0611111111", "0622222222", "0633333333"


def scrubber():
    book = Rulebook.of([RuleFile("fr.toml", "fr.toml", RULE)])
    return Scrubber(Terms(MEMBERS, stamp="header", stale="block"), book)


def test_changed_verdicts_are_counted_by_their_reasons():
    """A list that blocks half of the leads would be noticed when they are gone."""
    before = law.index(law.register("list", [33622222222]), law.register("internal", []))
    after = law.index(law.register("list", [33633333333]), law.register("internal", []))
    leads = [
        f'{{"phone":"{FREE}"}}'.encode(),
        f'{{"phone":"{LISTED}"}}'.encode(),
        f'{{"phone":"{NEW}"}}'.encode(),
        f'{{"phone":"{NEW}","contract":true}}'.encode(),
        f'{{"phone":["{NEW}","{FREE}"]}}'.encode(),
        b"unreadable",
        None,
    ]
    found = import_list.changes(scrubber(), leads, before, after, law.NOW - timedelta(days=0))
    assert dict(found) == {
        "opposed -> clear": 1,
        "clear -> opposed": 1,
        "clear -> contract": 1,
        "clear+clear -> opposed+clear": 1,
    }


def test_regions_are_counted_the_most_first(monkeypatch):
    """A list of another country would be taken for the right one, or a dry run take longer than its import."""
    numbers = np.array([447400123456, *range(33612345600, 33612345650), 262262123456, 999], np.uint64)
    assert next(iter(import_list.regions_of(numbers).items())) == ("FR", 50)
    assert import_list.regions_of(numbers) == {"FR": 50, "GB": 1, "RE": 1, "none": 1}
    assert import_list.regions_of(np.empty(0, np.uint64)) == {}
    monkeypatch.setattr(import_list, "_LOOKED_UP", 10)  # a part stands for all
    assert import_list.regions_of(np.arange(33612345000, 33612345995, dtype=np.uint64)) == {"FR": 995}
