import pytest

from tests.support.running.files import Bureau, no_settings


@pytest.fixture
def bureau(tmp_path, monkeypatch):
    no_settings(monkeypatch, tmp_path)
    return Bureau(tmp_path)
