"""What the rules ask of a register, and that every way to import a list asks it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from stream_scrub.call import VOICE
from stream_scrub.config import load
from stream_scrub.imports import import_list
from stream_scrub.imports.areas import AreaShape
from stream_scrub.imports.index_sources import ListFile, of_lists
from stream_scrub.imports.register_law import NO_LAW, RegisterLaw, that_end
from stream_scrub.model import RegisterKind
from stream_scrub.rules import Rulebook

BOOK = Rulebook.load()
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
FRENCH_CODES = {"262", "33", "508", "590", "594", "596", "681", "687", "689"}


@pytest.mark.parametrize(
    ("register", "asked"),
    [
        ("internal@acme", RegisterLaw(kind=RegisterKind.DENY)),
        (
            "us-dnc",
            RegisterLaw(
                kind=RegisterKind.DENY,
                must_be_dated=True,
                areas=AreaShape(4, "1"),
                codes=("1",),
                country="US",
            ),
        ),
        (
            "us-rnd-clean",
            RegisterLaw(
                kind=RegisterKind.ALLOW,
                holds_answers=True,
                must_be_dated=True,
                good_days=(("1", 31),),
                codes=("1",),
                country="US",
            ),
        ),
        ("us-reassigned", RegisterLaw(kind=RegisterKind.DENY, country="US")),
        ("tps", RegisterLaw(kind=RegisterKind.DENY, must_be_dated=True, codes=("44",), country="GB")),
        ("partner@acme", NO_LAW),
    ],
)
def test_what_the_rules_ask_of_a_register(register, asked):
    """A list would be imported as another kind, without its day or its areas, or for ever."""
    assert RegisterLaw.of(BOOK, register, TODAY) == asked


@pytest.mark.parametrize(
    ("register", "channels"),
    [("consent@acme", {VOICE}), ("consent-sms@acme+insurance", {"sms"}), ("consent-artificial", {VOICE})],
)
def test_a_consent_is_for_the_channels_of_the_rules(register, channels):
    """A person who agreed to messages alone would be called."""
    assert RegisterLaw.of(BOOK, register, TODAY).channels == channels


def test_a_french_consent_needs_its_day_from_the_day_of_the_decree():
    """A consent of 400 days ago would be allowed, or one be lost before the law limited it (R.223-1)."""
    before = RegisterLaw.of(BOOK, "consent@acme", datetime(2026, 8, 10, 12, tzinfo=UTC))
    since = RegisterLaw.of(BOOK, "consent@acme", datetime(2026, 8, 11, 12, tzinfo=UTC))
    assert before.dated_consents == ()
    assert since.dated_consents == tuple((code, 365) for code in sorted(FRENCH_CODES))
    # A Spanish one ends after two years, and need not say its day.
    assert ("34", 730) in before.good_days and ("34", 730) in since.good_days


def test_the_registers_whose_numbers_end_by_law():
    """Consents from before the law would never be looked at again."""
    named = ["consent@acme", "consent", "us-rnd-clean", "internal", "partner"]
    assert that_end(BOOK, named, TODAY) == {"consent@acme", "consent", "us-rnd-clean"}


EXPORT = "Mobile;Opt-in;Canal\n+33612345678;oui;SMS\n+33612345679;oui;appel\n+33612345670;oui;SMS\n"
COLUMNS = {"phone": "Mobile", "consent": "Opt-in", "channel": "Canal"}
MESSAGES = {33612345678, 33612345670}  # consented to messages


def by_command(file: Path, log) -> set[int]:
    settings = load(environ={}, cwd=file.parent)
    order = import_list.ImportOptions(
        file=file, register="consent-sms@acme", region="FR", max_bad=0.0, columns=COLUMNS
    )
    import_list.run(order, settings, structlog.get_logger(), lambda *_: None)
    return set(log.replayed().index.registers["consent-sms@acme"].numbers)


def by_page(file: Path, log) -> set[int]:
    settings = load(environ={}, cwd=file.parent)
    columns = ",".join(f"{role}={title}" for role, title in COLUMNS.items())
    said = {"register": "consent-sms@acme", "region": "FR", "columns": columns}
    import_list.asked(settings, structlog.get_logger(), str(file), said, dry_run=False)
    return set(log.replayed().index.registers["consent-sms@acme"].numbers)


def by_list_file(file: Path, log) -> set[int]:
    index, _ = of_lists({"consent-sms@acme": ListFile(file, columns=COLUMNS)}, load(environ={}))
    return set(index.registers["consent-sms@acme"].numbers)


@pytest.mark.parametrize("door", [by_command, by_page, by_list_file])
def test_every_door_asks_the_rules_what_its_register_is_for(door, log, tmp_path):
    """Who agreed to messages would be lost by one way to import a list, and found by another."""
    file = tmp_path / "export.csv"
    file.write_text(EXPORT, "utf-8")
    assert door(file, log) == MESSAGES


def test_a_list_file_is_refused_as_an_import_is(log, tmp_path):
    """A file of undated French consents would count without a log, and be refused with one."""
    file = tmp_path / "export.csv"
    file.write_text("Mobile;Opt-in\n+33612345678;oui\n", "utf-8")
    columns = {"phone": "Mobile", "consent": "Opt-in"}
    with pytest.raises(import_list.BadList, match="none of its 1 consents has a day"):
        of_lists({"consent@acme": ListFile(file, columns=columns)}, load(environ={}))
    settings = load(environ={}, cwd=tmp_path)
    order = import_list.ImportOptions(
        file=file, register="consent@acme", region="FR", max_bad=0.0, columns=columns
    )
    with pytest.raises(import_list.BadList, match="none of its 1 consents has a day"):
        import_list.run(order, settings, structlog.get_logger(), lambda *_: None)
