"""The kits' drivers."""

import pytest

from tests.support.kits import DRIVERS, driver_of


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request, tmp_path_factory) -> list[str]:
    """The command of a program that uses a kit."""
    return driver_of(request.param, tmp_path_factory.mktemp("kit"))
