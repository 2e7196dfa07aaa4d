"""The dossier of a week in which a number was allowed, opted out, recalled, blocked, corrected and allowed again."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from gettext import NullTranslations

import msgspec
import pytest
import xlsxwriter
from typer.testing import CliRunner

from stream_scrub import languages
from stream_scrub.cli.app import app
from stream_scrub.config import Settings
from stream_scrub.config.evidence import EvidenceSettings
from stream_scrub.errors import ConfigError, StaleIndex
from stream_scrub.files.options import FileOptions
from stream_scrub.files.scrub_file import scrub_file
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.index import deltas
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.ops.scrubbed_files import ScrubbedFile
from stream_scrub.queries import dossier, file_results, month_report
from stream_scrub.queries.dossier_files import complaint, dossier_page
from stream_scrub.queries.explain import EmittedProspect
from stream_scrub.queries.find_emitted import EmittedBetween, OldestLeft
from stream_scrub.queries.side_topics import SideRecords, TopicKept
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import stamp_on
from tests.support.fakes import law
from tests.support.fakes.hashes import KEY, hashed, hashing_of, keys_in
from tests.support.fakes.publisher import bitmap
from tests.support.golden import dossier as golden
from tests.support.golden.dossier import FIRST, LAST, NUMBER, STRANGER
from tests.support.golden.evidence import keep_rules, reader


@pytest.fixture
def told(tmp_path):
    return golden.story(golden.with_rules(str(tmp_path)))


def test_the_page_is_the_one_that_was_read_and_found_good(told):
    """The page that a regulator gets could change without anybody's having read it."""
    assert golden.page(golden.made(told)) == (golden.FOLDER / "page.html").read_text()


def test_a_complaint_is_answered_with_what_happened_in_one_order(told):
    """An officer would put the answer together from five tables, by two clocks."""
    answer = complaint.of(golden.made(told))
    assert (answer.lawful, answer.gone) == ("mixed", True)
    assert [event.at for event in answer.timeline] == sorted(event.at for event in answer.timeline)
    happened = [f"{event.clock}: {event.says}" for event in answer.timeline]
    assert happened[0].startswith("25 November 2026, 09:30 +01:00: Lead allowed: ")
    assert "27 November 2026, 10:00 +01:00: Added to internal: the person opted out." in happened
    assert "27 November 2026, 15:00 +01:00: The person refused a call." in happened
    assert any(
        line.startswith("27 November 2026, 10:00 +01:00: Recalled from the diallers") for line in happened
    )
    assert "30 November 2026, 08:00 +01:00: Removed from internal." in happened


def test_an_erasure_says_what_goes_by_itself_and_what_stays(told):
    """A person would be told that their data are deleted while the log holds them; or be called again after the deletion
    of their opt-out."""
    made = golden.made(told)
    steps = [(step.state, step.says) for step in complaint.of(made).erasure]
    assert steps[0][0] == "open"
    assert any(state == "open" and says.startswith("Record the objection first") for state, says in steps)
    (allowed,) = (says for _, says in steps if says.startswith("prospects.allowed"))
    assert allowed.endswith("soon after 2 March 2027.")
    (log,) = (each for each in steps if each[1].startswith("opposition.log"))
    assert log[0] == "open" and "changes of the number: 2." in log[1]
    opposed = msgspec.structs.replace(
        made,
        changes=[],
        registers=[msgspec.structs.replace(each, held=True) for each in made.registers],
    )
    steps = [(step.state, step.says) for step in complaint.of(opposed).erasure]
    assert any(state == "keep" and "Keep the number in internal" in says for state, says in steps)
    assert ("done", "opposition.log: the number is not there.") in steps
    of_one = [msgspec.structs.replace(each, register="internal@acme", held=True) for each in made.registers]
    steps = complaint.of(msgspec.structs.replace(made, registers=of_one)).erasure
    assert any(step.state == "open" and step.says.startswith("Record the objection first") for step in steps)


