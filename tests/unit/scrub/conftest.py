"""Both ways to read a prospect: the reference, and the extension where it is installed."""

import pytest

from stream_scrub.scrub import backend
from tests.support.machine.absent import absent


@pytest.fixture(params=["python", "native"])
def hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> backend.Backend:
    """The way in which plain prospects are read and spliced. A module about what is read asks for it in each test."""
    made = backend.PYTHON if request.param == "python" else backend.native()
    if made is None:
        absent(
            "the extension is not installed: it needs a C compiler and Python's headers, then `make .venv`"
        )
    monkeypatch.setattr(backend, "BEST", made)
    return made
