"""Which format takes a file for its own, when nobody says it."""

import json
import zipfile
from contextlib import ExitStack

import pytest

from stream_scrub.imports.formats import FORMATS, open_list
from stream_scrub.imports.parsing.format import ListSample, choose
from tests.support.golden.files import GOLDEN

FOLDER = GOLDEN / "lists"
FILES = sorted(path.name for path in FOLDER.iterdir() if not (FOLDER / path.stem).is_file())


def samples(path):
    with open_list(path) as packed:
        told = [member for member in packed.members if member.head.strip()]
        return [ListSample(member.head, member.name, member.whole) for member in told]


@pytest.mark.parametrize("name", FILES)
def test_a_golden_list_is_claimed_by_its_own_format_alone(name):
    """An operator would be asked which of two formats it is, or it would be read as another register's."""
    expected = json.loads((FOLDER / f"{name}.json").read_text())
    own = "plain" if "columns" in expected else expected["format"]

    for sample in samples(FOLDER / name):
        claims = {each.name for each in FORMATS if each.recognise(sample) >= 2}
        assert claims == ({own} if own != "plain" else set())


ORDINARY = {
    "numbers": "0612345678\n0611111111\n0622222222\n",
    "numbers with dates": "0612345678;2026-01-02\n0472111111;2026-01-03\n",
    "numbers with a day and a place": "number;since;place\n0612345678;02/01/2026;Lyon\n",
    "numbers with groups and ages": "0612345678,4512,30\n0611111111,4512,42\n",
    "numbers with flags": "0612345678,Y\n0611111111,N\n",
    "clients": "name,phone,email\nRose,0612345678,rose@example.org\n",
    "clients with a birthday": "name,phone,birthday\nRose,0612345678,1970-01-01\n",
    "clients with a state": "name,phone,status\nRose,0612345678,active\nAnn,0611111111,gold\n",
    "clients with contracts": "phone,contract expiry date\n0612345678,2027-01-01\n",
    "clients with an end in words": "name,phone,end\nRose,0612345678,yes\nAnn,0611111111,no\n",
    "two ends of a range": "number,end\n0612345678,0612345699\n0611111111,0611111199\n",
    "post codes": "75001\n69002\n13003\n",
    "identifiers": "12,3456789,2026-01-01\n13,3456780,2026-01-02\n",
    "two numbers a row": "0612345678,0611111111\n0622222222,0633333333\n",
    "a table of a page": "<html><table><tr><td>0612345678</td></tr></table></html>\n",
    "XML of something else": "<contacts><contact phone='0612345678'/></contacts>\n",
    "JSON of phones alone": '[{"phone":"0612345678"}]\n',
    "JSON of something else": '[{"name":"Rose","mobile":"0612345678"}]\n',
    "words with a hyphen": "a-b\nfrom-to\n",
    "American numbers": "416-555-0123\n905-555-0143\n",
    "Australian landlines of a list": "0255501234\n0755501234\n",
    "nothing but a header": "phone\n",
}


@pytest.mark.parametrize("what", ORDINARY)
def test_an_ordinary_file_is_claimed_by_no_special_format(what):
    """Somebody's clients would be read as a register's changes, ends or results, and oppositions would be lifted."""
    sample = ListSample(ORDINARY[what].encode(), "list.csv", whole=True)

    assert {each.name for each in FORMATS if each.recognise(sample) >= 2} == set()


SPECIAL = [
    ("crm-suppression", "phone,date_added,reason\n0612345678,2026-01-02,asked\n"),
    ("nanp-change", "A,416,5550123,11/20/2026\nD,905,5550143,11/20/2026\n"),
    ("dncm-txt", "+32470123456 20260102\n+3225551212 20260103\n"),
    ("wash", "0412345678,N\n0255501234,Y\n"),
    ("wash", "number,status,valid until\n0612345678,clean,2026-12-20\n0611111111,listed,2026-12-20\n"),
    ("expiry-csv", "phone,reason,expires_at\n0612345678,asked,2026-12-31T00:00Z\n"),
    ("expiry-csv", "phone,end\n0612345678,2027-01-01\n0611111111,\n"),
    ("expiry-csv", "telephone;valid until\n0612345678;31.12.2026\n"),
    ("ranges", "416XXXXXXX\n905XXXXXXX\n"),
    ("webex-json", '{"items":[{"phoneNumber":"+33612345678"}]}'),
    ("ringcentral-json", '{"phone":"4165550123","countryCode":{"id":"USA"}}'),
    ("ringcentral-json", '{"phone":"4165550123","addedDate":"2026-01-02"}'),
    ("nanp-xml", "<list type='full' level='all' val='1'>"),
    ("scrub-delta", '{"version":1,"format":"scrub-delta"}\n'),
]


@pytest.mark.parametrize(("name", "text"), SPECIAL)
def test_a_variant_is_claimed_as_well(name, text):
    """An operator would have to know the format's name, or oppositions would last for ever, without their ends."""
    sample = ListSample(text.encode(), "list.dat", whole=True)

    best = max(FORMATS, key=lambda each: each.recognise(sample))
    assert best.name == name and best.recognise(sample) >= 2


def test_a_zip_of_one_area_codes_list_and_an_empty_one_is_one_list(tmp_path):
    """A national list handed out by area codes could not be imported when nobody in one of them opposed."""
    with zipfile.ZipFile(tmp_path / "ac.zip", "w") as archive:
        archive.writestr(
            "416.xml", "<list type='full' level='ac' val='416'><ac val='416'><ph val='5550123'/></ac></list>"
        )
        archive.writestr("905.xml", "<list type='full' level='ac' val='905'></list>")
    with ExitStack() as stack:
        packed = stack.enter_context(open_list(tmp_path / "ac.zip"))
        assert choose(FORMATS, packed).name == "nanp-xml"
