"""Slow tests and benches call each other's functions with arguments that these take."""

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    each for room in ("tests", "bench") for each in (ROOT / room).rglob("*.py") if ".cache" not in each.parts
)


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, str]]:
    """Each call of a function imported from the tests or benches, without `*` and `**`: its module and name there."""
    imported = {
        each.asname or each.name: (node.module, each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("tests.", "bench."))
        for each in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            is_open = any(isinstance(each, ast.Starred) for each in node.args)
            if not is_open and all(each.arg for each in node.keywords):
                yield node, *imported[node.func.id]


@pytest.mark.parametrize(
    "room", sorted({each.parent for each in FILES}), ids=lambda each: str(each.relative_to(ROOT))
)
def test_a_helper_gets_the_arguments_that_it_takes(room):
    """A test that only CI runs would fail there, for a helper that was changed hours before."""
    for path in room.glob("*.py"):
        for call, module, name in calls(ast.parse(path.read_bytes())):
            helper = getattr(importlib.import_module(module), name)
            if inspect.isfunction(helper) or dataclasses.is_dataclass(helper):
                try:
                    inspect.signature(helper).bind(*call.args, **{each.arg: each for each in call.keywords})
                except TypeError as error:
                    pytest.fail(f"{path.name}:{call.lineno}: {name}: {error}")
