"""Titles that may be read in two ways: the run asks, and takes no first one without a word."""

import pytest

from stream_scrub import ConfigError
from tests.support.running.files import FREE, OPPOSED


@pytest.mark.parametrize(
    ("content", "options", "says", "named", "reasons"),
    [
        (
            f"phone;phone\n{FREE};{OPPOSED}\n",
            {"columns": ["phone"]},
            r"2 columns are called phone: name one with --column 1 or 2",
            {"columns": ["2"]},
            {"opposed": 1},
        ),
        (
            f"phone;use;use\n{FREE};;energy\n",
            {"fact_columns": {"channel": "use"}},
            r"2 columns are called use: name one with --channel-column 2 or 3",
            {"fact_columns": {"channel": "3"}},
            {"no-rule": 1},
        ),
        (
            f"phone;country;Country\n{FREE};DE;FR\n",
            {},
            r"2 columns are titled or filled like country: name one with --region-column 2 or 3",
            {"fact_columns": {"region": "3"}},
            {"clear": 1},
        ),
        (
            f"phone;pays;land\n{FREE};FR;DE\n",
            {},
            "name one with --region-column pays or land .columns 2, 3",
            {"fact_columns": {"region": "pays"}},
            {"clear": 1},
        ),
        (
            f"phone;channel;Channel\n{FREE};;sms\n",
            {},
            r"2 columns are titled channel: name one with --channel-column 2 or 3",
            {"fact_columns": {"channel": "3"}},
            {"no-rule": 1},
        ),
    ],
)
def test_what_may_be_two_columns_is_asked_for(bureau, content, options, says, named, reasons):
    """The first of two columns would be taken without a word, and people be called by what the other one forbids."""
    with pytest.raises(ConfigError, match=says):
        bureau.scrub(content.encode(), **options)
    assert bureau.scrub(content.encode(), **named).summary.reasons == reasons


def test_titles_in_two_languages_both_count(bureau):
    """A column that says `sms` would not be looked at, because its second title is in another language."""
    content = f"phone;channel;residence\nTel.;Kanal;Wohnort\n{FREE};sms;FR\n{OPPOSED};;FR\n".encode()
    done = bureau.scrub(content)
    assert done.summary.input.columns == "Tel.: 1 number column; channel: Kanal; residence: Wohnort"
    assert done.summary.reasons == {"opposed": 1, "no-rule": 1}


def test_a_region_above_the_titles_counts(bureau):
    """National numbers of one country would be read as those of another, and strangers be called."""
    content = f"phone;country\nTel.;Staat\n{FREE};DE\n{FREE};DE\n".encode()
    said = bureau.scrub(content, titles=2).summary
    assert said.input.columns == "Tel.: 1 number column; region: Staat"
    assert [(each.region, each.blocked) for each in said.lines] == [("DE", 2)]


def test_what_stands_above_the_titles_and_is_none_is_left_alone(bureau):
    """The name of a campaign in an export's heading would make a column of names one of campaigns."""
    content = f"Campaign;Spring;\nChannel;sms;\nname;phone;city\nAnn;{FREE};Ulm\n".encode()
    done = bureau.scrub(content)
    assert done.summary.input.columns == "phone: 1 number column" and done.summary.reasons == {"clear": 1}


def test_what_may_be_a_title_or_a_heading_is_asked_for(bureau):
    """A heading would be taken for titles, or titles for a heading, and nobody know."""
    content = f"Campaign;Spring;Channel;sms\nname;phone;what;city\nAnn;{FREE};sms;Ulm\n".encode()
    with pytest.raises(
        ConfigError, match=r"calls column 1 campaign: if it is a title, pass --campaign-column 1; if not"
    ):
        bureau.scrub(content)
    none = bureau.scrub(content, settings={"prospect.campaign": "c", "prospect.channel": "d"})
    assert none.summary.reasons == {"clear": 1}
    both = bureau.scrub(content, settings={"prospect.campaign": "c"}, fact_columns={"channel": "3"})
    assert both.summary.reasons == {"no-rule": 1}


@pytest.mark.parametrize(
    "cell", [f"{FREE} ou {OPPOSED}", f"portable {FREE} / fixe {OPPOSED}", "6.12345678E+08", "6.12E+08"]
)
def test_a_first_row_with_words_or_an_exponent_in_its_number_is_a_lead(bureau, cell):
    """A person who opposed would stand in the file of leads to call, as the title of its column."""
    done = bureau.scrub(f"Ann;{cell}\nBob;{FREE}\nCid;{FREE}\n".encode())
    assert (done.summary.rows, done.summary.allowed) == (3, 2)
    assert b"Ann" not in done.read("allowed")


@pytest.mark.parametrize("cell", [f"{OPPOSED} bureau", f"{OPPOSED} puis {FREE} ou 12"])
def test_a_first_row_that_may_be_a_title_or_a_lead_is_asked_for(bureau, cell):
    """A number that a reader finds in the title of a column would be in the file of leads to call."""
    content = f"Ann;{cell}\nBob;{FREE}\nCid;{FREE}\n".encode()
    with pytest.raises(
        ConfigError, match=r"row 1 may be .*pass --titles 0 if it is the first lead, or --titles 1"
    ):
        bureau.scrub(content)
    assert bureau.scrub(content, titles=0).summary.rows == 3
    assert bureau.scrub(content, titles=1).summary.rows == 2


def test_a_column_of_cells_with_several_numbers_is_one_of_numbers(bureau):
    """People in it would not be looked up, because no cell of it is a single number."""
    content = f"id;a;b\n1;{FREE};{FREE} / {OPPOSED}\n2;{FREE};{FREE}, {FREE}\n".encode()
    with pytest.raises(ConfigError, match=r"not clear which columns.*2 a: 100% numbers of FR; 3 b: 100%"):
        bureau.scrub(content)
    assert bureau.scrub(content, columns=("a", "b")).summary.reasons == {"opposed": 1, "clear": 1}
