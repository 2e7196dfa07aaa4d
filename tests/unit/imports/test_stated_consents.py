"""A list of consents counts only the people who said yes: `lists import`, with the log in memory."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from stream_scrub.config import load
from stream_scrub.errors import ConfigError
from stream_scrub.imports import import_list, plan_import
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.guards import UnstatedConsents
from stream_scrub.model import RegisterKind
from tests.support.fakes.lists import NOW

PEOPLE = [f"+4915112345{n:03d}" for n in range(5)]
HEAD = "Nom;Mobile;Consentement téléphone"
NAMED = {"phone": "Mobile", "consent": "Consentement téléphone"}


def day(days):
    """A day from today on, as French files write it."""
    return (NOW + timedelta(days=days)).strftime("%d/%m/%Y")


def export(tmp_path, head, rows, name="c.csv"):
    file = tmp_path / name
    file.write_text(
        "\n".join([head, *(f"Rose;{phone};{rest}" for phone, rest in zip(PEOPLE, rows, strict=False))])
    )
    return file


def imported(file, register="consent@a", **more):
    settings = load(environ={}, cwd=file.parent)
    order = plan_import.ImportOptions(file=file, register=register, region="DE", max_bad=1.0)
    return import_list.run(replace(order, **more), settings, structlog.get_logger(), lambda *_: None)


def held(log, register="consent@a"):
    register = log.replayed().index.registers.get(register)
    return [] if register is None else [PEOPLE.index(f"+{number}") for number in register.numbers]


@pytest.mark.parametrize(
    ("yes", "other"), [("Oui", ""), ("1", "0"), ("Oui", "En attente"), ("oui", "oui/non")]
)
def test_an_export_with_other_columns_is_refused_until_they_are_named(log, tmp_path, yes, other):
    """Whoever did not tick the box would be called."""
    file = export(tmp_path, HEAD, [yes, other, yes, other, yes])

    with pytest.raises(UnstatedConsents) as refused:
        imported(file)
    assert held(log) == []
    assert "column 3 Consentement téléphone (consent?)" in str(refused.value)
    assert "--columns 'phone=Mobile,consent=Consentement téléphone'" in str(refused.value)
    assert not any(phone[-9:] in str(refused.value) for phone in PEOPLE)

    done = imported(file, columns=NAMED)
    assert held(log) == [0, 2, 4]
    told = {"said no" if other == "0" else "unclear": 2}
    assert done.outcomes == {"consented": 3, **told}
    assert done.reading[1:] == [
        "columns used: Mobile (phone), Consentement téléphone (consent)",
        "columns ignored: Nom",
    ]


@pytest.mark.parametrize(
    ("head", "rows", "role", "outcome"),
    [
        ("Nom;Mobile;Fin du consentement", [day(90), day(-1), day(90), day(-400), ""], "until", "ended"),
        ("Nom;Mobile;Date", [day(-9), day(366), day(-9), day(2), ""], "given", "not begun"),
        ("Nom;Mobile;Date", [day(-9), "2026-01-01 révoqué", day(-9), "01.01.2026 (ex)", ""], "given", "unclear"),
        ("Nom;Mobile;Date de retrait", ["", day(-9), "", "oui", "non"], "withdrawn", "said no"),
        ("Nom;Mobile;Canal", ["tel", "SMS", "SMS, Téléphone", "E-Mail", "tous"], "channel", "for another channel"),
        ("Nom;Mobile;Canal", ["tel", "", "appel", "pas de téléphone", "Voice"], "channel", "unclear"),
        ("Nom;Mobile;Fin", [day(90), "bientôt", day(90), "31/02/2027", "2027-06-01"], "until", "unclear"),
    ],
)  # fmt: skip
def test_a_row_counts_only_while_its_consent_holds(log, tmp_path, head, rows, role, outcome):
    """Whoever's consent has ended, was withdrawn, or is about letters and messages would be called."""
    file = export(tmp_path, head, rows)
    title = head.split(";")[2]

    with pytest.raises(UnstatedConsents):
        imported(file)
    done = imported(file, columns={"phone": "Mobile", role: title}, all_consented=True)

    assert held(log) == [0, 2, 4]
    assert done.outcomes == {"consented": 3, outcome: 2}
    used = [(column.title, column.role) for column in done.columns if column.role]
    assert used == [("Mobile", "phone"), (title, role)]


