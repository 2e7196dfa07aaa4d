"""A clock that a test moves, for every process that starts under it: the product's, and Kafka's own."""

import mmap
import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.machine.absent import absent

_SOURCE = Path(__file__).parents[1] / "moved_clock" / "clock.c"


class MovedClock:
    """`now` is what the processes see. It goes on by itself, and begins at the machine's time."""

    def __init__(self, folder: Path, environment: pytest.MonkeyPatch) -> None:
        """Processes that start with this environment have the clock."""
        compiler = shutil.which("cc")
        if compiler is None:
            absent("no C compiler")
        library, place = folder / "clock.so", folder / "ahead"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE], check=True)
        place.write_bytes(bytes(8))
        with place.open("r+b") as file:
            self._ahead = mmap.mmap(file.fileno(), 8)
        environment.setenv("LD_PRELOAD", str(library))
        environment.setenv("MOVED_CLOCK", str(place))

    @property
    def now(self) -> datetime:
        (ahead,) = struct.unpack("q", self._ahead[:8])
        return datetime.fromtimestamp((time.time_ns() + ahead) / 1e9, UTC)

    def move(self, to: datetime) -> None:
        """It is that moment now."""
        self._ahead[:8] = struct.pack("q", int(to.timestamp() * 1e9) - time.time_ns())
