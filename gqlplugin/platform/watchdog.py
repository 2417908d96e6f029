"""Noticing jobs that block the event loop, and with it the API that runs in it."""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from gqlplugin.platform.base import current_job
from gqlplugin.platform.replay import ActiveJob

BLOCKED_SECONDS = 1.0
_PAUSE_SECONDS = 0.2
_AGAIN_SECONDS = 60.0
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_OURS = str(Path(__file__).parents[1])

_logger = logging.getLogger("gqlplugin.jobs")


class Watchdog:
    """Logs a warning when a job blocks the event loop for a second: a thread that asks the loop for an answer.

    Made on the loop that it watches. Each line of each job is reported once a minute at most.

    Args:
        is_busy: Whether any job runs; called in the thread. While none does, the loop is left alone.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._reported: dict[tuple[str, str, int], float] = {}
        try:
            threading.Thread(target=self._watch, name="gqlplugin-watchdog", daemon=True).start()
        except RuntimeError as error:
            _logger.warning("Jobs that block the event loop are not reported, as there is no thread for it: %s", error)

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_PAUSE_SECONDS):
            if not self._is_busy():
                continue
            asked, answered = time.monotonic(), threading.Event()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop has been closed
                return
            if answered.wait(BLOCKED_SECONDS):
                continue
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented as it is
            if frame is not None and not answered.is_set():
                try:
                    self._report(frame, asked)
                except Exception:
                    _logger.exception("A job that blocks the event loop could not be reported")
            while not answered.wait(_PAUSE_SECONDS):
                if self._stopped.is_set():
                    return

    def _report(self, frame: FrameType, asked: float) -> None:
        job, frames = _job_in(frame)
        if job is None:
            return
        place = _place_in(frames)
        file, line, now = place.f_code.co_filename, place.f_lineno, time.monotonic()
        key = (job.stacked_name, file, line)
        if now - self._reported.get(key, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        self._reported[key] = now
        _logger.warning(
            "Job %r of run %s has blocked the event loop for %.1f seconds at %s:%d, in %s. Nothing else can run: "
            "write the job as a plain function (def), which runs in a thread, or await asyncio.to_thread(...) there",
            job.stacked_name,
            job.execution.id,
            now - asked,
            file,
            line,
            place.f_code.co_name,
        )


def _job_in(frame: FrameType) -> tuple[ActiveJob | None, list[FrameType]]:
    """The job that a stack belongs to, and the frames from the innermost up to it."""
    frames: list[FrameType] = []
    step: FrameType | None = frame
    while step is not None:
        if step.f_code is ActiveJob._run.__code__:  # noqa: SLF001 - where the body of a job is called
            job = step.f_locals["self"]
        elif step.f_code is asyncio.Handle._run.__code__:  # noqa: SLF001 - a task that the job created
            job = step.f_locals["self"]._context.get(current_job)  # noqa: SLF001
        else:
            frames.append(step)
            step = step.f_back
            continue
        return (job if isinstance(job, ActiveJob) else None), frames or [frame]
    return None, frames


def _place_in(frames: list[FrameType]) -> FrameType:
    """The line to show: the innermost of the user's code; where that is installed as a library, the job's own."""
    theirs = [frame for frame in frames if not frame.f_code.co_filename.startswith(_OURS)]
    for frame in theirs:
        if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<")):
            return frame
    return theirs[-1] if theirs else frames[0]
