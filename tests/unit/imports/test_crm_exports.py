"""Forty CRM exports in six languages, drawn by seed, against an oracle that a person wrote: no consent without a stated yes."""

import random
from datetime import date, timedelta
from typing import NamedTuple

import pytest

from stream_scrub import Checker, ListFile
from stream_scrub.api import Call
from stream_scrub.imports.formats import BadList

ON = date.today()
FORMS = {"ISO": "%Y-%m-%d", "German": "%d.%m.%Y", "French": "%d/%m/%Y", "American": "%m/%d/%Y"}
# Of each language: the titles of its columns, and cells that say yes, no, neither, calls, other channels.
LANGUAGES = {
    "en": (
        ["Name", "Mobile", "Consent to calls", "Given on", "Valid until", "Channel", "Unsubscribed at", "Notes"],
        (["Yes", "TRUE", "y", "1", "x", "opt-in"], ["No", "FALSE", "n", "0", "opt-out"]),
        ["", "?", "pending", "yes, by e-mail", "N/A", "not asked", "yes?", "unknown"],
        (["Phone", "Call", "SMS and phone", "all"], ["SMS", "E-mail", "Post"], ["", "not phone", "other"]),
    ),
    "fr": (
        ["Nom", "Mobile", "Consentement téléphone", "Date", "Fin du consentement", "Canal", "Révoqué le", "Notes"],
        (["Oui", "OUI", "o", "VRAI", "accepté"], ["Non", "FAUX", "refusé", "désinscrit"]),
        ["", "?", "En attente", "oui par courriel", "à rappeler", "NSP", "oui/non"],
        (["Téléphone", "appel", "SMS et téléphone", "tous"], ["SMS", "courriel", "courrier"], ["", "pas de téléphone"]),
    ),
    "de": (
        ["Name", "Handy", "Einwilligung", "Datum", "Gültig bis", "Kanal", "Widerrufen am", "Notiz"],
        (["Ja", "ja", "J", "WAHR", "erteilt"], ["Nein", "FALSCH", "verweigert", "widerrufen"]),
        ["", "?", "offen", "ja, per Mail", "vielleicht", "k.A.", "nicht erteilt"],
        (["Telefon", "Anruf", "SMS und Telefon", "alle"], ["SMS", "E-Mail", "Brief"], ["", "kein Telefon"]),
    ),
    "it": (
        ["Nome", "Cellulare", "Consenso chiamate", "Data", "Scadenza", "Canale", "Revocato il", "Note"],
        (["Sì", "SI", "si", "VERO", "prestato"], ["No", "FALSO", "negato", "revocato"]),
        ["", "?", "in attesa", "sì via e-mail", "forse", "n.d."],
        (["Telefono", "chiamate", "SMS e telefono", "tutti"], ["SMS", "e-mail", "posta"], ["", "no telefono"]),
    ),
    "es": (
        ["Nombre", "Móvil", "Consentimiento llamadas", "Fecha", "Vencimiento", "Canal", "Fecha de baja", "Notas"],
        (["Sí", "SI", "sí", "VERDADERO", "aceptado"], ["No", "FALSO", "rechazado", "denegado"]),
        ["", "?", "pendiente", "sí por correo", "quizás", "s/d"],
        (["Teléfono", "llamadas", "SMS y teléfono", "todos"], ["SMS", "correo", "e-mail"], ["", "sin teléfono"]),
    ),
    "nl": (
        ["Naam", "Mobiel", "Toestemming", "Datum", "Geldig tot", "Kanaal", "Ingetrokken op", "Notitie"],
        (["Ja", "JA", "j", "WAAR", "akkoord"], ["Nee", "ONWAAR", "geweigerd", "ingetrokken"]),
        ["", "?", "in behandeling", "ja per mail", "misschien", "n.v.t."],
        (["Telefoon", "bellen", "SMS en telefoon", "alle"], ["SMS", "e-mail", "brief"], ["", "geen telefoon"]),
    ),
}  # fmt: skip


