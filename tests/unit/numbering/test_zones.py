"""The zones of numbers: shipped as made from the installed phonenumbers, with what it leaves out."""

import json

from stream_scrub.clock import zone
from stream_scrub.numbering.regions import STATES
from stream_scrub.numbering.zones import TARGET, areas_of, zones_of
from tools import zones_table


def test_the_table_is_that_of_the_installed_library():
    """A new area code would have the zones of its whole country, or none."""
    assert json.loads(TARGET.read_bytes()) == json.loads(zones_table.content())


# next to the 25 area codes with two clocks: the overlays on the same ground, of which phonenumbers names one zone
TWO_CLOCKS = "208 219 250 270 308 418 423 541 574 605 606 620 701 709 775 785 807 812 850 906 928 986"
OVERLAYS = "364 448 930 458 778 236 257 672 581 367 729"


def test_an_area_code_over_two_clocks_has_both():
    """Somebody would be called at seven, because his area code lies in the next zone as well."""
    for code in f"{TWO_CLOCKS} {OVERLAYS} 867 907".split():
        assert len(areas_of("US")[f"1{code}"]) >= 2, code


def test_every_state_has_zones():
    """A person who lives in a state without any would never be called."""
    assert all(zones_of(state) for state in STATES)
    assert zones_of("RE") == ("Indian/Reunion",) and zones_of("PF")[0].startswith("Pacific/")
    assert zones_of("001") == () and areas_of("FR") == {}


def test_zones_are_those_of_the_package(monkeypatch):
    """A replay on a host with another zone database would give another stamp."""
    monkeypatch.setattr("zoneinfo.TZPATH", ("/nowhere",))
    assert zone("Europe/Paris").key == "Europe/Paris"
    assert all(zone(name) for names in json.loads(TARGET.read_bytes())["regions"].values() for name in names)
