"""Limits of responses: their size while they are built, and what waits for slow clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextvars import ContextVar
from time import monotonic
from types import TracebackType
from typing import Any, Self

import strawberry
from graphql import FieldNode, FragmentSpreadNode, GraphQLError, GraphQLLeafType, SelectionSetNode
from pydantic_core import to_json
from starlette.types import Message, Receive, Send
from strawberry.schema import Schema
from strawberry.schema.name_converter import NameConverter
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from gqlplugin.graphql.limits import LIMIT_EXCEEDED, Limits
from gqlplugin.runs import Allowance, Values

RESPONSE_LIMIT_KEY = "gqlplugin_response_limit"
"""Where our ASGI view puts a `Budget`, or the bytes of each answer, into Strawberry's context."""

_MAX_ERRORS = 20
_FIELD_BYTES = 24  # a key, punctuation, a number: what a value has besides its text
_SHORT = 1_000
_PART_FOR_SHORT = 4  # that long values leave for what comes after them, which may be what must not be null


class Budget:
    """What is left of the bytes of an answer, or of several that are sent as one.

    Args:
        max_bytes: Length of the answer. Parts of it are kept for short values, and for errors.

    Attributes:
        fetched: What may still be read of large values for the answer.
    """

    __slots__ = ("_left", "_max_bytes", "_parsed", "fetched")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.renew()

    def renew(self) -> None:
        """Begin with another answer, of the same operation: a subscription has many."""
        self._left = self._max_bytes - self._max_bytes // 16
        self.fetched = Allowance(self._max_bytes)
        self._parsed = Allowance(self._max_bytes)

    def parse(self, text: str) -> None:
        """Count a text that is about to be parsed for the answer.

        Raises:
            GraphQLError: It would be too much.
        """
        if not self._parsed.take(_bytes_of(text)):
            raise self.exceeded()

    def write(self, value: object) -> None:
        """Count a value of the answer.

        Raises:
            GraphQLError: It would be too much.
        """
        size, kept = _FIELD_BYTES, 0
        if type(value) is str:
            size += len(value) if len(value) < _SHORT else _json_bytes_of(value)
        elif isinstance(value, (dict, list)):
            size += _json_bytes_of(value)
        if size > _SHORT:
            kept = self._max_bytes // _PART_FOR_SHORT
        if size > self._left - kept:
            raise self.exceeded()
        self._left -= size

    def exceeded(self) -> GraphQLError:
        """The error of a value that does not fit."""
        return response_too_long(self._max_bytes)


class CountingExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's, which counts the values of an answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._budget = current_budget.get()

    def complete_leaf_value(self, return_type: GraphQLLeafType, result: Any) -> Any:  # type: ignore[override] # static
        """The value, as it is in the answer."""
        completed = StrawberryGraphQLCoreExecutionContext.complete_leaf_value(return_type, result)
        if self._budget is not None:
            self._budget.write(completed)
        return completed


def count_values(schema: Schema) -> None:
    """Have a schema count the values of its answers, unless it has an execution context class of its own."""
    if schema.execution_context_class is StrawberryGraphQLCoreExecutionContext:
        schema.execution_context_class = CountingExecutor


def find_budget(context: object, max_bytes: int) -> Budget:
    """The budget of an operation: that of its request, if our view serves it.

    Args:
        context: Strawberry's, for resolvers.
        max_bytes: Length of an answer where the view does not say.
    """
    given = context.get(RESPONSE_LIMIT_KEY) if isinstance(context, dict) else None
    if isinstance(given, Budget):
        return given
    return Budget(max_bytes if given is None else given)


