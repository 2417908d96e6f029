"""Where in the user's code something was defined, for errors that name both places."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A file and a line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller_source(depth: int = 2) -> Source:
    """Where the function `depth` calls up is being called from: 1 is whoever calls this, 2 its caller."""
    frame = sys._getframe(depth)  # noqa: SLF001 - inspect.stack() reads every source file on the way up
    return Source(frame.f_code.co_filename, frame.f_lineno)
