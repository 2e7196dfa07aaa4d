"""What docstrings and comments of the product point to."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stream_scrub"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# A path of the repository, and what is named in it: `log/ledger.py: Weights`, `docs/operator.md`.
POINTER = re.compile(
    r"(?<![\w./*-])((?:[\w.-]+/)*[\w-]+\.(?:py|md|json|toml|pyx|c))(?:: (\w+(?:\.\w+)*))?(?![\w/*])"
)
# Files of a user's, which no repository has.
THEIRS = {"stream-scrub.toml", "package.json", "summary.json", "proof.json"}


def prose(path: Path) -> Iterator[str]:
    """The comments and docstrings of a module."""
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def pointed_to(name: str, source: Path) -> Path | None:
    """The file, by its path in the repository or in the package, or by its name beside the one that speaks."""
    places = (ROOT / name, PACKAGE / name, source.parent / name)
    return next((place for place in places if place.is_file()), None)


def names_in(path: Path) -> set[str]:
    """Everything that a module defines, methods as `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_a_docstring_points_to_is_there(source: Path) -> None:
    """A reader who looks for the reason of a line would be sent to a file that is not there."""
    gone = []
    for text in prose(source):
        for name, member in POINTER.findall(" ".join(text.split())):
            if name in THEIRS:
                continue
            place = pointed_to(name, source)
            if place is None or (member and place.suffix == ".py" and member not in names_in(place)):
                gone.append(f"{name}: {member}" if member else name)
    assert gone == []