def test_an_erasure_of_an_opposed_person_is_done_once_the_log_is_renewed(told):
    """An officer would renew the log for ever, and the erasure that was promised would never be done."""
    made = golden.made(told)
    opposed = msgspec.structs.replace(made.changes[0], reason="renewed", requests=[])
    consented = msgspec.structs.replace(opposed, register="consent", kind=RegisterKind.ALLOW)

    def log_step(*changes):
        renewed = msgspec.structs.replace(made, changes=list(changes))
        (line, *_) = (each.says for each in complaint.of(renewed).timeline if "renewed log" in each.says)
        assert line == "Carried over to the renewed log, in internal."
        (step,) = (each for each in complaint.of(renewed).erasure if each.says.startswith("opposition.log"))
        return step

    step = log_step(opposed)
    assert (step.state, step.says) == (
        "done",
        "opposition.log: only the opposition in internal is left, which must stay. Ask the operator whether the earlier log"
        " is deleted.",
    )
    assert log_step(opposed, consented).state == "open", "the next renewal leaves it out"
    counted = msgspec.structs.replace(opposed, register="rested")
    assert log_step(opposed, counted).state == "open", "how often somebody was called is no opposition"
    assert log_step(opposed, made.changes[1]).state == "open", "a later change is on the log again"


def test_a_lead_may_have_been_released_in_a_file_that_nobody_has_read(told):
    """ "No lead was released" would be said of a lead that the same server had released in a file an hour before."""
    scrubbed = ScrubbedFile(
        at="2026-11-29T10:00:00Z", by="marketer", sha256="ab" * 32, proof="cd" * 32, rows=9, allowed=5, position=10, purpose=""
    )  # fmt: skip
    days = golden.made(told._replace(sides=told.sides._replace(scrubbed=[scrubbed]))).days
    assert [each.lawful for each in days[3:]] == ["no", "no", "unproven", "yes"]
    assert "files of leads were scrubbed whose results are not here" in days[5].says
    read = told.sides._replace(scrubbed=[scrubbed], read_proofs=[scrubbed.proof])
    assert golden.made(told._replace(sides=read)).days[5].lawful == "part"


LAW = """country = "FR"
regions = ["FR", "RE"]
timezone = "Europe/Paris"
[[rule]]
from = 2020-01-01
source = "a law made for the tests"
deny = ["internal"]
valid_days = 28
"""


PEOPLE = [("Ann", "0612345678"), ("Bob", f"+{STRANGER}"), ("Cid", "0611111111")]


def csv_leads() -> bytes:
    return "\n".join(map(";".join, [("name", "phone"), *PEOPLE])).encode()


def ndjson_leads() -> bytes:
    return b"\n".join(json.dumps({"name": name, "phone": phone}).encode() for name, phone in PEOPLE)


