"""JSON lists, however their entries are wrapped."""

import json

import pytest

from stream_scrub.imports.formats import BadList, ListOptions, ListSource, ParsedList, api_json
from stream_scrub.imports.parsing import json_entries
from tests.support.fakes.lists import NOW, accounted, read

ENTRIES = [{"phoneNumber": "+33612345678", "source": "a"}, {"phoneNumber": "+33611111111", "source": "b, c"}]
BOTH = [33611111111, 33612345678]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ENTRIES),
        json.dumps({"response": {"page": {"content": ENTRIES}}, "links": [{"rel": "next"}], "errors": []}, indent=2),
        "\r\n\n".join(json.dumps(entry) for entry in ENTRIES),
        '[{"phoneNumber":"+33612345678","addedBy":"Renée"},{"phoneNumber":"+33611111111"}]',
    ],
)  # fmt: skip
def test_entries_are_found_in_whatever_holds_them(content, tmp_path):
    """A page of an API's answers could not be imported as it was saved, or one name in Latin-1 would stop the list."""
    assert sorted(read(tmp_path, content.encode("latin-1"), name="x.json").bitmap()) == BOTH


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (json.dumps(ENTRIES[0]), 1),
        (json.dumps(ENTRIES[0], indent=2), 1),
        ('{"phoneNumbers":0,"items":[]}', 0),
    ],
)
def test_an_answer_of_one_entry_or_of_none_is_a_list(content, lines, tmp_path):
    """An answer about one number could not be imported as it was saved, or an empty list be an error."""
    reading = read(tmp_path, content.encode(), format="webex-json")
    assert accounted(reading) == reading.taken == lines


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
        ('{"id":"USA"}', 14165550123),
        ('{"id":"CA"}', 14165550123),
        ('"USA"', 14165550123),
        ("null", None),
        ('{"id":"FRA"}', None),
        ('{"id":"FRA"},"countryCode":{"id":"USA"}', None),
        ('{"id":"FRA"},"country\\u0043ode":{"id":"USA"}', None),
    ],
)
def test_a_number_is_read_in_its_country(country, number, tmp_path):
    """An American number would be read as a French one."""
    entry = f'{{"phone":"4165550123","countryCode":{country},"dncTagId":0}}'
    reading = read(tmp_path, f"[{entry}]".encode(), name="x.json", format="ringcentral-json")

    assert list(reading.bitmap()) == ([] if number is None else [number])


@pytest.mark.parametrize(
    "twin",
    [
        '"phoneNumber":"+33612345678","source":"a","phoneNumber":"+33611111111"',
        '"phoneNumber":"+33612345678","source":"a","phoneN\\u0075mber":"+33611111111"',
        '"\\u0070honeNumber":"+33612345678","source":"a","phoneNumber" : "+33611111111"',
        '"phon\\u0065Number":"+33612345678","source":"a","phoneN\\u0075mber":"+33611111111"',
    ],
)
def test_an_entry_with_two_numbers_is_refused_however_the_names_are_spelled(twin, tmp_path):
    """One of the two would be lost without a word: an opposed person would be called."""
    good = '{"phoneNumber":"+33612345679","source":"\\u0022phone\\u0022 \\u00e9"}'

    for name, content in (("x.jsonl", f"{good}\n{{{twin}}}\n"), ("x.json", f"[{good},{{{twin}}}]")):
        reading = read(tmp_path, content.encode(), name=name, format="webex-json")
        assert (list(reading.bitmap()), reading.refused) == ([33612345679], 1)


@pytest.mark.parametrize(
    "wrapped",
    [
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
