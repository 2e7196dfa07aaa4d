"""The report of a scrubbed file: its page, and the notes on it."""
