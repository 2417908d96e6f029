"""Starting runs and resuming them: once, or the caller is told that nobody knows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from uuid import uuid4

from gqlplugin.codec import check_json
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.idempotency import note_earlier_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.ids import is_uuid7
from gqlplugin.platform.tailor.errors import missing
from gqlplugin.platform.tailor.jobs import get_run, is_uuid
from gqlplugin.platform.tailor.messages import ResumedAnswer, StartedAnswer
from gqlplugin.platform.tailor.records import caller_message
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.platform.tailor.workflows import WorkflowIds

MAX_ARG_BYTES = 1024 * 1024
MAX_KEY_LENGTH = 255

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
        message: dict[str, object] = {"arg": arg}
        if invoker is not None:
            message["authInvoker"] = {
                "namespace": invoker.namespace,
                "machineUserName": invoker.machine_user_name,
            }
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
        try:
            return await self._send(name, workflow_id, message, key)
        except NotFoundError as error:
            another_id = await self._ids.find(name, stale=workflow_id)
            if another_id == workflow_id:
                raise NotFoundError(f"There is no workflow {name!r}.") from error.__cause__
        with missing(f"There is no workflow {name!r}."):
            return await self._send(name, another_id, message, key)

    async def _send(self, name: str, workflow_id: str, message: dict[str, object], key: str | None) -> str:
        message = {"workflowId": workflow_id, **message}
        try:
            answer = await self._transport.call("TestStartWorkflow", message, StartedAnswer, idempotency_key=key)
        except UnsupportedError as error:
            raise UnsupportedError(f"Workflow {name!r} can't be started on this platform.") from error.__cause__
        if answer.replayed:
            note_earlier_start()
        return answer.execution_id


async def resume(transport: Transport, run_id: str) -> None:
    """Run a failed run again; see `Platform.resume`."""
    problem = f"There is no run {run_id!r}."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    try:
        with missing(problem):
            await transport.call("TestResumeWorkflow", {"executionId": run_id}, ResumedAnswer)
    except FailedPreconditionError as error:
        status = (await get_run(transport, run_id)).status
        raise FailedPreconditionError(
            f"Run {run_id!r} is {status}; only a FAILED run can be resumed."
        ) from error.__cause__


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


def _caller(caller: User) -> dict[str, object]:
    try:
        return caller_message(caller)
    except ValueError:
        raise InvalidInputError("The caller's attributes are not JSON values.") from None
