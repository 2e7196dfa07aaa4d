"""Whatever stands in a structured list, no line of it vanishes, nothing crashes, and nothing is half believed."""

import io
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_scrub.imports.formats import BadList
from stream_scrub.imports.formats.scrub_delta import DeltaEntry, DeltaHeader, write
from stream_scrub.numbering import normalise
from tests.support.fakes.lists import NOW, read

FOLDER = tempfile.TemporaryDirectory()
PHONES = [
    "0612345678",
    "+33 6 11 11 11 11",
    "06.22.22.22.22",
    "+447400123456",
    "",
    "none",
    "12",
    "'0633333333'",
    "+",
]
DATES = [
    "2027-01-01T00:00Z",
    "2020-01-01",
    "31/12/2027",
    "soon",
    "",
    "9999-12-31",
    "30",
    "0",
    "-1",
    "2027-02-30",
]


def attempt(content, name, region="FR", columns=None):
    try:
        return read(Path(FOLDER.name), content, region=region, format=name, columns=columns)
    except BadList as error:
        found = error
    assert re.search(r"\d{7}", re.sub(r"[\d,]*,\d{3}\b|\d{14}_", "", str(found))) is None
    return found


@given(st.lists(st.tuples(st.sampled_from(PHONES), st.sampled_from(DATES)), max_size=30))
def test_no_opposition_ends_early(rows):
    """An opposition would be lifted by a date that nobody can read, or by one of two entries."""
    content = "phone,expires\n" + "".join(f"{phone},{end}\n" for phone, end in rows)
    reading = attempt(content.encode(), "expiry-csv")
    never = {"", "soon", "9999-12-31", "30", "0", "-1", "2027-02-30"}
    exact = {
        "2027-01-01T00:00Z": (2027, 1, 1, 0),
        "2020-01-01": (2020, 1, 2, 12),
        "31/12/2027": (2028, 1, 1, 12),
    }
    model = {}
    for phone, end in rows:
        found = normalise(phone.strip("'"), "FR")
        if found is not None:
            until = float("inf") if end in never else datetime(*exact[end], tzinfo=UTC).timestamp()
            model[found[0]] = max(model.get(found[0], 0), until)

    numbers, ends = reading.ends()
    assert dict(zip(numbers.tolist(), ends.tolist(), strict=True)) == {
        number: end for number, end in model.items() if end != float("inf")
    }
    assert set(reading.bitmap()) == set(model)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["416", "905"]),
        st.sampled_from(["5550101", "5550102", "5550103"]),
        st.sampled_from("AD"),
        st.integers(1, 28),
    ),
    max_size=25,
)


@given(CHANGES, st.permutations([0, 1, 2, 3]))
def test_changes_are_the_last_of_each_number_in_any_order_of_columns(changes, order):
    """A removal that was taken back would lift an opposition."""
    rows = [(area, number, change, f"2026-10-{day:02}") for area, number, change, day in changes]
    content = "".join(",".join(row[place] for place in order) + "\n" for row in rows)
    columns = {name: str(order.index(at) + 1) for at, name in enumerate(("area", "number", "change", "date"))}
    reading = attempt(content.encode(), "nanp-change", columns=columns)
    model = {}
    for area, number, change, day in changes:
        whole = int(f"1{area}{number}")
        model[whole] = max(model.get(whole, (0, "")), (day, "z" if change == "A" else "d"))

    assert set(reading.bitmap()) == {number for number, (_, last) in model.items() if last == "z"}
    assert set(reading.removals()) == {number for number, (_, last) in model.items() if last == "d"}


EXAMPLES = [
    phonenumbers.example_number_for_type(region, kind)
    for region in ("FR", "GB", "US", "DE", "AT", "IT", "BE", "ES", "RE", "SG", "AU", "AR", "BR")
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
]
E164 = [phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164) for example in EXAMPLES]
NATIONAL = [
    (
        phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL),
        phonenumbers.region_code_for_number(example),
    )
    for example in EXAMPLES
]


