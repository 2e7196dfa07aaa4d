"""JSON lists, however their entries are wrapped."""

import json

import pytest

from stream_scrub.imports.formats import BadList, ListOptions, ListSource, ParsedList, api_json
from stream_scrub.imports.parsing import json_entries
from tests.support.fakes.lists import NOW, accounted, read

ENTRIES = [{"phoneNumber": "+33612345678", "source": "a"}, {"phoneNumber": "+33611111111", "source": "b, c"}]
BOTH = [33611111111, 33612345678]


@pytest.mark.parametrize(
    "wrapped",
    [
        ENTRIES,
        {"items": ENTRIES},
        {"links": [{"rel": "next"}], "data": ENTRIES},
        {"response": {"page": {"content": ENTRIES}}, "errors": []},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_entries_are_found_in_whatever_holds_them(wrapped, indent, tmp_path):
    """A page of an API's answers could not be imported as it was saved."""
    reading = read(tmp_path, json.dumps(wrapped, indent=indent).encode(), name="x.json")

    assert sorted(reading.bitmap()) == BOTH


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_json_lines(end, tmp_path):
    """A large list, which cannot be held whole, could not be imported at all."""
    content = end.join(json.dumps(entry) for entry in ENTRIES)

    assert sorted(read(tmp_path, content.encode(), name="x.jsonl").bitmap()) == BOTH


def test_one_entry_is_a_list(tmp_path):
    """An answer about one number could not be imported as it was saved."""
    for indent in (None, 2):
        assert len(read(tmp_path, json.dumps(ENTRIES[0], indent=indent).encode()).bitmap()) == 1


def test_an_empty_answer_is_an_empty_list(tmp_path):
    """A list that has become empty would be an error."""
    reading = read(tmp_path, b'{"phoneNumbers":0,"items":[]}', format="webex-json")

    assert accounted(reading) == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"phoneNumber":"+336', "ends too early"),
        (b'[{"phoneNumber":"+33612345678"}]x', "at byte"),
        (b'{"a":1}', "without an array"),
        (b'{"a":[{"phoneNumber":"+33612345678"}],"b":[{"phoneNumber":"+33611111111"}]}', "or with several"),
        (b"[" * 100_000, "broken JSON"),
        (b'"text"', "without an array"),
    ],
)
def test_json_without_entries_says_what_is_wrong(content, says, tmp_path):
    """Half of a list would be imported as the whole."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, content, format="webex-json")


def test_a_number_that_stands_twice_in_an_entry_is_refused(tmp_path):
    """The first of two numbers in one entry would be lost."""
    reading = read(tmp_path, b'[{"phoneNumber":"+33612345678","phoneNumber":"+33611111111"}]')

    assert reading.first_refused == [1]


def test_names_that_are_not_utf8_do_not_stop_a_list(tmp_path):
    """One agent's name in Latin-1 would refuse his entries, or the whole list."""
    content = '[{"phoneNumber":"+33612345678","addedBy":"Renée"}]'.encode("latin-1")

    assert read(tmp_path, content).taken == 1


@pytest.mark.parametrize(("setting", "value"), [("_WHOLE_BYTES_MAX", 10), ("_COMMAS_MAX", 1)])
def test_a_large_array_is_refused_before_it_is_held(setting, value, monkeypatch, tmp_path):
    """An import would be killed for its memory instead of saying what to do."""
    monkeypatch.setattr(json_entries, setting, value)
    content = json.dumps(ENTRIES).encode()

    def blocks(_size):
        yield from (content[at : at + 8] for at in range(0, len(content), 8))

    with pytest.raises(BadList, match="JSON lines"):
        api_json.WEBEX.read(ListSource(blocks, "x.json"), ListOptions("FR", NOW), ParsedList())


def test_lines_are_cut_anywhere():
    """An entry on the border of two blocks would be refused, or read as two."""
    content = b"".join(json.dumps(ENTRIES[at % 2]).encode() + b"\n" for at in range(50)) * 3

    for size in (7, 64, 1000):
        reading = ParsedList()
        blocks = [content[at : at + size] for at in range(0, len(content), size)]
        api_json.WEBEX.read(ListSource(lambda _, b=blocks: iter(b), "x"), ListOptions("FR", NOW), reading)
        assert (reading.taken, reading.refused) == (150, 0)


def test_a_line_without_an_end_is_refused(monkeypatch):
    """A file that is no JSON lines at all would be held whole."""
    monkeypatch.setattr(json_entries, "LINE_BYTES_MAX", 100)

    def blocks(_size):
        yield json.dumps(ENTRIES[0]).encode() + b"\n"
        while True:
            yield b"x" * 64

    with pytest.raises(BadList, match="line 2 is longer"):
        api_json.WEBEX.read(ListSource(blocks, "x"), ListOptions("FR", NOW), ParsedList())


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ({"id": "USA"}, 14165550123),
        ({"id": "CA"}, 14165550123),
        ("USA", 14165550123),
        (None, None),
        ({"id": "FRA"}, None),
    ],
)
def test_a_number_is_read_in_its_country(country, number, tmp_path):
    """An American number would be read as a French one."""
    content = json.dumps([{"phone": "4165550123", "countryCode": country, "dncTagId": 0}]).encode()
    reading = read(tmp_path, content)

    assert list(reading.bitmap()) == ([] if number is None else [number])


TWINS = [
    b'{"phoneNumber":"+33612345678","source":"a","phoneNumber":"+33611111111"}',
    b'{"phoneNumber":"+33612345678","source":"a","phoneN\\u0075mber":"+33611111111"}',
    b'{"\\u0070honeNumber":"+33612345678","source":"a","phoneNumber" : "+33611111111"}',
    b'{"phoneNumber":"+33612345678","source":"a","phon\\u0065N\\u0075mber":"+33611111111"}',
]


@pytest.mark.parametrize("twin", TWINS)
def test_an_entry_with_two_numbers_is_refused_however_the_names_are_spelled(twin, tmp_path):
    """One of the two would be lost without a word: an opposed person would be called."""
    good = b'{"phoneNumber":"+33612345679","source":"\\u0022phone\\u0022 \\u00e9"}'

    reading = read(tmp_path, good + b"\n" + twin + b"\n", name="x.jsonl", format="webex-json")

    assert list(reading.bitmap()) == [33612345679]
    assert reading.refused == 1


@pytest.mark.parametrize("name", ["countryCode", "country\\u0043ode"])
def test_an_entry_with_two_countries_is_refused(name, tmp_path):
    """A number would be read as one of another country, and nobody would oppose for the right one."""
    entry = '{"phone":"0612345678","countryCode":{"id":"GBR"},"' + name + '":{"id":"FRA"},"dncTagId":1}'

    reading = read(tmp_path, f"[{entry}]".encode(), name="x.json", format="ringcentral-json")

    assert (len(reading.bitmap()), reading.refused) == (0, 1)


@pytest.mark.parametrize(
    "wrapped",
    [
        '{"items":%s,"items":%s}',
        '{ "items" : %s , "it\\u0065ms" : %s }',
        '{"a":{"items":%s,"items":%s}}',
        '{"a":{"items":%s},"a":{"items":%s}}',
        '{"items":%s,"x":1,"items":{"more":%s}}',
    ],
)
def test_of_two_arrays_of_one_name_none_is_lost(wrapped, tmp_path):
    """Half of a list would be imported, and it would be told as whole."""
    one, other = (json.dumps([entry]) for entry in ENTRIES)

    with pytest.raises(BadList, match="stands twice"):
        read(tmp_path, (wrapped % (one, other)).encode(), name="x.json", format="webex-json")