def test_an_end_is_kept(log, tmp_path):
    """A consent would be called upon after the day until which it was given."""
    file = export(tmp_path, "Nom;Mobile;Fin", ["2027-06-01"] * 5)
    imported(file, columns={"phone": "Mobile", "until": "Fin"}, all_consented=True)
    ends = log.replayed().index.registers["consent@a"].next_end
    assert datetime(2027, 6, 1, tzinfo=UTC) <= ends < datetime(2027, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("proof", "counts"), [("15/03/2027", [0]), ("03/15/2027", [0, 1])])
def test_day_and_month_follow_the_column(log, tmp_path, proof, counts):
    """A consent that ended on 1 December would be called upon until January, or one until January be lost."""
    # By day first 2026-11-12 has ended on 24 November, by month first it is 11 December.
    columns = {"phone": "Mobile", "until": "Fin"}
    file = export(tmp_path, "Nom;Mobile;Fin", ["01/06/2027", "12/11/2026", proof])
    done = imported(file, columns=columns, all_consented=True)
    assert held(log) == sorted({*counts, 2})
    assert done.outcomes.get("ended", 0) == 2 - len(counts)

    both = export(tmp_path, "Nom;Mobile;Fin", ["15/03/2027", "01/02/2027", "03/15/2027"])
    with pytest.raises(BadList, match="day first in line 2, and month first in line 4"):
        imported(both, columns=columns, all_consented=True)


def test_a_no_is_imported_as_an_opt_out_in_the_same_run(log, tmp_path):
    """People who said no would only be left out, and be called under another consent."""
    file = export(tmp_path, HEAD, ["Oui", "Non", "", "nein", "Oui"])

    done = imported(file, columns=NAMED, no_into="internal@a", dry_run=True)
    assert (done.added, done.opt_outs.added, done.opt_outs.position) == (2, 2, None)
    assert held(log, "internal@a") == []
    done = imported(file, columns=NAMED, no_into="internal@a")

    assert (held(log), held(log, "internal@a")) == ([0, 4], [1, 3])
    assert done.outcomes == {"consented": 2, "said no": 2, "unclear": 1}
    assert done.opt_outs.position < done.position
    assert log.replayed().index.registers["internal@a"].source == "c.csv"
    with pytest.raises(ConfigError, match="--no-into: opt-outs go into internal"):
        imported(file, columns=NAMED, no_into="tps")
    with pytest.raises(ConfigError, match="--no-into: name the column"):
        imported(file, columns={"phone": "Mobile"}, all_consented=True, no_into="internal")


def test_nothing_is_published_of_a_list_that_does_not_fit_with_its_opt_outs(log, tmp_path):
    """The opt-outs would be in force, and the error say that nothing was published; or the dry run would promise both."""
    file = export(tmp_path, HEAD, ["Oui", "Non", "", "nein", "Oui"])
    others = tmp_path / "others.csv"
    others.write_text("".join(f"+49301234{n:03d}\n" for n in range(40)))
    imported(others, register="de-list", register_unknown=True)
    # Two numbers of one block count as 22, and the forty as 60.
    alone = {"columns": NAMED, "max_numbers": 90}
    why = "all registers together count as 104"

    assert imported(file, **alone, dry_run=True).would_be_refused == ""
    assert why in imported(file, **alone, no_into="internal@a", dry_run=True).would_be_refused
    with pytest.raises(BadList, match=f"{why}.*nothing was published"):
        imported(file, **alone, no_into="internal@a")
    assert (held(log), held(log, "internal@a")) == ([], [])


def test_a_no_ends_an_earlier_consent_also_among_numbers_to_add(log, tmp_path):
    """Whoever withdrew in the CRM would be called for as long as only additions are imported, or one of two rows says yes."""
    imported(export(tmp_path, HEAD, ["Oui"] * 5), columns=NAMED)
    file = export(tmp_path, HEAD, ["Oui", "Non", ""])
    file.write_text(file.read_text() + f"\nRose;{PEOPLE[0]};non\n")

    done = imported(file, columns=NAMED, change="adds")

    assert held(log) == [2, 3, 4]
    assert done.removed == 2


@pytest.mark.parametrize(
    "content",
    [
        f"Mobile\n{PEOPLE[0]}\n{PEOPLE[1]}",
        f"Mobile;\n{PEOPLE[0]};\n{PEOPLE[1]};\n",
        f"{PEOPLE[0]}\n{PEOPLE[1]}",
    ],
)
def test_lists_that_state_their_consents_need_no_word(log, tmp_path, content):
    """A list of numbers and nothing else would ask who consented."""
    numbers = tmp_path / "numbers.txt"
    numbers.write_text(content)
    imported(numbers)
    assert held(log) == [0, 1]