def workbook_leads() -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet()
        for nth, cells in enumerate([("name", "phone"), *PEOPLE]):
            sheet.write_row(nth, 0, cells)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "leads", "line"),
    [("leads.csv", csv_leads, 2), ("leads.ndjson", ndjson_leads, 1), ("leads.xlsx", workbook_leads, 2)],
)
def test_results_of_a_file_count_as_released_and_end_with_the_log(tmp_path, name, leads, line):
    """A call to a lead from a file would look as if nothing had allowed it, or as if no opt-out had come since."""
    (tmp_path / "fr.toml").write_text(LAW)
    log, now = golden.TimedLog(), datetime.now(UTC)
    keep_rules(log.publisher, LAW)
    log.publisher.import_list("internal", {STRANGER: 0})
    log.then(now - timedelta(hours=1))
    settings = Settings.model_validate({"rules": {"folder": str(tmp_path)}})
    file, out = tmp_path / name, tmp_path / "results"
    file.write_bytes(leads())
    scrub_file(
        FileOptions(input=str(file), output=out), settings, IndexUsed(log.publisher.replay.index, "log")
    )
    opposed = deltas.adding(log.publisher.base("internal").numbers, bitmap([NUMBER]))
    log.publisher.put("internal", opposed)
    log.then(datetime.now(UTC) + timedelta(minutes=1))

    found = file_results.read([out], NUMBER, settings, scrubbing.rulebook(settings)).found
    calls = [datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (0, 2)]
    attempts = [
        golden.attempt(nth, f"{at.astimezone(timezone(timedelta(hours=1))):%Y-%m-%dT%H:%M:%S}")
        for nth, at in enumerate(calls)
    ]
    today = found[0].day
    made = dossier.of(
        reader(log.records),
        dossier.DossierRequest(NUMBER, "FR", today, today + timedelta(days=1)),
        EmittedBetween(found, []),
        SideRecords([each._replace(campaigns=[]) for each in attempts], [], [], {}),
        settings,
        lambda *_: None,
        Deadline.after(60),
        now + timedelta(days=2),
    )
    (verdict,) = made.verdicts
    assert verdict.topic.startswith("file ") and verdict.offset == line and verdict.verdict == "allowed"
    assert verdict.explanation is not None and verdict.explanation.same
    assert [each.covered for each in made.attempts] == [True, False]
    assert str(STRANGER) not in golden.page(made)
    (out / f"allowed{file.suffix}").write_text("name;phone\n")
    with pytest.raises(ConfigError, match=rf"--results .*allowed{file.suffix}"):
        file_results.read([out], NUMBER, settings, scrubbing.rulebook(settings))


class Untranslated(NullTranslations):
    """Refuses a text that a catalogue lacks."""

    def gettext(self, message):
        raise AssertionError(f"not translated: {message}")


