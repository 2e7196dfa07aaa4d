"""Updates the catalogues of the report and the dossier, `stream_scrub/languages/*.po`, and compiles them; `make tables` runs
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
from stream_scrub.cli import dossier_page
from stream_scrub.files.report import notes
from stream_scrub.files.summary import REASONS, report_environment

FOLDER = Path(languages.__file__).parent
PACKAGE = FOLDER.parent
_MARKS = {"say": None, "translatable": None, "_": None}  # the functions that get a text
_HEADER = r"""# The texts of the report of `stream-scrub file` and of the dossier. After a change: `make tables`.
msgid ""
msgstr ""
"Language: {language}\n"
"Content-Type: text/plain; charset=utf-8\n"

"""
_CREATED = datetime(2026, 11, 28, tzinfo=UTC)  # fixed, so that the same texts give the same bytes


def texts() -> Iterator[str]:
    """Every text, once: of the report, with the meanings of reasons, notes, and days; then of the dossier."""
    found = list(_in_template(report_environment(languages.ENGLISH), "report.html.j2"))
    found += [*REASONS.values(), *notes.TEXTS, *languages.WEEKDAYS, *languages.MONTHS]
    found += [languages.DAY, languages.DATE]
    found += _in_template(
        languages.pages_in(languages.ENGLISH, dossier_page.TEMPLATES), dossier_page.TEMPLATE
    )
    found += _in_modules()
    yield from dict.fromkeys(text for text in found if text)


def _in_template(environment: Any, name: str) -> Iterator[str]:
    source, _, _ = environment.loader.get_source(environment, name)
    for _line, _function, text in environment.extract_translations(source):
        yield text[0] if isinstance(text, tuple) else text


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
    for text in texts():
        known = before.get(text)
        after.add(
            text, known.string if known is not None else "", flags=["python-format"] if "%(" in text else []
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
    return _HEADER.format(language=catalogue.locale).encode() + out.getvalue()


def main() -> None:
    """Write all of them."""
    for language in languages.LANGUAGES:
        if language != languages.ENGLISH:
            catalogue = updated(language)
            (FOLDER / f"{language}.po").write_bytes(written(catalogue))
            (FOLDER / f"{language}.mo").write_bytes(compiled(catalogue))


if __name__ == "__main__":
    main()
