"""Writes `stream_scrub/numbering/tables/regions.json`, the words that name a region; `make tables` runs it.

They come from Unicode's CLDR, through Babel and phonenumbers: codes of three letters and former codes of two, and each
country's name in the languages of the shipped rules and in its own. A word that names two regions is left out.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from babel import Locale
from babel.core import UnknownLocaleError, get_global
from babel.languages import get_official_languages
from phonenumbers.geodata.locale import LOCALE_DATA

from stream_scrub.numbering.regions import NAMES, compared
from stream_scrub.numbering.tables import REGIONS

LANGUAGES: Final = ("en", "fr", "de", "nl", "it", "es")  # of the shipped rules
UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
# What people write as well, and CLDR does not list. EL is Greece in the European Union's own texts.
ALSO: Final = {
    "AT": "Republik Österreich, Republic of Austria",
    "BE": "Kingdom of Belgium, Royaume de Belgique, Koninkrijk België",
    "CZ": "Czech Republic, République tchèque, Tschechische Republik, Tsjechische Republiek, Repubblica Ceca, República Checa",
    "DE": "Federal Republic of Germany, Bundesrepublik Deutschland, BRD, République fédérale d'Allemagne",
    "ES": "Kingdom of Spain, Reino de España",
    "FR": "République française, French Republic, France métropolitaine, Metropolitan France",
    "GB": "Great Britain, Britain, England, Scotland, Wales, Northern Ireland, United Kingdom of Great Britain and Northern"
    " Ireland, The United Kingdom, Grande-Bretagne, Angleterre, Écosse, Pays de Galles, Irlande du Nord, Großbritannien,"
    " England, Schottland, Nordirland, Groot-Brittannië, Engeland, Schotland, Noord-Ierland, Gran Bretagna, Inghilterra,"
    " Scozia, Galles, Irlanda del Nord, Gran Bretaña, Inglaterra, Escocia, Gales, Irlanda del Norte",
    "GR": "EL, Hellas, Hellenic Republic",
    "IE": "Republic of Ireland, Ireland (Republic of), République d'Irlande, Republik Irland, Eire, ROI",
    "IT": "Repubblica Italiana, Italian Republic",
    "NL": "Holland, Hollande, Olanda, Holanda, The Netherlands, Kingdom of the Netherlands, De Nederlanden",
    "RE": "La Réunion, Île de la Réunion",
    "US": "United States of America, The United States, America, États-Unis d'Amérique, Vereinigte Staaten von Amerika,"
    " Verenigde Staten van Amerika, Stati Uniti d'America, Estados Unidos de América, EEUU, EE. UU., USA",
}


def words(region: str) -> Iterator[str]:
    """The names of a region, as people write them."""
    for language in (*LANGUAGES, *get_official_languages(region, regional=True, de_facto=True)):
        try:
            yield Locale.parse(language.replace("-", "_")).territories.get(region, "")
        except UnknownLocaleError:  # CLDR names the language and has no texts in it
            continue
    for language in LANGUAGES:  # older names: Czech Republic, Turkey
        name = LOCALE_DATA.get(region, {}).get(language, "")
        yield LOCALE_DATA[region][name[1:]] if name.startswith("*") else name
    yield from ALSO.get(region, "").split(", ")


def content() -> str:
    """The file: by region, what names it, as such words are compared."""
    meant: dict[str, set[str]] = defaultdict(set)
    for code, of in get_global("territory_aliases").items():
        if code.isalpha() and code not in REGIONS:
            meant[compared(code)].update(of)
    for region in sorted(REGIONS):
        for word in words(region):
            meant[compared(word)].add(region)
            meant[compared(word.lower().translate(UMLAUTS))].add(region)
    named: dict[str, list[str]] = defaultdict(list)
    for word, of in sorted(meant.items()):
        if word and word.upper() not in REGIONS and len(of) == 1 and of <= REGIONS:
            named[min(of)].append(word)
    return json.dumps(named, ensure_ascii=False, indent=0, sort_keys=True) + "\n"


def main() -> None:
    """Generate the file."""
    NAMES.write_text(content(), encoding="utf-8")
    sys.stdout.write(f"{NAMES.name}: {NAMES.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
