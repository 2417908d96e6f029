"""Threads: those that plain jobs run in, and the one that notices when a job blocks the event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from gqlplugin.platform.base import current_job
from gqlplugin.platform.replay import ActiveJob

R = TypeVar("R")

_RETRY_SECONDS = 1.0

_logger = logging.getLogger("gqlplugin.platform")


class DaemonThreads:
    """Runs calls that block. A thread can't be stopped: it dies with the process at the latest.

    Args:
        limit: How many at once; the others wait.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._threads: set[threading.Thread] = set()

    async def start(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call in a thread with the context of this task; waits until there may be one more.

        It also waits while the system has no thread to give: the call did not run, so that is not its failure.

        Returns:
            The result of the call; it is done when the thread has done its work.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        work = partial(copy_context().run, _work, call, partial(_tell, loop, result))
        try:
            thread = await _started(work)
        except BaseException:
            self._free.release()
            raise
        self._threads.add(thread)
        result.add_done_callback(lambda _: self._ended(thread))
        return result

    def at_work(self) -> list[threading.Thread]:
        """The threads that have not ended."""
        return [thread for thread in self._threads if thread.is_alive()]

    def _ended(self, thread: threading.Thread) -> None:
        self._threads.discard(thread)
        self._free.release()


async def _started(work: Callable[[], None]) -> threading.Thread:
    """A thread that works, as soon as the system has one."""
    while True:
        thread = threading.Thread(target=work, name="gqlplugin-job", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            _logger.warning("A plain job waits for a thread (%s); the next try is in %g s", error, _RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return thread


def _work(call: Callable[[], R], tell: Callable[[R | None, BaseException | None], None]) -> None:
    try:
        value = call()
    except StopIteration as error:
        failure = RuntimeError("the function raised StopIteration, which no future can hold")
        failure.__cause__ = error
        tell(None, failure)
    except BaseException as error:
        tell(None, error)
    else:
        tell(value, None)


def _tell(
    loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any], value: Any, error: BaseException | None
) -> None:
    with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
        loop.call_soon_threadsafe(settle, result, value, error)


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give a future its result, or its error when there is one, unless it was cancelled meanwhile."""
    if future.done():
        return  # cancelled: whoever waited has left, the write stands
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


BLOCKED_SECONDS = 1.0
_PAUSE_SECONDS = 0.2
_AGAIN_SECONDS = 60.0
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_OURS = str(Path(__file__).parents[1])

_job_logger = logging.getLogger("gqlplugin.jobs")


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
            _job_logger.warning(
                "Jobs that block the event loop are not reported, as there is no thread for it: %s", error
            )

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
                    _job_logger.exception("A job that blocks the event loop could not be reported")
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
        _job_logger.warning(
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
