"""The console for people: tables and lines, with every text made safe by `terminal`."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream_scrub.terminal import one_line, styled


class People(Console):
    """A console without markup. `print` joins several parts."""

    def __init__(self, *, stderr: bool = False, **more: Any) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True, **more)

    def render_str(self, text: str, *, style: Any = "", **layout: Any) -> Text:
        """Any text as one line, also in a table's cell."""
        return Text(
            one_line(text), style=style, justify=layout.get("justify"), overflow=layout.get("overflow")
        )

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "") -> None:
        """Print a table. On a terminal a text wider than its column continues on the next line; elsewhere a row is a line.
        `empty`: what to print instead of a table without rows."""
        if empty and not rows:
            self.print(empty)
            return
        table = Table(box=None, pad_edge=False, show_header=any(head))
        for name in head:
            table.add_column(styled(name, ""), overflow="fold")
        for row in rows:
            table.add_row(*(each if isinstance(each, Text) else styled(each, "") for each in row))
        if self.is_terminal:
            self.print(table, soft_wrap=False)
            return
        for line in self.render_lines(table, self.options.update_width(10**6), pad=False):  # as wide as it is
            self.print("".join(part.text for part in line).rstrip())
