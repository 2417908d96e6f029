"""Writing: data on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gqlplugin.cli.shapes import Shape, as_json
from gqlplugin.cli.text import safe

_WIDE = 10_000
_GAP = 2
_SHORTEST = 8
_READABLE = 40
_STYLES = {
    "PENDING": "yellow",
    "PENDING_RESUME": "yellow",
    "PENDING_RETRY": "yellow",
    "RUNNING": "cyan",
    "WAITING": "magenta",
    "SUSPEND": "blue",
    "SUCCESS": "green",
    "FAILED": "bold red",
    "CANCELED": "red",
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


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    spare: Sequence[str] = (),
) -> Table:
    """A table without lines. Text of the cells is not markup.

    Args:
        headings: Of the columns.
        rows: Of cells.
        whole: The headings of columns that are not shortened in a narrow terminal.
        spare: The headings of columns that are left out where there is no room for all, the first one first.
    """
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    cells = [[cell if isinstance(cell, Text) else Text(safe(cell)) for cell in row] for row in rows]
    widths = [max([len(heading), *(row[index].cell_len for row in cells)]) for index, heading in enumerate(headings)]
    fitted = _fitted(dict(zip(headings, widths, strict=True)), whole, spare)
    for heading, width in fitted.items():
        made.add_column(heading, no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        made.add_row(*(cell for heading, cell in zip(headings, row, strict=True) if heading in fitted))
    return made


def _fitted(widths: Mapping[str, int], whole: Collection[str], spare: Sequence[str]) -> dict[str, int]:
    """The columns to show with their widths: the widest of those that may be shortened give way first."""
    # rich would shorten all of them alike, and cut off what is then still too wide
    room = console().width + _GAP
    fitted = {heading: min(width + _GAP, room) for heading, width in widths.items()}
    for heading in spare:
        if sum(width if one in whole else min(width, _READABLE) for one, width in fitted.items()) > room:
            del fitted[heading]
    shortened = [heading for heading in fitted if heading not in whole]
    while sum(fitted.values()) > room and any(fitted[heading] > _SHORTEST for heading in shortened):
        fitted[max(shortened, key=fitted.__getitem__)] -= 1
    return {heading: width - _GAP for heading, width in fitted.items()}


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values below each other; a name without a value is left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value:
            made.add_row(f"{name}:", value if isinstance(value, Text) else Text(safe(value)))
    return made
