"""Starting runs: once, or the caller is told that nobody knows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import uuid4

from gqlplugin.codec import check_json
from gqlplugin.errors import InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.idempotency import note_earlier_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import is_uuid7
from gqlplugin.platform.tailor.errors import missing, unsupported
from gqlplugin.platform.tailor.messages import StartedAllAnswer, StartedAnswer
from gqlplugin.platform.tailor.records import caller_message
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.platform.tailor.workflows import WorkflowIds

MAX_ARG_BYTES = 1024 * 1024
MAX_KEY_LENGTH = 255
MAX_STARTS = 1000
MAX_BATCH_BYTES = 3 * 1024 * 1024
"""Of all arguments of a batch, as JSON within JSON: a message of gqlplugin's server may have 4 MiB."""

T = TypeVar("T")

_HASHED = "sha256:"


class Starts:
    """Starts runs.

    Args:
        transport: Where.
        check_name: Refuses a workflow that the app does not have.
    """

    def __init__(self, transport: Transport, *, check_name: Callable[[str], None]) -> None:
        self._transport = transport
        self._check_name = check_name
        self._ids = WorkflowIds(transport)

    async def start(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None,
        idempotency_key: str | None,
        run_id: str | None = None,
    ) -> str:
        """Start a run and return its ID; see `Platform.start_workflow`."""
        self._check_name(name)
        _check(arg, caller, idempotency_key)
        if run_id is not None and not is_uuid7(run_id):
            raise InvalidInputError(f"A run's ID is a UUID of version 7 in lower case, not {run_id!r}.")
        message: dict[str, object] = {"arg": arg, **_invoker(invoker)}
        workflow_id = await self._ids.find(name)
        key = None
        if await self._transport.has_extensions():
            message["caller"] = _caller(caller)
            key = str(uuid4()) if idempotency_key is None else header_value(idempotency_key)
            if run_id is not None:
                message["executionId"], key = run_id, f"run:{run_id}"
        elif idempotency_key is not None or run_id is not None:
            what = "idempotency keys" if run_id is None else "IDs that are given to runs"
            raise UnsupportedError(f"This platform knows no {what}: start without one.")

        async def send(workflow_id: str) -> StartedAnswer:
            request = {"workflowId": workflow_id, **message}
            with unsupported(f"Workflow {name!r} can't be started on this platform."):
                return await self._transport.call("TestStartWorkflow", request, StartedAnswer, idempotency_key=key)

        answer = await self._with_id(name, workflow_id, send)
        if answer.replayed:
            note_earlier_start()
        return answer.execution_id

    async def start_all(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None
    ) -> list[str]:
        """Start one run per argument, in one try, and return their IDs; see `Platform.start_workflows`."""
        self._check_name(name)
        _check_all(args, caller)
        if not args:
            return []
        if not await self._transport.has_extensions():
            raise UnsupportedError("This platform can't start several runs at once: start them one by one.")
        message = {"args": list(args), "caller": _caller(caller), **_invoker(invoker)}

        async def send(workflow_id: str) -> StartedAllAnswer:
            request = {"workflowId": workflow_id, **message}
            with unsupported(f"Workflow {name!r} can't be started several times at once on this platform."):
                return await self._transport.call("StartWorkflows", request, StartedAllAnswer)

        answer = await self._with_id(name, await self._ids.find(name), send)
        return list(answer.execution_ids)

    async def _with_id(self, name: str, workflow_id: str, send: Callable[[str], Awaitable[T]]) -> T:
        """Send what names a workflow by its ID, and again where the workflow has another one by now."""
        try:
            return await send(workflow_id)
        except NotFoundError as error:
            another_id = await self._ids.find(name, stale=workflow_id)
            if another_id == workflow_id:
                raise NotFoundError(f"There is no workflow {name!r}.") from error.__cause__
        with missing(f"There is no workflow {name!r}."):
            return await send(another_id)


def header_value(key: str) -> str:
    """An idempotency key as a header can carry it: itself, or a hash of it where it has other characters."""
    if re.fullmatch(r"[\x21-\x7e]+", key) and not key.startswith(_HASHED):
        return key
    return _HASHED + hashlib.sha256(key.encode()).hexdigest()


def _check(arg: str, caller: User, key: str | None) -> None:
    check_json(arg, max_bytes=MAX_ARG_BYTES)
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidInputError(f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}.")
    try:
        f"{arg}{caller.id}{key}".encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            "The arguments, the caller or the idempotency key hold half a surrogate pair."
        ) from None


def _check_all(args: Sequence[str], caller: User) -> None:
    if len(args) > MAX_STARTS:
        raise InvalidInputError(f"At most {MAX_STARTS} runs are started at once, not {len(args)}.")
    for arg in args:
        _check(arg, caller, None)
    size = len(json.dumps(list(args), ensure_ascii=False).encode())
    if size > MAX_BATCH_BYTES:
        raise InvalidInputError(
            f"The arguments of a batch have at most {MAX_BATCH_BYTES} bytes together, not {size}: start fewer at once."
        )


def _invoker(invoker: AuthInvoker | None) -> dict[str, object]:
    if invoker is None:
        return {}
    return {"authInvoker": {"namespace": invoker.namespace, "machineUserName": invoker.machine_user_name}}


def _caller(caller: User) -> dict[str, object]:
    try:
        return caller_message(caller)
    except ValueError:
        raise InvalidInputError("The caller's attributes are not JSON values.") from None
