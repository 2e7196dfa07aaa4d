"""Which registers no verdict may rest on, and why: the same as what `decide` takes for stale."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pyroaring import BitMap64

from stream_scrub.index import REMOVED_AT
from stream_scrub.model import RegisterKind
from stream_scrub.scrub.plans import unusable
from tests.support.fakes import law


def found(*registers, text=law.OPT_OUT):
    return [
        (each.register, each.countries, each.why)
        for each in unusable(law.rulebook(text), law.index(*registers), law.NOW)
    ]


@pytest.mark.parametrize(
    ("registers", "why"),
    [
        ((), "it was never imported"),
        ((replace(law.register("list"), numbers=BitMap64(), effective_at=REMOVED_AT),), "it was removed"),
        ((law.register("list", days_old=31),), "older than the 30 days that it may be"),
        (
            (law.register("list", kind=RegisterKind.ALLOW),),
            "it is of kind allow, and the rule needs one of kind deny",
        ),
    ],
)
def test_a_register_that_cannot_be_used_is_named_with_its_reason(registers, why):
    """An operator would see leads blocked, and have to find out by himself which list is missing and why."""
    ((name, countries, told),) = found(*registers)
    assert (name, countries) == ("list", ("FR",))
    assert told.endswith(why)


def test_what_can_be_used_is_not_named():
    """An operator would import what is there; `internal` may be absent, it is empty before its first opt-out."""
    assert found(law.register("list", days_old=29)) == []
    missing = [name for name, _, _ in found(law.register("list"), text=law.OPT_IN)]
    assert missing == ["consent", "washed"]


def test_a_register_of_consents_that_should_have_ended_cannot_be_used():
    """A consent would count for ever because its publisher is away, and nobody be told which list it is."""
    ended = (law.NOW - timedelta(days=2)).date()
    late = law.register("consent", [33612345678], kind=RegisterKind.ALLOW, ends=ended)
    told = {name: why for name, _, why in found(law.register("list"), late, text=law.OPT_IN)}
    assert told["consent"] == "numbers in it should have ended: no publisher removes them"
