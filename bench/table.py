"""Rows of the table: ours, the peer beside it, their ratio and its bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HEADINGS = ("", "ours", "peer", "ratio", "bound", "", "CPU per operation, ours / peer")


@dataclass(frozen=True, slots=True)
class Bound:
    """What the ratio of a row must reach, or stay within."""

    kind: Literal["at least", "at most"]
    value: float

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio >= self.value if self.kind == "at least" else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at least' else '≤'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        name: What is compared, with its letter.
        ours: Our value, in `unit`.
        peer: What it is compared with.
        unit: Of both values.
        bound: None for a row that is shown for information.
        cpu: CPU time of one operation of ours and of the peer, in microseconds, where that can be told.
    """

    name: str
    ours: float
    peer: float
    unit: str
    bound: Bound | None = None
    cpu: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.peer else float("nan")

    @property
    def verdict(self) -> str:
        """Whether the bound holds: "ok" or "short"; empty without a bound."""
        if self.bound is None:
            return ""
        return "ok" if self.bound.holds(self.ratio) else "short"

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `HEADINGS`."""
        return (
            self.name,
            f"{_short(self.ours)} {self.unit}",
            f"{_short(self.peer)} {self.unit}",
            f"{self.ratio:.2f}",
            str(self.bound or ""),
            self.verdict,
            f"{self.cpu[0]:.0f} / {self.cpu[1]:.0f} µs" if self.cpu else "",
        )


def render(rows: Sequence[Row]) -> str:
    """The table as text."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in (0, 4, 5) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
