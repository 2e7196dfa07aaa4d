"""The broker inside the process, for the demo and for tests. It cannot prove exactly-once."""
