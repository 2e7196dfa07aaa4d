"""No pattern that reads what others wrote can take longer than its text is long."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser

import pytest

ROOT = Path(__file__).parents[2]
READ_BY = [
    *sorted((ROOT / "stream_scrub" / "imports").rglob("*.py")),
]
LONGEST = 250  # repeats that are as good as bounded by the length of a cell
CALLS = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}


def gives_back(pattern) -> Iterator[str]:
    """The repeats that may take as much as there is, and give it back piece by piece."""
    for kind, of in pattern:
        if kind in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            if of[1] > LONGEST:
                yield str(kind)
            yield from gives_back(of[2])
        elif kind is _constants.BRANCH:
            for way in of[1]:
                yield from gives_back(way)
        elif isinstance(of, tuple):
            for inner in of:
                if isinstance(inner, _parser.SubPattern):
                    yield from gives_back(inner)
        elif isinstance(of, _parser.SubPattern):
            yield from gives_back(of)


def patterns(path: Path) -> Iterator[tuple[int, object, int]]:
    """Each pattern of a file: its line, the pattern as it is written, its flags."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and getattr(node.func.value, "id", "") == "re"
            and node.func.attr in CALLS
        ):
            verbose = re.VERBOSE if any("VERBOSE" in ast.unparse(each) for each in node.args[1:]) else 0
            pattern = node.args[0]
            yield node.lineno, pattern.value if isinstance(pattern, ast.Constant) else None, verbose


@pytest.mark.parametrize("path", READ_BY, ids=lambda path: str(path.relative_to(ROOT)))
def test_repeats_have_an_end_or_give_nothing_back(path):
    """64 KB of blanks in a list would hold the publisher for half a minute, and a line of 4 MB for a day."""
    for line, pattern, flags in patterns(path):
        assert pattern is not None, f"{path.name}:{line}: not written out, so that nobody can look at it"
        loose = list(gives_back(_parser.parse(pattern, flags)))
        assert not loose, f"{path.name}:{line}: bound the repeats, or make them possessive: {pattern}"
