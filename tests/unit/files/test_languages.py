"""The report and the pages in other languages: every text has its translation, and numbers and days are written as people there do."""

import re
from datetime import date
from gettext import GNUTranslations

import pytest

from stream_scrub import languages
from tests.support.running.files import FREE, OPPOSED
from tools import catalogues

OTHERS = [code for code in languages.LANGUAGES if code != languages.ENGLISH]
# English: for operators and programmers.
OPERATORS_PAGES = {
    *("dry-run.html.j2", "list-columns.html.j2", "lists-part.html.j2", "lists.html.j2", "live.html.j2"),
    *("past.html.j2", "reference.html.j2", "status.html.j2", "unread.html.j2"),
}
NAMES = ("stream-scrub", "dossier.html", "dossier.json", "MiB")  # the same in every language
PLACE = re.compile(r"%\(\w+\)[sd]")


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_the_report_is_translated(language):
    """A manager would find English sentences in the middle of her report, or a figure that is missing."""
    read = {message.id: message for message in catalogues.read(language) if message.id}
    assert list(read) == list(catalogues.texts()), "run `make tables`"
    compiled = languages.catalogue(language)
    assert isinstance(compiled, GNUTranslations)
    for text, message in read.items():
        one, *several = (text,) if isinstance(text, str) else text
        forms = (message.string,) if isinstance(message.string, str) else message.string
        assert all(forms) and not message.fuzzy, text
        assert len(forms) == 1 + len(several), "one form, or that of one and that of several"
        for source, form in zip((one, *several), forms, strict=True):
            assert sorted(PLACE.findall(form)) == sorted(PLACE.findall(source)), text
            assert "<" not in form, "a translation cannot bring markup"
            assert form[-1] == source[-1] or source[-1] not in ".:", text
        said = (
            (compiled.ngettext(one, several[0], 1), compiled.ngettext(one, several[0], 2)) if several else ()
        )
        assert (said or (compiled.gettext(one),)) == forms, "run `make tables`"


@pytest.mark.parametrize(
    "template",
    [path for folder in catalogues.PAGES for path in sorted(folder.glob("*.j2"))],
    ids=lambda path: path.name,
)
def test_a_page_has_no_text_outside_the_catalogues(template):
    """A marketer would find an English sentence in the middle of a page in her language."""
    source = template.read_text()
    if template.name in OPERATORS_PAGES:
        assert '{% block lang %} lang="en"{% endblock %}' in source or "extends" not in source
        return
    source = re.sub(r"{%-? trans.*?endtrans -?%}", "", source, flags=re.DOTALL)
    source = re.sub(r"<code>.*?</code>|{{.*?}}|{%.*?%}", "", source, flags=re.DOTALL)
    labels = re.findall(r'aria-label="([^"]*[A-Za-z][^"]*)"', source)
    shown = re.sub(r"<[^>]*>", " ", source)
    for name in NAMES:
        shown = shown.replace(name, "")
    assert labels == [] and re.findall(r"[A-Za-z]+", shown) == []


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "fr",
            ("1 contacts sur 3", "vendredi 19 juin 2026", "la personne ne veut pas être appelée", "33,3 %"),
        ),
        ("en", ("1 of 3 leads", "Friday, 19 June 2026", "the person does not want to be called", "33.3 %")),
    ],
)
def test_the_report_speaks_its_readers_language(bureau, language, said):
    """Somebody who reads no English could not say whom she may call, and why."""
    done = bureau.scrub(f"phone\n{FREE}\n{OPPOSED}\n12\n".encode(), language=language)
    page = done.read("report").decode()
    assert f'<html lang="{language}">' in page and [each for each in said if each not in page] == []
    assert done.summary.reasons["opposed"] == 1, "the words for programs stay"


def test_the_report_links_its_files(bureau):
    """The reader of the report would look for the leads that she may call."""
    done = bureau.scrub(f"phone\n{FREE}\n".encode(), annotated=True)
    links = re.findall(r'href="([^"]*)"', done.read("report").decode())
    assert links == ["allowed.csv", "blocked.csv", "annotated.csv", "summary.json", "proof.json"]
    assert all((done.folder / link).is_file() for link in links)


def test_figures_and_days_are_written_as_there():
    """1.234 would be read as one and a bit in London, and as a thousand in Berlin."""
    assert [languages.count(1234567, code) for code in ("en", "fr", "de")] == [
        "1,234,567",
        "1\u202f234\u202f567",
        "1.234.567",
    ]
    assert languages.day(date(2026, 12, 1), "es") == "martes, 1 de diciembre de 2026"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        ("pt-BR, de;q=0.8, it;q=0.7", "de"),
        ("*;q=0.1,,;q=", "en"),
        ("fr;q=0, de-AT", "de"),
        ("fr; q=0.000, it;q=0.1", "it"),
    ],
)
def test_a_browsers_languages_are_understood(accepted, language):
    """The form would offer a report that its reader cannot read."""
    assert languages.preferred(accepted) == language


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the file holds no rows", "The file holds no rows."),
        ("out.txt: it holds no rows", "out.txt: it holds no rows."),
        ("my leads 2.csv, line 3: no number", "my leads 2.csv, line 3: no number."),
        ("éch: no", "Éch: no."),
    ],
)
def test_a_reason_becomes_a_sentence(text, said):
    """The page would name a file that its user does not have."""
    assert languages.sentence(text) == said
