"""The opposition log: its format, and every way to read it."""
