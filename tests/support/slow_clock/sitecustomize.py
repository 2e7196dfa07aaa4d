"""On the path of a process: its wall clock is two days behind."""

import time

_true = time.time
time.time = lambda: _true() - 2 * 86_400