@given(st.sampled_from(E164), st.integers(1, 5), st.sampled_from(["", "*", "x"]))
def test_a_number_is_under_each_of_its_prefixes(number, cut, wild):
    """A block of numbers would be blocked but for some of them."""
    behind = "X" * cut if wild == "x" else wild
    assume(behind or normalise(number[:-cut], "FR") is None)  # a whole number without a sign is that number
    reading = attempt(f"{number[:-cut]}{behind}\n".encode(), "ranges")
    assume("wider" not in reading.described)  # German numbers may have 15 digits

    assert int(number) in reading.bitmap()
    assert reading.taken == 1


@given(st.sampled_from(NATIONAL), st.integers(1, 4))
def test_a_national_pattern_holds_its_numbers(national, cut):
    """A block of numbers as people write them at home would be another block, or none."""
    text, region = national
    digits = re.sub(r"\D", "", text)
    reading = attempt(f"{digits[:-cut]}{'X' * cut}\n".encode(), "ranges", region)

    assert normalise(digits, region)[0] in reading.bitmap()


MOMENT = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ENTRIES = st.lists(
    st.builds(
        DeltaEntry,
        seq=st.just(8),
        op=st.sampled_from("AD"),
        number=st.sampled_from(E164),
        expires_at=MOMENT,
        reason=st.text(max_size=5),
        source=st.text(max_size=5),
    ),
    max_size=20,
)


@given(ENTRIES, st.sampled_from(["deny", "allow"]), st.text(max_size=4), MOMENT)
def test_what_is_written_is_read(entries, kind, scope, at):
    """An export would come back as another register."""
    out = io.BytesIO()
    header = DeltaHeader(kind=kind, change="delta", base=7, scope=scope, effective_at=at)
    write(out, header, entries)
    reading = attempt(out.getvalue(), "scrub-delta")
    model = {}
    for entry in entries:
        before = model.get(int(entry.number))
        end = float("inf") if entry.expires_at is None else entry.expires_at.timestamp()
        model[int(entry.number)] = None if entry.op == "D" else end if before is None else max(before, end)

    assert set(reading.bitmap()) == {number for number, end in model.items() if end is not None}
    assert set(reading.removals()) == {number for number, end in model.items() if end is None}
    ends = reading.ends()
    for number, end in zip(ends.numbers.tolist(), ends.ends.tolist(), strict=True):
        assert abs(end - model[number]) <= 1 and (
            end >= model[number] if kind == "deny" else end <= model[number]
        )
    assert (reading.base, reading.scope, reading.effective_at) == (7, scope, at)
    assert reading.refused == 0


@given(st.data())
def test_a_flipped_bit_in_a_delta_is_found(data):
    """A damaged file would oppose, or free, somebody else."""
    out = io.BytesIO()
    write(
        out,
        DeltaHeader(kind="deny", change="delta", base=7),
        [DeltaEntry(8, "A", number) for number in E164[:5]],
    )
    content = bytearray(out.getvalue())
    at = data.draw(st.integers(content.index(b"\n") + 1, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))

    assert isinstance(attempt(bytes(content), "scrub-delta"), BadList)


@pytest.mark.parametrize("days", [1, 15, 30])
def test_a_result_is_never_older_than_its_register_allows(days):
    """A wash would be relied on for longer than the law allows."""
    for name in ("x.csv", "x_20261120.csv", "20261101_x.csv"):
        path = Path(FOLDER.name) / name
        reading = read(path.parent, b"0612345678\n", name=name, format="wash", columns={"days": str(days)})
        day = re.search(r"2026\d{4}", name)
        washed = NOW if day is None else datetime.strptime(day[0], "%Y%m%d").replace(tzinfo=UTC)
        assert reading.ends().ends.tolist()[0] <= (washed + timedelta(days=days)).timestamp()