def plain_text(page: str) -> str:
    """What a reader sees in her own language: the page without data, and without what is marked as English."""
    page = re.sub(r'<(dd|p|ul|li|h3|pre|span) lang="en">.*?</\1>', " ", page, flags=re.DOTALL)
    return re.sub(r"<(style|script)[ >].*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_a_dossier_speaks_one_language(told, language, monkeypatch):
    """A clerk would send the authority a page whose reasons are in English, among titles in her own language."""
    if language != languages.ENGLISH:
        monkeypatch.setattr(languages.catalogue(language), "_fallback", Untranslated())
    made = golden.made(told, language=language)
    page = golden.page(made)
    shown = plain_text(page)
    assert f'<html lang="{language}">' in page
    english = re.findall(r"\b(?:the|were|which|lawful|because|since)\b", shown)
    assert bool(english) is (language == languages.ENGLISH), english
    assert [day.lawful for day in made.days] == [day.lawful for day in golden.made(told).days]


def test_a_page_has_one_clock_and_names_its_company_case_and_maker(told):
    """An opt-out would seem to be older than the verdict that it ended, since one was in UTC and the other was not."""
    settings = told.settings.model_copy(
        update={"evidence": EvidenceSettings(company="Acme SAS", keep_days=40)}
    )
    made = golden.made(told._replace(settings=settings), case="2026/117", made_by="ann on desk-3")
    shown = plain_text(golden.page(made))
    assert not re.findall(r"\d\d:\d\dZ|\d\d:\d\d:\d\d(?:\.\d+)?Z|\bUTC[^.,]", shown.split("Appendix")[0])
    for moment in ("2026-11-27 09:59:00 +01:00", "2026-11-27 10:00:00 +01:00", "2026-12-02 13:00:00 +01:00"):
        assert moment in shown, "received, on the log, made at"
    page = golden.page(made)
    for named in ("Acme SAS", "2026/117", "ann on desk-3"):
        assert f">{named}<" in page.split("<h2")[0]


def test_it_says_where_the_proof_of_a_consent_was_not_kept(tmp_path):
    """An authority that asks for the consent word for word would be led to a checksum."""
    (tmp_path / "fr.toml").write_text(law.OPT_OUT)
    log = golden.TimedLog()
    keep_rules(log.publisher, law.OPT_OUT)
    log.publisher.import_list("consent@acme", {NUMBER: 0}, kind=RegisterKind.ALLOW)
    log.then(golden.at("2026-11-25T08:00"))
    settings = Settings.model_validate({"rules": {"folder": str(tmp_path)}})
    story = golden.Story(log.records, EmittedBetween([], []), SideRecords([], [], [], {}), settings)
    made = golden.made(story)
    page = golden.page(made)
    assert [change.requests for change in made.changes] == [[]]
    for part in page.split('id="appendix"'):
        assert "The proof of this consent was not kept" in part and "list.csv" in part


def test_nobody_else_is_in_it(told):
    """An access request would be answered with another person's number: that of a lead with two, or of a recall's key."""
    notices = [msgspec.structs.replace(each, key=f"+{STRANGER}") for each in told.sides.notices]
    made = golden.made(told._replace(sides=told.sides._replace(notices=notices)))
    assert len(made.recalls) == 1
    for text in (msgspec.json.encode(made).decode(), golden.page(made)):
        assert str(STRANGER)[2:] not in re.sub(r"\s", "", text) and "A. Stranger" not in text
    assert sum(each.others_left_out for each in made.verdicts) == 1
    assert made.changes[0].requests[0].others_left_out == 1


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_no_clock_there_has_is_shown_as_it_is(told, moment):
    """Whoever stamps a request or a notice with the year 9999, as CRMs write "for ever", would leave the person without a
    dossier."""
    notice, delivery = told.sides.notices[0], told.sides.deliveries[0]
    sides = told.sides._replace(
        notices=[msgspec.structs.replace(notice, at=moment)],
        deliveries=[msgspec.structs.replace(delivery, at=moment)],
    )
    page = golden.page(golden.made(told._replace(sides=sides)))
    assert f"{moment[4:10]} {moment[11:19]}" in page


def test_its_data_are_inside_and_no_text_breaks_out_of_them(told):
    """A request with a tag in it would run in the regulator's browser, or a campaign's name make the authority read the reason
    behind it from its end."""
    made = golden.made(told, case="\u202e711/6202", made_by="a\u2066n")
    text = dossier_page.rendered(made)
    data = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data) == json.loads(msgspec.json.encode(made))
    assert text.count("<script") == 1 and "<b>never again" not in text
    assert "\\u202e711/6202" in text and "\u202e" not in text and "\u2066" not in text


def test_a_verdict_of_before_counts_on_the_first_day(told):
    """A call on the day after the verdict would look as if nothing had allowed it."""
    made = golden.made(told, first=FIRST.replace(day=26), last=FIRST.replace(day=26))
    assert [each.before for each in made.verdicts if each.day <= FIRST] == [True, True]
    assert made.days[0].lawful == "yes" and "verdict of 25 November 2026 still counted" in made.days[0].says


def test_a_campaign_leaves_out_the_others(told):
    """A client would see what was done for another one."""
    made = golden.made(told, campaign="Zeta")
    assert [each.explanation.facts["campaigns"] for each in made.verdicts] == [("zeta",)] * 2
    assert made.attempts == []


def test_a_stamp_whose_rule_is_nowhere_is_in_it_and_proves_nothing(told):
    """One old verdict would keep the whole dossier from being made, pass as proven, or be shown as allowed where it blocked."""
    found = [
        each._replace(prospect=EmittedProspect(each.prospect.value.replace(b"fr@", b"fr@0"), None, "allowed"))
        for each in told.emitted.found
    ]
    made = golden.made(told._replace(emitted=told.emitted._replace(found=found)))
    assert {each.explanation for each in made.verdicts} == {None} and made.days[0].lawful == "unproven"
    assert "neither on the log nor installed" in golden.page(made)
    assert {each.verdict for each in made.verdicts} == {"allowed", "blocked"}
    for group in dossier_page.grouped(made.verdicts):
        assert len({(each.verdict, each.reason) for each in group.verdicts}) == 1


