"""Every test of the pure room runs twice: with the reference, and with the extension where it is installed."""

import pytest

from stream_scrub.scrub import backend
from tests.support.machine.absent import absent


@pytest.fixture(autouse=True, params=["python", "native"])
def hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which plain prospects are read and spliced in a test."""
    made = backend.PYTHON if request.param == "python" else backend.native()
    if made is None:
        reason = (
            "the extension is not installed: it needs a C compiler and Python's headers, then `make .venv`"
        )
        absent(reason)
    monkeypatch.setattr(backend, "BEST", made)