def test_our_own_layout_states_its_consents_by_their_days(log, tmp_path):
    """Our own export would ask who consented, or an empty box under `consented_on` be a consent."""
    file = tmp_path / "c.csv"
    file.write_text(f"phone,consented_on,until\n{PEOPLE[0]},2026-01-01,\n{PEOPLE[1]},,2031-01-01\n")
    assert imported(file).outcomes == {"consented": 1, "unclear": 1}
    assert held(log) == [0]


@pytest.mark.parametrize(
    "layout",
    ["phone,email,date_added,reason\n{},a@b.de,2026-01-02,asked\n", '[{{"phoneNumber":"{}","source":"x"}}]'],
)
def test_a_list_of_oppositions_is_no_list_of_consents(log, tmp_path, layout):
    """A suppression list that lands in the wrong register would make callable whoever opposed."""
    file = tmp_path / "list.csv"
    file.write_text(layout.format(PEOPLE[0]))
    for kind in (None, RegisterKind.ALLOW):
        with pytest.raises(UnstatedConsents):
            imported(file, kind=kind)
    assert held(log) == []
    assert imported(file, all_consented=True).added == 1


def test_every_row_of_an_opposition_list_counts_and_its_answers_are_told(log, tmp_path):
    """An export of everybody would block everybody, and no word say which option splits it."""
    file = export(tmp_path, HEAD, ["Oui", "Non", "Oui", "", "Oui"])
    done = imported(file, "internal")
    assert held(log, "internal") == [0, 1, 2, 3, 4]
    (told,) = [line for line in done.reading if "--no-into" in line]
    assert "Consentement téléphone (consent?) says Oui 3, Non 1" in told
    for register, more in (("internal", {}), ("consent@a", {"change": "removes"})):
        with pytest.raises(BadList, match=f"every row of this list counts for {register}"):
            imported(file, register, columns=NAMED, **more)


@pytest.mark.parametrize("status", ["unsubscribed", "Widerrufen", "✗"])
def test_a_withdrawal_in_words_ends_the_consent(log, tmp_path, status):
    """A person whose row says `unsubscribed` would be called, because that is a word of no."""
    file = export(tmp_path, "Nom;Mobile;Opt-in;Status", ["Oui;", f"Oui;{status}", "Oui;No", "Oui;0"])
    done = imported(file, columns={"phone": "Mobile", "consent": "Opt-in", "withdrawn": "Status"})
    assert held(log) == [0, 2, 3]
    assert done.outcomes == {"consented": 3, "said no": 1}


@pytest.mark.parametrize(
    ("head", "rows"),
    [
        ("Nom;Mobile;Ort;Newsletter;Opt-in", ["x;Oui;Oui", "Halle; Saale;Oui;Non"]),
        ("Nom;Mobile;Opt-in;Note;Status", ["Oui;;", "Oui;a line\nbreak without quotes;2026-01-01"]),
        ("Nom;Mobile;Opt-in;Fin", ["Oui;", "Oui"]),
    ],
)
def test_a_row_with_more_or_fewer_cells_than_the_header_is_no_consent(log, tmp_path, head, rows):
    """A separator or line break in somebody's words would move another column's yes under the title of the consents."""
    columns = {"phone": "Mobile", "consent": "Opt-in"}
    if "Status" in head:
        columns["withdrawn"] = "Status"
    if "Fin" in head:
        columns["until"] = "Fin"
    done = imported(export(tmp_path, head, rows), columns=columns)
    assert held(log) == [0]
    assert done.outcomes["with more or fewer cells than the header"] >= 1


def test_empty_columns_behind_the_header_do_not_matter(log, tmp_path):
    """Every consent of an export with separators at the ends of its rows would be lost."""
    file = export(tmp_path, "Nom;Mobile;Opt-in", ["Oui;;", "Oui; ;"])
    imported(file, columns={"phone": "Mobile", "consent": "Opt-in"})
    assert held(log) == [0, 1]


