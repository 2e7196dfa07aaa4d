"""The report in other languages: every text has its translation, and numbers and days are written as people there do."""

import re
from datetime import date
from gettext import GNUTranslations

import pytest

from stream_scrub import languages
from stream_scrub.errors import ConfigError
from tests.support.running.files import FREE, OPPOSED
from tools import catalogues

OTHERS = [code for code in languages.LANGUAGES if code != languages.ENGLISH]
PLACE = re.compile(r"%\(\w+\)[sd]")


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_of_the_report_is_translated(language):
    """A manager would find English sentences in the middle of her report, or a figure that is missing."""
    read = {message.id: message for message in catalogues.read(language) if message.id}
    assert list(read) == list(catalogues.texts()), "run `make tables`"
    for text, message in read.items():
        assert message.string and not message.fuzzy, text
        assert sorted(PLACE.findall(message.string)) == sorted(PLACE.findall(text)), text
        assert "<" not in message.string, "a translation cannot bring markup"
        assert message.string[-1] == text[-1] or text[-1] not in ".:", text
    compiled = languages.catalogue(language)
    assert isinstance(compiled, GNUTranslations)
    assert {text: compiled.gettext(text) for text in read} == {
        text: message.string for text, message in read.items()
    }, "run `make tables`"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "fr",
            ["1 contacts sur 3", "vendredi 19 juin 2026", "la personne ne veut pas être appelée", "33,3 %"],
        ),
        ("de", ["1 von 3 Kontakten", "Freitag, 19. Juni 2026", "die Person will nicht angerufen werden"]),
        ("it", ["1 contatti su 3", "venerdì 19 giugno 2026", "la persona non vuole essere chiamata"]),
        (
            "es",
            ["1 de los 3 contactos", "viernes, 19 de junio de 2026", "la persona no quiere que la llamen"],
        ),
        ("en", ["1 of 3 leads", "Friday, 19 June 2026", "the person does not want to be called", "33.3 %"]),
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


def test_a_language_without_a_catalogue_is_refused(bureau):
    """The report would be in English, and nobody would know why."""
    with pytest.raises(ConfigError, match="en, fr, de, it, es"):
        bureau.scrub(f"phone\n{FREE}\n".encode(), language="pt")


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
        ("EN-us,DE", "en"),
    ],
)
def test_a_browsers_languages_are_understood(accepted, language):
    """The form would offer a report that its reader cannot read."""
    assert languages.preferred(accepted) == language
