"""The lines of keys in a TOML text, so that a problem names its line. Neither `tomllib` nor tomlkit keeps them.

This is not a parser: it runs on text that `tomllib` has accepted. It tells strings, brackets and comments apart, so
that a `[[rule]]` or a `key =` inside one of them is skipped.
"""

import re
from itertools import islice

KeyPath = tuple[str | int, ...]
_DEPTH = 8  # how many parts of a key are looked at: none of ours has more

_PIECE = re.compile(
    r"""
      \#[^\n]*                              # a comment
    | \"{3}(?:\\.|[^\\])*?\"{3,5}           # strings of many lines, which may end in one or two quotes of their own
    | '{3}.*?'{3,5}
    | "(?:\\.|[^"\\\n])*"                   # strings of one line
    | '[^'\n]*'
    | [\n\[\]{}=]
    | [^\n\[\]{}=\#"']+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s.]+))\s*\.?""")
_AT = re.compile(r"(.*?)\s*\(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


def syntax_error(text: str, error: ValueError) -> tuple[int, str]:
    """The line of tomllib's error, and its text."""
    match = _AT.fullmatch(str(error))
    if match is None:  # the error of `int` about too many digits
        return 1, str(error)
    return int(match[2] or text.rstrip("\n").count("\n") + 1), match[1]


class TomlLines:
    """The lines of a text's keys, by their paths: `("lists", "folder")`, `("rule", 0, "deny")`. In an array of
    tables, the index of the table stands between the array's name and the key.
    """

    def __init__(self, text: str) -> None:
        self.paths: dict[KeyPath, int] = {}
        self._table: KeyPath = ()
        self._counts: dict[KeyPath, int] = {}
        self._scan(text)

    def of(self, *path: str | int) -> int:
        """The line of (a) a key, else (b) the nearest table that holds it, else (c) 1."""
        holders = (path[:size] for size in range(len(path), 0, -1))
        return next((self.paths[each] for each in holders if each in self.paths), 1)

    def _scan(self, text: str) -> None:
        line, start, depth = 1, 1, 0
        head: list[str] = []
        in_value = False
        for match in _PIECE.finditer(text):
            piece = match[0]
            if piece == "\n" and depth == 0:
                self._statement("".join(head).strip(), start)
                head, in_value = [], False
            elif piece == "=" and depth == 0 and not in_value:
                self._statement("".join(head).strip(), start)
                head, in_value = [], True
            elif piece[0] != "#":
                depth += (piece in {"[", "{"}) - (piece in {"]", "}"})
                if not in_value:
                    if not head:
                        start = line
                    if head or piece.strip():
                        head.append(piece)
            line += piece.count("\n")
        self._statement("".join(head).strip(), start)

    def _statement(self, head: str, line: int) -> None:
        """Note a table's header or a key, and the table that the keys after a header belong to."""
        if not head.startswith("["):
            self._note((*self._table, *_parts(head)), line)
            return
        path = self._resolved(_parts(head.strip("[] \t")))
        if head.startswith("[["):
            self._note(path, line)
            self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, self._counts[path])
        self._table = path
        self._note(path, line)

    def _resolved(self, parts: list[str]) -> KeyPath:
        """The path of a header. Within an array of tables it belongs to the last table so far."""
        path: KeyPath = ()
        for part in parts:
            path = (*path, self._counts[path], part) if path in self._counts else (*path, part)
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        for size in range(1, len(path) + 1):
            self.paths.setdefault(path[:size], line)


def _parts(key: str) -> list[str]:
    """A dotted key's parts, unquoted. Escapes in a part are kept, so such a key has the line of its table."""
    parts = islice(_PART.finditer(key), _DEPTH)
    return [part[1] or part[2] or part[3] or "" for part in parts]
