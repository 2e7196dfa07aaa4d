"""In the place of the extension, on a PYTHONPATH: a process with it finds none that it can use."""

VERSION = 0
