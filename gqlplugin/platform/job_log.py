"""What a job logs: the lines of `ctx.log`, and what it prints where the app captures that."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from gqlplugin.errors import plain_text
from gqlplugin.platform.base import Definitions, JobRuntime, current_job

_MAX_PARTIAL_LINE = 8 * 1024

_logger = logging.getLogger("gqlplugin.jobs")
_formatter = logging.Formatter()
_TRACE = re.compile(r"\n(Stack|.*Traceback) \(most recent call last\):\n")
_handling: ContextVar[bool] = ContextVar("gqlplugin_handling_log_record", default=False)
"""Whether a line of a job is being handled by `logging`, whose handlers may write to `sys.stdout`."""


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """Writes to the job's own log, which stays with the run, and to the logger `gqlplugin.jobs`.

    It takes what the loggers of `logging` take. The job's own log gets every level, whatever the logger's level is.
    """

    def __init__(self, runtime: JobRuntime) -> None:
        run = runtime.execution
        super().__init__(_logger, {"run_id": run.id, "job_id": runtime.job_id, "workflow": run.workflow_name})
        self._runtime = runtime

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the run and the job to the caller's own `extra`."""
        kwargs["extra"] = {**cast(Mapping[str, object], self.extra), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line of any level.

        A format that does not fit its arguments is logged together with them; it raises nothing.
        """
        msg, given = self.process(msg, kwargs)
        record = self._record(level, msg, args, **given)
        text = _message_of(record)
        if record.exc_info:
            trace = _formatter.formatException(record.exc_info)
            if _TRACE.search(f"\n{trace}") is None:  # of an exception that was never raised
                trace = f"Traceback (most recent call last):\n{trace}"
            text = f"{text}\n{trace}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._runtime.log(plain_text(f"{now} {record.levelname} {text}"))
        if self.logger.isEnabledFor(level):
            token = _handling.set(True)
            try:
                self.logger.handle(record)
            finally:
                _handling.reset(token)

    def _record(
        self,
        level: int,
        msg: object,
        args: tuple[object, ...],
        *,
        exc_info: object = None,
        stack_info: bool = False,
        stacklevel: int = 1,
        extra: Mapping[str, object],
    ) -> logging.LogRecord:
        """The record that `Logger.log` would make."""
        file, line, function, stack = self.logger.findCaller(stack_info, stacklevel + 2)
        exc: Any = None
        if isinstance(exc_info, BaseException):
            exc = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info:
            exc = exc_info if isinstance(exc_info, tuple) else sys.exc_info()
        return self.logger.makeRecord(
            self.logger.name, level, file, line, msg, cast(Any, args), exc, function, extra, stack
        )


def public_line(line: str) -> str:
    """A line of a job's log without traceback and stack, which are for operators: what is left is the job's message."""
    found = _TRACE.search(line)
    return line if found is None else line[: found.start()]


def _message_of(record: logging.LogRecord) -> str:
    """The message of a record; one that can't be formatted is replaced, so that no handler fails on it either."""
    try:
        return record.getMessage()
    except Exception as error:  # of the format, or of an argument's own __str__
        record.msg = f"{_shown(record.msg)} with arguments {_shown(record.args)} (not formatted: {_shown(error)})"
        record.args = ()
        return record.msg


def _shown(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


class PrintedText:
    """Text that a job prints, which comes in parts and from several threads, until its lines are complete."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: dict[int, str] = {}

    def add(self, text: str) -> list[str]:
        """Add some text; the lines that it completes."""
        thread = threading.get_ident()
        *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
        if len(rest) > _MAX_PARTIAL_LINE:
            lines.append(rest)
        elif rest:
            self._begun[thread] = rest
        return lines

    def end(self) -> list[str]:
        """What has no end of line."""
        return [self._begun.pop(thread) for thread in list(self._begun)]


class _JobStdout:
    """Stands in for `sys.stdout`: text that a job of a capturing app writes goes to its log, all else passes through.

    Args:
        stream: What `sys.stdout` was.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._process = os.getpid()

    def write(self, text: str) -> int:
        job = current_job.get()
        # the log that a forked child has is a copy, which nobody reads
        if job is None or not job.definitions.capture_print or _handling.get() or os.getpid() != self._process:
            return self.stream.write(text)
        return len(text) if job.print(text) else self.stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_lock = threading.Lock()
_captures: list[_JobStdout] = []
"""One entry for each app that captures, all of them the same: there is one `sys.stdout`."""


@contextmanager
def capturing_print(definitions: Definitions) -> Iterator[None]:
    """While entered, what jobs of the definitions print goes to their logs, where `capture_print` asks for it."""
    if not definitions.capture_print or getattr(sys, "stdout", None) is None:  # None in a process without a console
        yield
        return
    with _lock:
        _captures.append(_captures[0] if _captures else _JobStdout(sys.stdout))
        if len(_captures) == 1:
            sys.stdout = cast(TextIO, _captures[0])
    try:
        yield
    finally:
        with _lock:
            capture = _captures.pop()
            if not _captures and sys.stdout is cast(TextIO, capture):
                sys.stdout = capture.stream
