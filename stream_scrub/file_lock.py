"""A lock on a file, which the kernel ends with its process."""

import fcntl
import os
from pathlib import Path
from typing import IO


def try_lock(path: Path) -> IO[bytes] | None:
    """Lock the file, which is made if it is missing, until it is closed; None if another process has it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
