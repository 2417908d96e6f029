"""Writing: data on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gqlplugin.cli.shapes import Shape, as_json
from gqlplugin.cli.text import safe

_WIDE = 10_000
_STYLES = {
    "PENDING": "yellow",
    "PENDING_RESUME": "yellow",
    "PENDING_RETRY": "yellow",
    "RUNNING": "cyan",
    "WAITING": "magenta",
    "SUSPEND": "blue",
    "SUCCESS": "green",
    "FAILED": "bold red",
}


def prepare_streams() -> None:
    """Let no character that the encoding of a stream lacks end a command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test may have put something else in its place
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def console(*, stderr: bool = False) -> Console:
    """Where to write; lines are not broken where there is no terminal."""
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=None if is_terminal else _WIDE)


def say(text: str | Text) -> None:
    """Write data: a line, on stdout."""
    console().print(text, soft_wrap=True)


def say_block(block: RenderableType) -> None:
    """Write data: a table or a tree, on stdout. Lines have no blanks at their end where there is no terminal."""
    out = console()
    if out.is_terminal:
        out.print(block)
        return
    with out.capture() as captured:
        out.print(block)
    for line in captured.get().splitlines():
        say(line.rstrip())


def note(text: str | Text, style: str = "dim") -> None:
    """Write what is not data: a line, on stderr."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def say_json(shape: Shape | Sequence[Shape]) -> None:
    """Write a shape, on stdout."""
    say(as_json(shape))


def status_text(status: str) -> Text:
    """A status, in its colour."""
    return Text(safe(status), style=_STYLES.get(status.upper(), ""))


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, whole: Collection[str] = ()) -> Table:
    """A table without lines. Text of the cells is not markup.

    Args:
        headings: Of the columns.
        rows: Of cells.
        whole: The headings of columns that are not shortened in a narrow terminal.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    cells = [[cell if isinstance(cell, Text) else Text(safe(cell)) for cell in row] for row in rows]
    for index, heading in enumerate(headings):
        widest = max([len(heading), *(row[index].cell_len for row in cells)])
        made.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=widest if heading in whole else None)
    for row in cells:
        made.add_row(*row)
    return made


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values below each other; a name without a value is left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value:
            made.add_row(f"{name}:", value if isinstance(value, Text) else Text(safe(value)))
    return made
