"""What a job tells of itself while it runs: its log and its progress."""

from __future__ import annotations

from dataclasses import replace

from gqlplugin.execution import ExecutionError, JobExecution, Progress

MAX_LOG_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 64 * 1024
"""How many characters of a message, or of a traceback, are kept."""


class Notes:
    """The log and the progress of one job.

    A body that runs again only to get to where it was goes on with the log it has: as many lines as that holds are
    taken for the same ones, and not added again.

    Attributes:
        lines: The log, of at most `MAX_LOG_BYTES`.
        progress: What the job said last.
    """

    __slots__ = ("_known", "_room", "lines", "progress")

    def __init__(self, begun: JobExecution | None) -> None:
        self.lines: list[str] = []
        self.progress: Progress | None = None
        self._room = MAX_LOG_BYTES
        self._known = 0
        if begun is not None:
            self.lines = list(begun.logs)
            self.progress = begun.progress
            self._room -= sum(map(_size_of, begun.logs))
            self._known = len(begun.logs)

    def add(self, line: str) -> bool:
        """Add a line; whether the log is another one now."""
        if self._known > 0:
            self._known -= 1
            return False
        if self._room <= 0:
            return False
        self._room -= _size_of(line)
        if self._room <= 0:
            line = f"(the log is full: {MAX_LOG_BYTES} bytes)"
        self.lines.append(line)
        return True


def bounded(error: ExecutionError) -> ExecutionError:
    """An error that can be recorded, however much the exception says."""
    detail = None if error.detail is None else shortened(error.detail)
    return replace(error, code=error.code[:MAX_TEXT_LENGTH], message=shortened(error.message), detail=detail)


def shortened(text: str) -> str:
    """A text without its middle, where it is too long: a traceback tells most at its ends."""
    left_out = len(text) - MAX_TEXT_LENGTH
    if left_out <= 0:
        return text
    half = MAX_TEXT_LENGTH // 2
    return f"{text[:half]} ... ({left_out} characters are left out) ... {text[-half:]}"


def _size_of(line: str) -> int:
    return len(line.encode(errors="replace")) + 1