@pytest.mark.parametrize("line", ["{} no", "no {}", "# {}", "-{}", "tel:{}", "\u2717 {}"])
def test_a_list_of_numbers_with_words_beside_them_states_no_consents(log, tmp_path, line):
    """A crossed-out line, or one that says no, would be a consent."""
    file = tmp_path / "c.csv"
    file.write_text("\n".join([PEOPLE[0], PEOPLE[1], line.format(PEOPLE[2]), ""]))
    with pytest.raises(UnstatedConsents, match="--all-consented"):
        imported(file)
    assert held(log) == []
    imported(file, all_consented=True)
    assert held(log) == [0, 1, 2]


@pytest.mark.parametrize(("title", "separator"), [("Opt-out", ""), ("Bloctel", ";"), ("Refus téléphone", "")])
def test_one_column_under_another_title_than_phone_states_no_consents(log, tmp_path, title, separator):
    """A file of opt-outs, taken for the file of consents, would have each of them called."""
    file = tmp_path / "c.csv"
    file.write_text(f"{title}{separator}\n{PEOPLE[0]}{separator}\n{PEOPLE[1]}{separator}\n")
    with pytest.raises(UnstatedConsents, match="--all-consented"):
        imported(file)
    assert held(log) == []


@pytest.mark.parametrize("content", ["416,5550123\n416,5550124\n", "Number,Status\n0412345678,Clean\n"])
def test_the_layouts_of_registries_state_no_consents(log, tmp_path, content):
    """A national list of oppositions, or a wash against one, would count as people who agreed to calls."""
    file = tmp_path / "2026-11-24.csv"
    file.write_text(content)
    with pytest.raises(UnstatedConsents, match="--all-consented"):
        imported(file, region="AU", kind=RegisterKind.ALLOW)
    assert "consent@a" not in log.replayed().index.registers


@pytest.mark.parametrize("wanted", ["✓", "", " "])
def test_a_column_named_by_signs_alone_is_not_another_one(log, tmp_path, wanted):
    """Another column without letters in its title would say who consented."""
    file = export(tmp_path, "Nom;Mobile;?;Note", ["Oui;", "Non;"])
    with pytest.raises(BadList, match="no column is called"):
        imported(file, columns={"phone": "Mobile", "consent": wanted})


def test_a_list_of_which_no_row_counts_is_not_called_empty(log, tmp_path):
    """The operator would look for the rows, which are there, in place of the reason."""
    file = export(tmp_path, "Nom;Mobile;Opt-in", ["?", "En attente"])
    with pytest.raises(BadList, match=r"no row counts \(consented 0, unclear 2\)"):
        imported(file, columns={"phone": "Mobile", "consent": "Opt-in"})


@pytest.mark.parametrize(
    "head",
    [
        "Nom;Mobile;Opt-in e-mail;Opt-in téléphone",
        "Nom;Mobile;Liste rouge;Actif",
        "Nom;Mobile;Opt-in;Unsubscribed;Revoked",
    ],
)
def test_no_command_is_shown_for_a_consent_that_may_be_another_one(log, tmp_path, head):
    """The command would be copied, and people be called who agreed to e-mails, or who are on Bloctel."""
    rows = ["Oui;Non", "Non;Oui"] if head.count(";") == 3 else ["Oui;Non;Non", "Non;Oui;Non"]
    with pytest.raises(UnstatedConsents) as refused:
        imported(export(tmp_path, head, rows))
    assert "if one of its columns says who agreed to these calls, name it" in str(refused.value)
    assert "consent" not in refused.value.named


WINDOWED = {"phone": "Mobile", "given": "Date", "from": "Begin", "until": "End"}
EVENING = ("2026-12-01T20:30:00+01:00", "2026-12-01T21:30:00+01:00")


def windows(tmp_path, *rows, register="consent-hours@a+60m", columns=WINDOWED, **more):
    """Import rows of a begin and an end."""
    stated = [f"{day(-1)};{begin};{end}" for begin, end in rows]
    file = export(tmp_path, "Nom;Mobile;Date;Begin;End", stated)
    return imported(file, register, columns=columns, all_consented=True, **more)


def test_a_list_states_windows_in_two_columns(log, tmp_path):
    """A person would be called at another hour than the one that they asked for, or at any."""
    half, no_zone = ("2026-12-01T20:30:00Z", "2026-12-01T21:00:00Z"), ("2026-12-01 20:30", "2026-12-01 21:30")
    long = ("2026-12-01T20:30:00Z", "2026-12-02T20:31:00Z")
    over = ("2026-11-20T20:30:00Z", "2026-11-20T21:30:00Z")
    told = windows(tmp_path, EVENING, half, no_zone, long, over)

    assert held(log, "consent-hours@a+60m") == [0]
    ends = log.replayed().known("consent-hours@a+60m").ends.stated().ends
    assert ends.tolist() == [int(datetime.fromisoformat(EVENING[1]).timestamp())]
    assert told.outcomes == {
        "consented": 1,
        "ended": 1,
        "without two moments with a zone, at most a day apart": 2,
        "for +30m": 1,
    }
    assert any("--register consent-hours@acme+30m" in line for line in told.reading)

    windows(tmp_path, EVENING, half, register="consent-hours@a+30m")
    assert held(log, "consent-hours@a+30m") == [1]


