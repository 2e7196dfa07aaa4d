"""Updates the report's catalogues, `stream_scrub/files/languages/*.po`, and compiles them; `make tables` runs it.

A text that is new in the report comes out empty in each language: a translator fills it in. What the report no longer
says is removed.
"""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from stream_scrub.files import languages
from stream_scrub.files.languages import notes
from stream_scrub.files.summary import REASONS, report_environment

FOLDER = Path(languages.__file__).parent
_HEADER = r"""# The texts of the report of `stream-scrub file`. After a change: `make tables`.
msgid ""
msgstr ""
"Language: {language}\n"
"Content-Type: text/plain; charset=utf-8\n"

"""
_CREATED = datetime(2026, 11, 28, tzinfo=UTC)  # fixed, so that the same texts give the same bytes


def texts() -> Iterator[str]:
    """Every text of the report, once: of its template, then the meanings of reasons, notes, and days."""
    environment = report_environment(languages.ENGLISH)
    assert environment.loader is not None, "it has a folder"
    source, _, _ = environment.loader.get_source(environment, "report.html.j2")
    extract = environment.extract_translations  # type: ignore[attr-defined]  # of its extension
    calls = [text for _, _, text in extract(source)]
    found = [text[0] if isinstance(text, tuple) else text for text in calls]
    found += [*REASONS.values(), *notes.TEXTS, *languages.WEEKDAYS, *languages.MONTHS, languages.DAY]
    yield from dict.fromkeys(text for text in found if text)


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
