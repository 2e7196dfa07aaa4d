"""Files scrubbed: the rows of a file are judged as prospects on the stream are, and come back as two files.

`scrub_file` is the whole; `docs/files.md` says what a user sees. Every row comes out once, in order, with its own
bytes: nothing is decoded that need not be.
"""
