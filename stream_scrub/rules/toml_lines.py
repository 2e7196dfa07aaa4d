"""Where a key stands in a TOML text. `tomllib` forgets lines, and a problem without its line is half a problem.

Not a parser: it runs on text that `tomllib` has accepted, and only tells strings, brackets and comments apart so that
a `[[rule]]` or a `key =` inside one of them is not taken for the real thing.
"""

import re

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


class Lines:
    """The lines of the keys of a rule file."""

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[int | None, str], int] = {}
        self._rule: int | None = None
        self._prefix: tuple[str, ...] = ()
        self._count = -1
        self._scan(text)

    def of(self, rule: int | None, key: str) -> int:
        """The line of `key` in the rule of that index (None: outside the rules), else of what holds it."""
        places = [(None, key)] if rule is None else [(rule, key), (rule, ""), (None, "rule")]
        return next((self._at[place] for place in places if place in self._at), 1)

    def _scan(self, text: str) -> None:
        line, start, depth = 1, 1, 0
        head: list[str] = []
        in_value = False
        for found in _PIECE.finditer(text):
            piece = found[0]
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
        if not head:
            return
        if not head.startswith("["):
            self._note((*self._prefix, *_parts(head)), line)
            return
        path = _parts(head.strip("[] \t"))
        if path[:1] != ["rule"]:
            self._rule, self._prefix = None, tuple(path)
        else:
            if head.startswith("[[") and len(path) == 1:
                self._count += 1
            self._rule, self._prefix = self._count, tuple(path[1:])
            self._at.setdefault((None, "rule"), line)
        self._note(self._prefix or ("",), line)

    def _note(self, path: tuple[str, ...], line: int) -> None:
        if path:
            self._at.setdefault((self._rule, path[0]), line)


def _parts(key: str) -> list[str]:
    """A dotted key's parts, unquoted. One with escapes keeps them: it is then found by its table's line."""
    return [found[1] or found[2] or found[3] or "" for found in _PART.finditer(key)]
