"""What the operator's commands print: tables for people, JSON for programs, hints beside both.

What users chose becomes neither a line, a colour nor a command of the terminal.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from emulator.log import escaped

Row = Mapping[str, Any]

AT_ONCE = 100
"""So many rows of a list are shown together: a longer one begins before it is known."""
WIDE = 100_000
"""The width of a line that no terminal breaks."""
TEXT = "text"
"""The name of what keeps its line ends."""


class Output:
    """Standard output for what was asked, standard error for hints. Names in tables are those of the JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = _console(sys.stdout)
        self._err = _console(sys.stderr)

    def document(self, document: Row) -> None:
        """Show values by name; a list of rows, or one row, as a table under its name."""
        if self._as_json:
            print(json.dumps(document))
            return
        single = {name: value for name, value in document.items() if not _is_table(value)}
        grid = Table.grid(Column(overflow="fold"), Column(overflow="fold"), padding=(0, 2))
        for name, value in single.items():
            grid.add_row(name, _cell(name, value))
        self._draw(grid)
        for name, value in document.items():
            if name not in single:
                self._draw(Text(f"\n{name}", style="bold"))
                self._table([value] if isinstance(value, Mapping) else value)

    def rows(self, rows: Iterable[Row]) -> None:
        """Show a list, from its beginning on while the rest of it is read."""
        left, is_first = iter(rows), True
        while page := list(islice(left, 1 if self._as_json else AT_ONCE)):
            if self._as_json:
                print(json.dumps(page[0]), flush=True)
            else:
                self._table(page, has_header=is_first)
            is_first = False
        if is_first and not self._as_json:
            self.hint("none")

    def done(self, sentence: str, document: Row) -> None:
        """Say what was done: `sentence` to people, `document` to programs."""
        print(json.dumps(document) if self._as_json else escaped(sentence))

    def hint(self, sentence: str) -> None:
        """Say something to people, beside what was asked."""
        print(escaped(sentence), file=sys.stderr)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show on a terminal that `what` takes its time."""
        with self._err.status(Text(escaped(what))):
            yield

    def _table(self, rows: Sequence[Row], *, has_header: bool = True) -> None:
        if not rows:
            self._draw(Text("none"))
            return
        columns = [Column(name, justify=_side(rows, name), overflow="fold") for name in rows[0]]
        table = Table(*columns, box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=has_header)
        for row in rows:
            table.add_row(*(_cell(name, value) for name, value in row.items()))
        self._draw(table)

    def _draw(self, what: Table | Text) -> None:
        with self._out.capture() as drawn:
            self._out.print(what)
        for line in drawn.get().removesuffix("\n").split("\n"):
            print(line.rstrip())  # the last column's padding
        sys.stdout.flush()


def moment(seconds: float | None) -> str | None:
    """Return a time, in seconds since 1970, as ISO 8601 has it; None for None."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def closed(sockets: int) -> str:
    """Return in words how many sockets were closed."""
    return f"{sockets} socket{'' if sockets == 1 else 's'} closed."


def _console(file: Any) -> Console:
    console = Console(file=file)
    if not console.is_terminal:
        console.width = WIDE
    return console


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _side(rows: Iterable[Row], name: str) -> Any:
    return "right" if any(type(row[name]) in (int, float) for row in rows) else "left"


def _cell(name: str, value: Any) -> Text:
    match value:
        case None:
            return Text("none")
        case bool():
            return Text("yes" if value else "no")
        case int():
            return Text(f"{value:,}")
        case float():
            whole, _, decimals = f"{value:,.6f}".rstrip("0").partition(".")
            return Text(f"{whole}.{decimals:0<2}")
    lines = value.split("\n") if name == TEXT else [value]
    return Text("\n".join(map(escaped, lines)))