@pytest.mark.parametrize(
    ("place", "index", "says"),
    [(0, 10, "clear, and the log gives opposed"), (2, 6, "opposed, and the log gives clear")],
)
def test_a_stamp_that_the_log_contradicts_is_said_to_be_so(told, place, index, says):
    """The dossier of the call that somebody complains about could not be made, or would give the reasons of the other verdict."""
    first = told.emitted.found[place]
    value = re.sub(rb'"index":\d+', b'"index":%d' % index, first.prospect.value)
    contradicted = first._replace(
        stamp=stamp_on(None, value), prospect=EmittedProspect(value, None, first.stamp.verdict), day=FIRST
    )
    made = golden.made(told._replace(emitted=told.emitted._replace(found=[contradicted])), last=FIRST)
    explanation = made.verdicts[0].explanation
    assert explanation is not None and not explanation.same
    assert says in golden.page(made)
    assert made.days[0].lawful == ("unproven" if place == 0 else "no")


@pytest.mark.parametrize(
    "forged",
    [
        {"note": f"+{STRANGER}", "deep": {"numbers": [STRANGER]}},
        {"rules": f"fr@{STRANGER}"},
        {"registers": [f"internal@{STRANGER}"], "residence": f"fr@{STRANGER}"},
        {"callable": [f"+{NUMBER}", f"+{STRANGER}"]},
    ],
)
def test_a_foreign_stamp_brings_no_other_person_into_it(told, forged):
    """Whoever asks for access would get somebody else's number, which another program wrote into a stamp."""
    value = json.loads(told.emitted.found[0].prospect.value)
    value["scrub"].update(forged)
    foreign = EmittedProspect(json.dumps(value).encode(), None, "allowed")
    found = [told.emitted.found[0]._replace(prospect=foreign), *told.emitted.found[1:]]
    made = golden.made(told._replace(emitted=told.emitted._replace(found=found)))
    assert len(made.verdicts) == len(found)
    assert str(STRANGER) not in golden.page(made) + msgspec.json.encode(made).decode()


def test_without_days_it_has_everything_that_is_held(told):
    """A person who asks what is held on her would have to know the days on which she was called."""
    asked = dossier.DossierRequest.of_everything(NUMBER, "FR")
    made = golden.of(told, asked)
    assert len(made.verdicts) == 5 and len(made.attempts) == 2 and len(made.changes) == 2
    assert made.answer[0].startswith(f"Held on +{NUMBER}: verdicts 5, changes in registers 2")
    assert "rticle 15 GDPR" in made.answer[1]
    assert [each.day for each in made.days] == [FIRST.replace(day=day) for day in (25, 27, 28, 30)] + [LAST]
    page = golden.page(made)
    assert f"What is held on +{NUMBER}" in page and "2001" not in page.split("<script")[0]
    assert str(STRANGER)[2:] not in page


def test_no_dossier_is_made_without_the_key_of_a_list_of_hashes(tmp_path):
    """A person would read that her number is not on the log, which holds it as a hash that nobody could look up."""
    made, hashing = golden.TimedLog(), hashing_of("hmac-sha256", "+", "", KEY)
    handed_over = hashed(law.register("hashed", [NUMBER]), hashing, KEY).numbers
    made.publisher.put("hashed", replace(deltas.adding(bitmap([]), handed_over), hashed=hashing))
    made.then(golden.at("2026-11-25T08:00"))
    keys_in(tmp_path / "keys", KEY)
    (tmp_path / "none").mkdir()
    told = golden.story(golden.with_rules(str(tmp_path)))
    nothing = told._replace(
        records=made.records, emitted=EmittedBetween([], []), sides=SideRecords([], [], [], {})
    )
    asked = dossier.DossierRequest.of_everything(NUMBER, "FR")

    def with_keys(folder):
        lists = told.settings.lists.model_copy(update={"hash_keys": str(tmp_path / folder)})
        return nothing._replace(settings=told.settings.model_copy(update={"lists": lists}))

    assert [each.register for each in golden.of(with_keys("keys"), asked).changes] == ["hashed"]
    with pytest.raises(StaleIndex, match="needs the key"):
        golden.of(with_keys("none"), asked)