def selected_values(info: strawberry.Info) -> Values:
    """What a listing is to read of large values: those that are selected below its field, as far as they fit."""
    raw = info._raw_info  # noqa: SLF001 - not public
    selected: set[str] = set()
    visited: set[str] = set()
    pending: list[SelectionSetNode | None] = [node.selection_set for node in raw.field_nodes]
    while pending:
        selection_set = pending.pop()
        for one in selection_set.selections if selection_set else ():
            if isinstance(one, FragmentSpreadNode):
                if one.name.value not in visited:
                    visited.add(one.name.value)
                    pending.append(raw.fragments[one.name.value].selection_set)
                continue
            if isinstance(one, FieldNode):
                selected.add(one.name.value)
            pending.append(one.selection_set)  # type: ignore[attr-defined] # a field or an inline fragment
    names = frozenset(value for name in selected for value in _VALUES.get(name.replace("_", "").lower(), ()))
    budget = current_budget.get()
    if type(info.schema.config.name_converter) is not NameConverter:  # fields may have any name
        names = _ALL_VALUES
    return Values(names, Allowance(Limits().max_response_bytes) if budget is None else budget.fetched)


def value_of(record: Any, name: str) -> Any:
    """A large value of a run, job or wait.

    Raises:
        GraphQLError: It was not read, as the answer would be too long.
    """
    if name in record.left_out:
        budget = current_budget.get()
        raise response_too_long(Limits().max_response_bytes) if budget is None else budget.exceeded()
    return getattr(record, name)


_VALUES = {
    "input": ("input",),
    "argumentshash": ("input",),
    "output": ("output",),
    "skipped": ("output",),
    "workflowrunid": ("output",),
    "result": ("result",),
    "logs": ("logs",),
    "payload": ("payload",),
    "request": ("payload",),
    "mayresolve": ("input", "output"),  # a policy may look at them
}
"""What our fields are made of, by their names in lower case."""

_ALL_VALUES = frozenset(value for values in _VALUES.values() for value in values)


def response_too_long(max_bytes: int) -> GraphQLError:
    """The error of what makes an answer too long."""
    return GraphQLError(
        f"The answer would be longer than the limit of {max_bytes} bytes: ask for fewer fields, or for a shorter page.",
        extensions={"code": LIMIT_EXCEEDED},
    )


def few_of(errors: Collection[GraphQLError]) -> Collection[GraphQLError]:
    """The errors, with no more than some of the values that did not fit: there may be one for each field."""
    if len(errors) <= _MAX_ERRORS:
        return errors
    kept, count = [], 0
    for error in errors:
        count += (error.extensions or {}).get("code") == LIMIT_EXCEEDED
        if count <= _MAX_ERRORS or (error.extensions or {}).get("code") != LIMIT_EXCEEDED:
            kept.append(error)
    return kept


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _json_bytes_of(value: object) -> int:
    return len(to_json(value, inf_nan_mode="null", fallback=str))


current_budget: ContextVar[Budget | None] = ContextVar("gqlplugin_budget", default=None)
"""The budget of the operation that is running in this context, if any."""


def parse_for_answer(text: str) -> str:
    """Count a text that is about to be parsed for an answer, and return it.

    Raises:
        GraphQLError: It would be too much.
    """
    budget = current_budget.get()
    if budget is not None:
        budget.parse(text)
    return text


_PIECE_BYTES = 64 * 1024  # where uvicorn begins to wait
_LOOKS = 4  # per time that a client may read nothing
_NOT_SENDING = float("inf")

_logger = logging.getLogger("gqlplugin.graphql")


class SlowReaderError(Exception):
    """The client has read nothing for too long."""


class Sending:
    """What an endpoint has to send, and its clients have not read.

    Args:
        max_bytes: Of all that waits to be sent.
        max_seconds: How long a client may read nothing.

    Attributes:
        held: What is being sent, by connection.
        unread_bytes: What waits to be sent.
    """

    def __init__(self, max_bytes: int, max_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self.unread_bytes = 0
        self.held: set[Held] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def to(self, receive: Receive) -> Held:
        """Watch what is sent on a connection, as a context manager.

        Args:
            receive: That of the connection.

        Raises:
            SlowReaderError: From the block, where the connection could not be closed otherwise.
        """
        return Held(self, _transport_of(receive))

    def watch(self, held: Held) -> None:
        """Look from time to time whether a client reads."""
        self.held.add(held)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self._max_seconds / _LOOKS, self._look)

    def add(self, size: int, held: Held) -> None:
        """Count bytes that wait, and make room for them."""
        self.unread_bytes += size
        excess = self.unread_bytes - self._max_bytes
        if size <= 0 or excess <= 0:
            return
        for one in sorted(self.held - {held}, key=lambda one: one.since):
            if excess > 0 and one.since != _NOT_SENDING:
                excess -= one.size
                self.cut(one, "the endpoint holds too much that nobody reads")

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._max_seconds / _LOOKS, self._look) if self.held else None
        now = monotonic()
        for held in list(self.held):
            if held.has_progressed():
                held.since = now
            elif held.since <= now - self._max_seconds:
                self.cut(held, f"nothing was read for {self._max_seconds:g} s")

    def cut(self, held: Held, why: str) -> None:
        """Close a connection, and say why in the log."""
        self.held.discard(held)
        _logger.warning("A connection is closed whose client does not read: %s.", why)
        held.end()


