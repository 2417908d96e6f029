"""Calls from other event loops and threads of the process than a platform works on."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any, TypeVar

from gqlplugin.errors import OutcomeUnknownError, PlatformUnavailableError, SetupError

P = TypeVar("P")
T = TypeVar("T")

_END = object()


def callable_from_any_loop(platform: type[P]) -> type[P]:
    """Let the public coroutines and async iterators of a platform be called from any event loop of the process.

    A call on another loop than the one that the platform works on is made on that one, in the caller's context.

    Args:
        platform: Its class. It keeps its `Entering` as `_entering`.
    """
    for name, method in inspect.getmembers(platform, inspect.isfunction):
        if name.startswith("_"):
            continue
        if inspect.iscoroutinefunction(method):
            setattr(platform, name, _coroutine(method))
        elif inspect.isasyncgenfunction(method):
            setattr(platform, name, _iterator(method))
    return platform


def _other_loop(platform: Any) -> asyncio.AbstractEventLoop | None:
    loop: asyncio.AbstractEventLoop | None = platform._entering.other_loop  # noqa: SLF001 - its part
    return loop


def _coroutine(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (loop := _other_loop(self)) is None:
            return await method(self, *args, **kwargs)
        return await call_on(loop, partial(method, self, *args, **kwargs))

    return call


def _iterator(method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    @wraps(method)
    async def iterate(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        values = method(self, *args, **kwargs)
        loop = _other_loop(self)

        async def step() -> Any:
            return await anext(values, _END)

        try:
            while (value := await (step() if loop is None else call_on(loop, step))) is not _END:
                yield value
        finally:
            await (values.aclose() if loop is None else call_on(loop, values.aclose))

    return iterate


async def call_on(
    loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]], *, patience: float = 10.0
) -> T:
    """Await a call on another event loop of this process, which runs in another thread.

    The call runs in a copy of this context. Cancelling this cancels the call.

    Args:
        loop: The other event loop.
        call: Makes the coroutine, on that loop.
        patience: For how many seconds that loop may be blocked.

    Raises:
        SetupError: The loop isn't running. The call was not made.
        PlatformUnavailableError: The loop did not begin the call in time, as when it is blocked by something that waits
            for this thread. The call was not made, and will not be.
        OutcomeUnknownError: The loop was blocked or closed during the call.
    """
    if not loop.is_running():
        raise SetupError(
            "The platform was opened on an event loop that isn't running: call it while that loop runs, or open the "
            "platform on this one."
        )
    handed: Future[T] = Future()
    tasks: list[asyncio.Task[T]] = []

    def begin_there() -> None:
        if handed.set_running_or_notify_cancel():
            tasks.append(loop.create_task(call()))
            tasks[0].add_done_callback(partial(_hand_back, handed))

    def cancel_there() -> None:
        for task in tasks:
            task.cancel()

    answer = asyncio.wrap_future(handed)
    _call_soon(loop, begin_there)
    try:
        return await _answered(loop, handed, answer, patience)
    except asyncio.CancelledError:
        if not handed.cancel():
            _call_soon(loop, cancel_there)
        raise
    finally:
        answer.cancel()  # when it was given up, nobody looks at what comes later


async def _answered(
    loop: asyncio.AbstractEventLoop, handed: Future[T], answer: asyncio.Future[T], patience: float
) -> T:
    heard: threading.Event | None = None
    while not (await asyncio.wait([answer], timeout=patience))[0]:
        if handed.cancel():  # it has not begun, and now it never will
            raise PlatformUnavailableError(
                "The platform's event loop is blocked, and nothing was done. Does it wait for this thread?"
            )
        if heard is not None and not heard.is_set():
            raise OutcomeUnknownError
        heard = threading.Event()
        _call_soon(loop, heard.set)
    return answer.result()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        raise OutcomeUnknownError from None  # the loop has been closed


def _hand_back(handed: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        handed.set_exception(OutcomeUnknownError())  # the loop is about to end
    elif (error := task.exception()) is not None:
        handed.set_exception(error)
    else:
        handed.set_result(task.result())