@pytest.mark.parametrize(
    ("first", "last", "language", "why"),
    [
        (LAST, FIRST, "en", "before the first day"),
        (date.min, date.min, "en", "between 2000 and 2999"),
        (date.max, date.max, "en", "between 2000 and 2999"),
        (FIRST, LAST, "pt", "en, fr, de, it, es"),
    ],
)
def test_what_no_dossier_can_answer_is_refused(first, last, language, why):
    """A slip in a year would end in a traceback, after minutes of reading, or the page be in another language than asked for."""
    with pytest.raises(ConfigError, match=why):
        dossier.DossierRequest(NUMBER, "FR", first, last, language=language)


def test_a_month_that_no_log_has_is_refused():
    """A slip in a year would end in a traceback, after minutes of reading."""
    with pytest.raises(ConfigError, match="between 2000 and 2999"):
        month_report.first_day("0001-01")


def test_a_day_on_which_the_law_allows_no_call_is_not_lawful(tmp_path):
    """A call on a Sunday would be called lawful, since nothing else stood against it."""
    hours = 'hours = { tue-fri = ["10:00-13:00"], source = "made for the tests" }\n'
    (tmp_path / "fr.toml").write_text(law.OPT_OUT + hours)
    told = golden.story(str(tmp_path))
    monday, tuesday = golden.made(told._replace(emitted=told.emitted._replace(found=[]))).days[5:]
    assert (monday.day.weekday(), monday.lawful, tuesday.lawful) == (0, "no", "yes")
    assert "at no hour of that day" in monday.says and "Tue-Fri 10:00-13:00" in monday.reason


def test_a_verdict_on_a_message_says_nothing_of_calls(tmp_path):
    """A consent to text messages would make calls lawful, and cover them."""
    messages = (
        '[[rule]]\nfrom = 2020-01-01\nchannels = ["sms"]\nsource = "for the tests"\ndeny = ["internal"]\n'
    )
    (tmp_path / "fr.toml").write_text(law.OPT_OUT + messages)
    told = golden.story(str(tmp_path))
    value, moment = b'{"phone":"0612345678","campaign":"acme","channel":"sms"}', golden.at("2026-11-25T09:30")
    message = golden.judged(told.records, told.emitted.found[0].stamp.index, moment, value, told.settings)
    made = golden.made(told._replace(emitted=told.emitted._replace(found=[message])), last=FIRST)
    assert [(each.verdict, each.explanation.same) for each in made.verdicts] == [("allowed", True)]
    assert not made.days[0].released and not made.attempts[0].covered
    assert [each.by for each in made.law] == ["installed"]
    assert "Channel: sms." in golden.page(made)


def test_a_day_before_the_log_began_is_not_judged(told):
    """A page would tell an authority that a call was unlawful, of a day of which the log knows nothing."""
    before = FIRST.replace(year=FIRST.year - 2)
    (day,) = golden.made(told, first=before, last=before).days
    assert (day.lawful, day.reason) == ("unproven", "the log begins later")


def test_an_error_does_not_repeat_a_number_in_a_files_name(told, tmp_path, monkeypatch):
    """A number would get into the log of whoever runs the command."""
    made = golden.made(told)
    monkeypatch.setattr(dossier, "gather", lambda *_: made)
    out = tmp_path / "none" / f"+{NUMBER}.html"
    monkeypatch.chdir(tmp_path)
    asked = ["dossier", f"+{NUMBER}", "--from", str(FIRST), "--out", str(out)]
    said = CliRunner().invoke(app, asked, standalone_mode=False).exception
    assert isinstance(said, ConfigError) and "--out" in str(said) and str(NUMBER) not in str(said)