class Held:
    """What is being sent on one connection.

    Attributes:
        size: Bytes that wait.
        since: The monotonic time when a piece began to wait.
        cancelled: The task that was cancelled to end it.
    """

    __slots__ = ("_buffered", "_sending", "_task", "_transport", "cancelled", "is_whole", "since", "size")

    def __init__(self, sending: Sending, transport: asyncio.WriteTransport | None) -> None:
        self.size = 0
        self.since = _NOT_SENDING
        self.cancelled: asyncio.Task[Any] | None = None
        self.is_whole = False
        self._sending = sending
        self._transport = transport
        self._buffered = 0
        self._task: asyncio.Task[Any] | None = None

    def count(self, size: int) -> None:
        """Count bytes that wait; less than none of those that wait no more."""
        self.size += size
        self._sending.add(size, self)

    def count_whole(self, size: int) -> None:
        """Count the only body of a response before any of it is sent, so that its pieces count nothing."""
        self.is_whole = True
        self.count(size)

    def __enter__(self) -> Self:
        self._sending.watch(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.size:
            self.count(-self.size)
        self._sending.held.discard(self)
        if self.cancelled is not None and isinstance(error, asyncio.CancelledError):
            self.cancelled.uncancel()
            raise SlowReaderError from None

    def begin(self, size: int) -> None:
        """Count bytes that are about to be sent, which is to take no longer than it may, until `finish`."""
        if self._transport is None:
            self._task = asyncio.current_task()
        self.since = monotonic()
        if size:
            self.count(size)

    def finish(self, size: int) -> None:
        """Undo `begin`."""
        self.since = _NOT_SENDING
        if size:
            self.count(-size)

    def in_pieces(self, send: Send) -> Send:
        """The same as `send`, in pieces, each of which has its time."""

        async def send_in_pieces(message: Message) -> None:
            body = message.get("body", b"")
            size = 0 if self.is_whole else len(body)
            self.begin(size)
            try:
                if len(body) <= _PIECE_BYTES:
                    await send(message)
                    return
                more_body = message.get("more_body", False)
                for start in range(0, len(body), _PIECE_BYTES):
                    end = start + _PIECE_BYTES
                    self.since = monotonic()
                    await send({**message, "body": body[start:end], "more_body": more_body or end < len(body)})
            finally:
                self.finish(size)

        return send_in_pieces

    def has_progressed(self) -> bool:
        """Whether the client has read something since this was asked before, as far as that can be seen."""
        if self._transport is None or self.since == _NOT_SENDING:
            return False
        before, self._buffered = self._buffered, self._transport.get_write_buffer_size()
        return self._buffered < before

    def end(self) -> None:
        """Close the connection, or end the task that sends."""
        if self._transport is not None:
            self._transport.abort()
        elif self._task is not None:
            self.cancelled = self._task
            self._task.cancel()


def _transport_of(receive: Receive) -> asyncio.WriteTransport | None:
    """The connection, where uvicorn serves it: ASGI can't close one without waiting for the client to read."""
    transport: asyncio.WriteTransport | None = getattr(getattr(receive, "__self__", None), "transport", None)
    is_one = hasattr(transport, "abort") and hasattr(transport, "get_write_buffer_size")
    return transport if is_one else None  # uvloop's are of no class of asyncio's
