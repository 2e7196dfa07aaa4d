"""What a list that was read changes in a register, and the registers that it is refused for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.plan_import import ImportOptions, check_fits, delta_of, kind_of, plan_of
from stream_scrub.imports.register_law import RegisterLaw
from stream_scrub.index import Register, as_bitmap
from stream_scrub.index.deltas import Ends, StatedEnds
from stream_scrub.model import RegisterKind

ALLOW, DENY = RegisterKind.ALLOW, RegisterKind.DENY
NOW = datetime(2026, 11, 24, tzinfo=UTC)
AT = int(NOW.timestamp())


def array(*numbers):
    return np.array(numbers, np.uint64)


def register(*numbers, name="internal", kind=DENY, seq=3):
    return replace(Register.empty(name, kind, NOW), numbers=as_bitmap(array(*numbers)), seq=seq)


def reading(*numbers, ends=None, removed=(), **said):
    made = ParsedList(**said)
    made.take(array(*numbers), None if ends is None else np.array(ends, np.int64))
    made.take(array(*removed), removed=True)
    return made


def told(delta):
    stated = dict(zip(delta.ends.numbers.tolist(), delta.ends.ends.tolist(), strict=True))
    return sorted(delta.adds), sorted(delta.removes), delta.unchanged, stated


@pytest.mark.parametrize(
    ("change", "said", "expected"),
    [
        ("full", {}, ([3], [1], 1, {})),
        ("adds", {}, ([3], [], 1, {})),
        ("removes", {"ends": [AT - 5, AT + 5]}, ([], [2], 1, {})),
        ("full", {"removed": (1, 9), "change": "delta"}, ([3], [1], 2, {})),
    ],
)
def test_a_list_is_a_whole_register_or_a_part_as_it_is_said(change, said, expected):
    """The daily additions would replace the register, or a full list leave in it who withdrew an opposition."""
    assert told(delta_of(reading(2, 3, **said), change, register(1, 2), Ends.none(), NOW)) == expected


def test_what_has_ended_is_not_in_the_list():
    """A consent that ran out would allow calls until somebody publishes the next list."""
    made = reading(1, 2, 3, 4, ends=[AT, AT - 1, AT + 1, 0])

    assert told(delta_of(made, "full", register(1, 4), Ends.none(), NOW)) == ([3], [1], 1, {3: AT + 1})


def test_a_new_list_renews_and_unsays_ends():
    """A consent that was renewed would end at its old date, or an endless opposition with an older one."""
    known = Ends.none().changed(
        as_bitmap(array()), StatedEnds(array(1, 2, 3), np.array([AT + 5, AT + 6, AT + 7]))
    )
    made = reading(1, 2, 3, ends=[AT + 9, 0, AT + 7])

    assert told(delta_of(made, "full", register(1, 2, 3), known, NOW)) == ([], [], 3, {1: AT + 9, 2: 0})


@pytest.mark.parametrize(
    ("wanted", "meant", "held", "ruled", "kind"),
    [
        (None, None, None, None, DENY),
        (None, ALLOW, None, None, ALLOW),
        (DENY, ALLOW, None, None, DENY),
        (None, DENY, None, ALLOW, ALLOW),
        (None, None, DENY, ALLOW, DENY),
        (DENY, None, ALLOW, None, ALLOW),
        (DENY, None, None, ALLOW, DENY),
    ],
)
def test_a_register_stays_what_it_is(wanted, meant, held, ruled, kind):
    """Consents would become oppositions, or the other way round."""
    known = None if held is None else register(kind=held)

    assert kind_of(reading(1, kind=meant), wanted, known, ruled) is kind


@pytest.mark.parametrize(
    ("said", "change", "base", "says"),
    [
        ({"kind": ALLOW}, "full", {"kind": DENY}, "of kind allow, and internal is of kind deny: .*the kind deny"),
        ({"kind": DENY}, "full", {"kind": ALLOW}, "of kind deny, and internal is of kind allow"),
        ({"scope": "acme"}, "full", {"name": "internal@other"}, "--register internal@acme"),
        ({"change": "delta"}, "adds", {}, "leave --adds and --removes out"),
        ({"base": 2}, "full", {}, "sequence 2 of internal, which is at 3"),
        ({"base": 4}, "full", {}, "sequence 4 of internal, which is at 3"),
        ({"endless": 1}, "full", {"kind": ALLOW}, "ends of 1 lines cannot be read"),
    ],
)  # fmt: skip
def test_a_list_for_another_register_is_refused(said, change, base, says):
    """The right numbers would mean something else: washed-clean ones would be blocked, one client's for all."""
    with pytest.raises(BadList, match=says):
        check_fits(
            reading(1, **said), change, register(**base), base.get("kind") if "endless" in said else None
        )


@pytest.mark.parametrize(
    ("said", "change", "base", "wanted"),
    [
        ({}, "adds", {"name": "internal@acme"}, None),
        ({"kind": ALLOW}, "full", {"kind": ALLOW}, None),
        ({"kind": DENY}, "full", {"kind": ALLOW}, ALLOW),
        ({"scope": "acme"}, "full", {"name": "internal@acme"}, None),
        ({"change": "delta"}, "full", {}, None),
        ({"base": 3}, "full", {}, None),
        ({"base": 0}, "full", {"seq": 0}, None),
        ({"endless": 1}, "full", {"kind": DENY}, None),
        ({"endless": 1}, "removes", {"kind": ALLOW}, ALLOW),
    ],
)
def test_a_list_for_this_register_is_taken(said, change, base, wanted):
    """A list would be refused for what it rightly says, or although the operator said its kind."""
    check_fits(reading(1, **said), change, register(**base), wanted)


@pytest.mark.parametrize(("days", "later"), [(20 * 365, 1), (1, 1), (-1, -1)])
def test_the_day_of_an_area_is_no_later_than_that_of_its_list(days, later):
    """A reader that a hostile file took over could make the register look young for twenty years."""
    said, held = NOW + timedelta(days=1), replace(register(12125550100, name="us-dnc"), areas=("1212",))
    changes = reading(
        12125550101,
        change="delta",
        effective_at=said,
        since=NOW,
        area_days={"1212": NOW + timedelta(days=days)},
    )
    known = SimpleNamespace(listed={}, ends=Ends.none())
    log = SimpleNamespace(index=SimpleNamespace(registers={"us-dnc": held}), known=lambda _: known)
    options = ImportOptions(
        file=Path("changes.csv"),
        register="us-dnc",
        region="US",
        max_bad=0.05,
        law=RegisterLaw(must_be_dated=True),
    )
    plan = plan_of(options, changes, log, said)
    assert plan.effective_at == max(NOW, NOW + timedelta(days=later))
