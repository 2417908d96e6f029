"""What belongs to one run of a body, of a job or a resolver, and ends with it: database sessions above all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import Protocol, TypeVar

from gqlplugin.errors import FailedPreconditionError, contained

_logger = logging.getLogger("gqlplugin")


class Scoped(Protocol):
    """Something that is kept, or not, when its scope ends."""

    @property
    def is_open(self) -> bool:
        """Whether something was done, or looked at, that is not committed."""
        ...

    async def commit(self) -> None:
        """Keep what was done so far."""
        ...

    async def close(self) -> None:
        """Let go of it; what was not committed is undone."""
        ...


S = TypeVar("S", bound=Scoped)


class Scope:
    """Holds what a body asked for, one of each."""

    __slots__ = ("_committing", "_deferred", "_held", "_is_closed")

    def __init__(self) -> None:
        self._held: dict[Hashable, Scoped] = {}
        self._deferred: list[Callable[[], Awaitable[None]]] = []
        self._committing: asyncio.Lock | None = None
        self._is_closed = False

    def hold(self, key: Hashable, make: Callable[[], S]) -> S:
        """What is held under a key; made at the first call. A key always stands for one type.

        Raises:
            FailedPreconditionError: The body has ended.
        """
        if self._is_closed:
            raise FailedPreconditionError("The job or resolver that this belongs to has ended: nobody would close it.")
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = make()
        return held  # type: ignore[return-value]  # a key stands for one type

    @property
    def is_empty(self) -> bool:
        """Whether the body asked for nothing, so that there is nothing to keep or to undo."""
        return not self._held

    @property
    def is_open(self) -> bool:
        """Whether the body has done something that a commit would keep, and a failure undo."""
        return not self._is_closed and any(held.is_open for held in self._held.values())

    def defer(self, call: Callable[[], Awaitable[None]]) -> None:
        """Do something when the next commit has succeeded; never, when there is none."""
        self._deferred.append(call)

    async def commit(self) -> None:
        """Keep what was done so far: the body succeeded, or is about to trigger something durable.

        Then what was deferred is done, in its order.
        """
        if self._committing is None:
            self._committing = asyncio.Lock()
        async with self._committing:  # several triggers at once must not commit one session at once
            for held in self._held.values():
                await held.commit()
            while self._deferred:
                await self._deferred.pop(0)()

    def close_if_empty(self) -> bool:
        """Close it where there is nothing to undo, which takes no `await`; whether there was nothing."""
        if self._held:
            return False
        self._is_closed = True
        return True

    async def close(self) -> None:
        """Undo what was not committed, and let go of everything."""
        self._is_closed = True
        while self._held:
            _, held = self._held.popitem()
            try:
                await held.close()
            except BaseException as error:
                contained(error)  # or it ends more than this
                # what ends the body is its outcome; a connection that can't be closed is dropped by its pool
                _logger.exception("What a job or resolver used could not be closed")


_scope: ContextVar[Scope | None] = ContextVar("gqlplugin_scope", default=None)


def current_scope() -> Scope | None:
    """The scope of the body that is running in this context, if any."""
    return _scope.get()


async def commit_open() -> None:
    """Commit what the body that is running has done: something that is about to start must find it."""
    scope = _scope.get()
    if scope is not None and scope.is_open:
        await scope.commit()


class enter_scope:  # noqa: N801 - used as a function; a generator takes four times as long, and each job enters one
    """Make a scope the current one, for the length of the block; None for none.

    Args:
        scope: The scope.
    """

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope | None) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        self._token = _scope.set(self._scope)

    def __exit__(self, *exc_info: object) -> None:
        _scope.reset(self._token)
