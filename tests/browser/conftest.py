"""The servers of the unit tests, for a browser."""

from tests.unit.serve.conftest import rules, serve

__all__ = ["rules", "serve"]
