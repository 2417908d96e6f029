"""What is checked of requests before anything is done for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from connectrpc.request import RequestContext
from google.protobuf.message import Message

from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.names import is_startable_name, name_problem
from gqlplugin.platform.tailor.server.ids import is_uuid
from gqlplugin.platform.tailor.transport import EXTENSIONS_HEADER

REQ = TypeVar("REQ")
RES = TypeVar("RES")


class WorkspaceCheck:
    """An interceptor that refuses requests for another workspace.

    Args:
        workspace_id: The only one there is; None takes any.
    """

    def __init__(self, workspace_id: str | None) -> None:
        self._workspace_id = workspace_id and workspace_id.lower()

    async def intercept_unary(
        self,
        call_next: Callable[[REQ, RequestContext[REQ, RES]], Awaitable[RES]],
        request: REQ,
        ctx: RequestContext[REQ, RES],
    ) -> RES:
        """Call the method."""
        assert isinstance(request, Message)  # noqa: S101 - Connect decodes nothing else
        workspace_id = uuid_in(request, "workspace_id")
        if self._workspace_id not in (None, workspace_id):
            raise NotFoundError(f"Workspace '{workspace_id}' not found.")
        return await call_next(request, ctx)


def is_ours(ctx: RequestContext[Any, Any]) -> bool:
    """Whether the client announces that it knows what gqlplugin adds; the vendor's knows the contract only."""
    return ctx.request_headers.get(EXTENSIONS_HEADER) == "1"


def uuid_in(request: Message, field: str) -> str:
    """The UUID in a field, in lower case.

    Raises:
        InvalidInputError: It is none.
    """
    text = _text(request, field)
    if not is_uuid(text):
        raise InvalidInputError(f"{json_name(request, field)} must be a UUID.")
    return text.lower()


def name_in(request: Message, field: str) -> str:
    """The name in a field.

    Raises:
        InvalidInputError: It is none (TAILOR.md section 2).
    """
    text = _text(request, field)
    if not is_startable_name(text):
        raise InvalidInputError(f"{json_name(request, field)}: {name_problem('workflow', text)}.")
    return text


def json_name(request: Message, field: str) -> str:
    """The name of a field as JSON has it."""
    return request.DESCRIPTOR.fields_by_name[field].json_name


@contextmanager
def found(run_id: str) -> Iterator[None]:
    """Say in the words of the contract that there is no such run."""
    try:
        yield
    except NotFoundError:
        raise NotFoundError(f"Execution '{run_id}' not found.") from None


def _text(request: Message, field: str) -> str:
    value: Any = getattr(request, field)
    return str(value)
