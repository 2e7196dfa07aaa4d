"""CPU a record and records a second: the worker beside the bare loop and what one would otherwise build."""