class Drawn(NamedTuple):
    """An export: its text, the columns to name, and the numbers that consented, as a person counts them."""

    text: str
    columns: dict[str, str]
    everybody: list[str]
    consenting: set[str]


def export(seed: int) -> Drawn:
    """Draws an export. What each row means is known from how it was drawn, not from how it reads."""
    rng = random.Random(seed)
    language = [*LANGUAGES][seed % len(LANGUAGES)]
    titles, (yes, no), unclear, (calls, others, neither) = LANGUAGES[language]
    form = FORMS[rng.choice([*FORMS])]
    read = {"phone", "consent", *rng.sample(["given", "until", "channel", "withdrawn"], rng.randint(1, 4))}
    roles = dict(
        zip(["", "phone", "consent", "given", "until", "channel", "withdrawn", ""], titles, strict=True)
    )
    rows, everybody, consenting = [], ["+4915119999999"], set()
    # The days of the first row, which says neither yes nor no, prove the order of day and month.
    proof = date(2026, 1, 31)
    rows.append(["proof", everybody[0], "?", proof.strftime(form), proof.strftime(form), "", "", ""])
    for at in range(60):
        number = f"+49151{12_000_000 + seed * 1000 + at}"
        everybody.append(number)
        answer = rng.choice(["yes", "yes", "yes", "no", "unclear"])
        given = rng.choice([None, -rng.randint(1, 300), -rng.randint(1, 300), rng.randint(2, 400)])
        until = rng.choice([None, None, rng.randint(2, 400), -rng.randint(1, 400)])
        channel = rng.choice(["calls", "calls", "calls", "others", "neither"])
        withdrawn = rng.choice([None, None, None, -rng.randint(1, 400)])
        rows.append([
            f"Person {at}", number,
            rng.choice({"yes": yes, "no": no, "unclear": unclear}[answer]),
            *("" if days is None else (ON + timedelta(days=days)).strftime(form) for days in (given, until)),
            rng.choice({"calls": calls, "others": others, "neither": neither}[channel]),
            "" if withdrawn is None else (ON + timedelta(days=withdrawn)).strftime(form),
            rng.choice(["", "calls back", "15/16", "oui"]),
        ])  # fmt: skip
        refuses = answer == "no" or ("withdrawn" in read and withdrawn is not None)
        holds = answer == "yes" and not refuses
        holds &= "given" not in read or given is None or given < 0
        holds &= "until" not in read or until is None or until > 0
        holds &= "channel" not in read or channel == "calls"
        if holds:
            consenting.add(number)
    separator = rng.choice([",", ";", "\t"])
    lines = [titles, *rows]
    quoted = [separator.join(f'"{cell}"' if separator in cell else cell for cell in line) for line in lines]
    return Drawn("\n".join(quoted) + "\n", {role: roles[role] for role in read}, everybody, consenting)


@pytest.mark.parametrize("seed", range(40))
def test_no_consent_of_an_export_counts_without_a_stated_yes(seed, tmp_path):
    """Somebody who said nothing, or no, or yes to letters, or yes until last year, would be called."""
    drawn = export(seed)
    file, opt_outs = tmp_path / "export.csv", tmp_path / "opt-outs.txt"
    file.write_text(drawn.text)
    opt_outs.write_text("+4915111111111\n")
    with pytest.raises(BadList, match="the list does not state"):
        Checker.from_lists({"consent@acme": ListFile(file, region="DE"), "internal": opt_outs})
    crm = ListFile(file, region="DE", columns=drawn.columns)
    checker = Checker.from_lists({"consent@acme": crm, "internal": opt_outs})

    call = Call(purpose="insurance", campaign="acme")
    allowed = {number for number in drawn.everybody if checker.check(number, call).allowed}
    assert allowed == drawn.consenting
    assert crm.reading.outcomes["consented"] == len(drawn.consenting)
    assert sum(crm.reading.outcomes.values()) == len(drawn.everybody)
