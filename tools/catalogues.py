"""Updates the catalogues of the report, the dossier and the pages, `stream_scrub/languages/*.po`, and compiles them; `make tables` runs
it.

A new text comes out empty in each language: a translator fills it in. Texts that are no longer used are removed.
"""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from stream_scrub import languages
from stream_scrub.files.report import notes
from stream_scrub.files.summary import REASONS, report_environment
from stream_scrub.queries.dossier_files import dossier_page

FOLDER = Path(languages.__file__).parent
PACKAGE = FOLDER.parent
PAGES = (PACKAGE / "serve" / "page", PACKAGE / "serve" / "files")  # folders of templates
_MARKS = {"say": None, "translatable": None, "_": None}  # the functions that get a text
_HEADER = r"""# The texts of the report of `stream-scrub file`, of the dossier and of the pages. After a change: `make tables`.
msgid ""
msgstr ""
"Language: {language}\n"
"Content-Type: text/plain; charset=utf-8\n"
"Plural-Forms: {plurals}\n"

"""
Text = str | tuple[str, str]  # a tuple: for one, and for several
_CREATED = datetime(2026, 11, 28, tzinfo=UTC)  # fixed, so that the same texts give the same bytes


def texts() -> Iterator[Text]:
    """Every text, once: of the report, with the meanings of reasons, notes, and days; then of the dossier, and of the pages."""
    found: list[Text] = list(_in_template(report_environment(languages.ENGLISH), "report.html.j2"))
    found += [*REASONS.values(), *notes.TEXTS, *languages.WEEKDAYS, *languages.MONTHS]
    found += [languages.DAY, languages.DATE]
    found += _in_template(
        languages.pages_in(languages.ENGLISH, dossier_page.TEMPLATES), dossier_page.TEMPLATE
    )
    for folder in PAGES:
        environment = languages.pages_in(languages.ENGLISH, folder)
        for template in sorted(folder.glob("*.html.j2")):
            found += _in_template(environment, template.name)
    found += _in_modules()
    yield from dict.fromkeys(text for text in found if text)


def _in_template(environment: Any, name: str) -> Iterator[Text]:
    source, _, _ = environment.loader.get_source(environment, name)
    for _line, function, text in environment.extract_translations(source):
        if function == "ngettext":
            yield text[0], text[1]
        elif isinstance(text, tuple):
            yield text[0]
        elif text is not None:  # a variable, whose texts are marked elsewhere
            yield text


def _in_modules() -> Iterator[str]:
    """The texts in the package's modules that are marked."""
    for module in sorted(PACKAGE.rglob("*.py")):
        content = module.read_bytes()
        if b"stream_scrub.languages import" in content:
            for _line, text, _comments, _context in extract("python", io.BytesIO(content), _MARKS):
                assert isinstance(text, str), "one text a call"
                yield text


def read(language: str) -> Catalog:
    """The catalogue of a language as it is written."""
    path = FOLDER / f"{language}.po"
    return read_po(io.BytesIO(path.read_bytes() if path.exists() else b""), locale=language)


def updated(language: str) -> Catalog:
    """The catalogue with exactly the texts of the report."""
    before = read(language)
    after = Catalog(language, fuzzy=False, creation_date=_CREATED)
    plurals = "nplurals=2; plural=(n > 1);" if language == "fr" else "nplurals=2; plural=(n != 1);"
    after.mime_headers = [("Plural-Forms", plurals)]
    for text in texts():
        known = before.get(text if isinstance(text, str) else text[0])
        empty = "" if isinstance(text, str) else ("",) * after.num_plurals
        shown = text if isinstance(text, str) else text[1]
        after.add(
            text,
            empty if known is None or isinstance(known.id, str) != isinstance(text, str) else known.string,
            flags=["python-format"] if "%(" in shown else [],
        )
    return after


def compiled(catalogue: Catalog) -> bytes:
    """The bytes of the `.mo`: the same for the same texts."""
    out = io.BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def written(catalogue: Catalog) -> bytes:
    """The bytes of the `.po`."""
    out = io.BytesIO()
    write_po(out, catalogue, width=0, omit_header=True)
    return _HEADER.format(language=catalogue.locale, plurals=catalogue.plural_forms).encode() + out.getvalue()


def main() -> None:
    """Write all of them."""
    for language in languages.LANGUAGES:
        if language != languages.ENGLISH:
            catalogue = updated(language)
            (FOLDER / f"{language}.po").write_bytes(written(catalogue))
            (FOLDER / f"{language}.mo").write_bytes(compiled(catalogue))


if __name__ == "__main__":
    main()