@pytest.mark.parametrize(
    ("region", "authorities"),
    [
        ("FR", ["DGCCRF", "CNIL, or the person"]),
        ("US-TX", ["FTC"]),
        ("IT", ["a data protection authority, or the person"]),
    ],
)
def test_each_authority_finds_what_it_asks(region, authorities):
    """A regulator would have to search the page for what its law asks."""
    found = dossier_page.profiles(region)
    assert [who for who, _ in found] == authorities


def test_a_call_above_the_laws_limit_is_not_covered(tmp_path):
    """A fifth call in a month would be called lawful, because the publisher was down when the fourth was reported."""
    (tmp_path / "fr.toml").write_text(law.OPT_OUT + "attempts = { most = 2, days = 30, refusal_days = 60 }\n")
    told = golden.story(str(tmp_path))
    calls = [golden.attempt(nth, f"2026-11-25T10:0{nth}") for nth in range(4)]
    made = golden.made(told._replace(sides=told.sides._replace(attempts=calls, notices=[])))
    assert [each.covered for each in made.attempts] == [True, True, False, False]
    assert "called 2 times" in made.attempts[2].says
    assert [each.lawful for each in made.days[:3]] == ["part", "no", "no"]
    # An old report under the id of a coming call makes it no earlier one.
    forged = golden.attempt(3, "2026-11-24T10:00")
    made = golden.made(told._replace(sides=told.sides._replace(attempts=[forged, *calls], notices=[])))
    assert [each.covered for each in made.attempts] == [True, False, False, False]
    refused = [golden.attempt(0, "2026-11-25T10:00", refused=True), golden.attempt(1, "2026-11-26T10:00")]
    made = golden.made(told._replace(sides=told.sides._replace(attempts=refused, notices=[])))
    assert [each.covered for each in made.attempts] == [True, False]
    assert "the person refused" in made.attempts[1].says


@pytest.mark.parametrize(
    ("topic", "lawful"),
    [
        ("prospects.recalled", ["unproven"] * 3 + ["no", "no", "unproven", "yes"]),
        # The law of this story limits no calls.
        ("call.attempts", ["yes", "yes", "part", "no", "no", "part", "yes"]),
    ],
)
def test_what_kafka_has_deleted_is_said_at_the_top_and_is_never_lawful(told, topic, lawful):
    """The same dossier would turn from "not lawful" to "lawful" once retention had deleted what proves it."""
    gone = TopicKept(topic=topic, holds="", keep_days=1, oldest=golden.at("2026-12-01T11:00"))
    made = golden.made(told._replace(sides=told.sides._replace(kept={topic: gone})))
    assert [each.topic for each in made.gone] == ["prospects.blocked", topic]
    assert [each.lawful for each in made.days] == lawful
    assert made.attempts[0].covered is (topic == "call.attempts")
    page = golden.page(made)
    assert f"Gone: what was on {topic} before 2026-12-01 11:00:00" in page.split("lawful from")[0]


def test_no_day_without_a_verdict_is_lawful_once_allowed_leads_are_deleted(told):
    """ "No lead was released" would be said of a lead that was called, because its record is gone."""
    deleted = [OldestLeft("prospects.allowed", 0, golden.at("2026-11-29T00:00"))]
    found = [each for each in told.emitted.found if each.day > FIRST.replace(day=28)]
    days = golden.made(told._replace(emitted=told.emitted._replace(found=found, deleted=deleted))).days
    assert {each.lawful for each in days[:-1]} == {"no", "unproven"} and days[-1].lawful == "yes"
    assert "whether a lead with this number was released is not known" in days[0].says
