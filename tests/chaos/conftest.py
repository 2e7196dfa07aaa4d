"""Stages for the tests that run whole workers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.running.stage import Stage


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make a stage on a broker; its workers are gone when the test ends, whatever became of it."""
    made: list[Stage] = []

    def make(bootstrap: str, **settings: object) -> Stage:
        folder = (
            tmp_path / f"stage{len(made)}"
        )  # one of its own: `unless_left_open` runs a test a second time
        folder.mkdir()
        made.append(Stage(bootstrap, folder, **settings))
        return made[-1]

    yield make
    for stage in made:
        stage.close()