LATER = ("2026-12-01T22:00:00+01:00", "2026-12-01T22:30:00+01:00")


def test_a_window_that_is_moved_closes_the_one_before_it(log, tmp_path):
    """A person who asked for another hour would be called at the first one, too, because it has another length."""
    windows(tmp_path, EVENING, EVENING)
    windows(tmp_path, LATER, register="consent-hours@a+30m")
    told = windows(tmp_path, LATER, change="adds", allow_change=True)
    assert held(log, "consent-hours@a+60m") == [1]
    assert told.outcomes == {"consented": 0, "for +30m": 1}
    assert held(log, "consent-hours@a+30m") == [0]


def test_of_two_windows_of_one_person_in_a_list_none_counts(log, tmp_path):
    """She would be called at the hour that she took back: a list does not say which one holds."""
    file = export(tmp_path, "Nom;Mobile;Date;Begin;End", [f"{day(-1)};{EVENING[0]};{EVENING[1]}"] * 2)
    moved = file.read_text().splitlines()[1].replace("T20", "T22").replace("T21", "T23")
    file.write_text(f"{file.read_text()}\n{moved}\nRose;{PEOPLE[1]};{day(-1)};{EVENING[0]};{EVENING[1]}\n")
    told = imported(file, "consent-hours@a+60m", columns=WINDOWED, all_consented=True)
    assert held(log, "consent-hours@a+60m") == [1]
    assert told.outcomes == {"consented": 2, "with two windows": 2}


@pytest.mark.parametrize(
    ("register", "columns", "says"),
    [
        ("consent-hours@a+60m", {"phone": "Mobile"}, "from=Begin,until=End"),
        ("consent-hours@a+60m", {"phone": "Mobile", "given": "Date", "until": "End"}, "from=Begin,until=End"),
        ("consent-hours@a+60m", {"phone": "Mobile", "from": "Begin", "until": "End"}, "given=Date"),
        ("consent-hours@a+60m", {}, "from=Begin,until=End"),
        ("consent-hours@a", WINDOWED, "--register consent-hours@acme+60m"),
        ("consent-hours@a+1441m", WINDOWED, "--register consent-hours@acme+60m"),
        ("consent@a", WINDOWED, "--register consent-hours@acme+60m"),
    ],
)
def test_windows_and_their_register_go_together(log, tmp_path, register, columns, says):
    """The end of a consent would be taken for the end of a window, or a window for a consent to any hour."""
    with pytest.raises(ConfigError, match=re.escape(says)):
        windows(tmp_path, EVENING, register=register, columns=columns)
    assert log.records == []


def test_a_french_window_later_than_the_year_of_its_consent_does_not_count(log, tmp_path):
    """The law would end the consent earlier, and the window would open at an hour that nobody stated."""
    given = NOW - timedelta(days=300)
    rows = ["Mobile;Date;Begin;End"]
    for phone, days in (("+33612345678", 363), ("+33612345679", 367)):
        begin, end = (f"{given + timedelta(days=days, hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (0, 1))
        rows.append(f"{phone};{given:%Y-%m-%d};{begin};{end}")
    file = tmp_path / "c.csv"
    file.write_text("\n".join(rows))
    told = imported(file, "consent-hours@a+60m", columns=WINDOWED, all_consented=True)
    assert told.outcomes == {"consented": 1, "ended": 1}
    assert [*log.replayed().index.registers["consent-hours@a+60m"].numbers] == [33612345678]


def test_people_are_removed_from_a_register_of_windows_by_their_numbers(log, tmp_path):
    """Who takes the consent back would be called in the evening until somebody found the hour that they had agreed to."""
    windows(tmp_path, EVENING)
    file = tmp_path / "gone.csv"
    file.write_text(PEOPLE[0])
    imported(file, "consent-hours@a+60m", change="removes")
    assert held(log, "consent-hours@a+60m") == []
