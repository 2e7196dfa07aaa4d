"""Every test of the pure room runs twice: with the reference, and with the extension where it is installed."""

import os

import pytest

from stream_scrub.scrub import swift


@pytest.fixture(autouse=True, params=["python", "native"])
def hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which plain prospects are read and spliced in a test."""
    made = swift.PYTHON if request.param == "python" else swift.native()
    if made is None:
        reason = (
            "the extension is not installed: it needs a C compiler and Python's headers, then `make .venv`"
        )
        if os.environ.get("STREAM_SCRUB_REQUIRE_KAFKA") == "1":  # every real part is required then
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    monkeypatch.setattr(swift, "BEST", made)
