"""Runs that wait: listing them, and answering them. Only gqlplugin's own server has them."""

from __future__ import annotations

from gqlplugin.codec import check_json
from gqlplugin.errors import InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.execution import WaitFilter, WaitPage, trim_wait
from gqlplugin.platform.tailor.errors import missing, unsupported
from gqlplugin.platform.tailor.jobs import is_uuid
from gqlplugin.platform.tailor.listing import MAX_PAGE, bad_cursor, can_be_sent
from gqlplugin.platform.tailor.messages import DoneAnswer, ListWaitsAnswer
from gqlplugin.platform.tailor.records import to_wait
from gqlplugin.platform.tailor.transport import Transport

MAX_RESULT_BYTES = 1024 * 1024

_CANNOT = "This platform has no wait points."


async def resolve(transport: Transport, run_id: str, wait_point: str, result: str, *, job_id: str | None) -> None:
    """Answer a run that waits, in one try; see `Platform.resolve`."""
    check_json(result, max_bytes=MAX_RESULT_BYTES)
    problem = f"There is no run {run_id!r}."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    if not await transport.has_extensions():
        raise UnsupportedError(_CANNOT)
    message = {"executionId": run_id, "key": wait_point, "result": result}
    if job_id is not None:
        message["waitId"] = job_id
    with missing(problem), unsupported(_CANNOT):
        await transport.call("ResolveWaitPoint", message, DoneAnswer)


async def list_waits(transport: Transport, where: WaitFilter, *, first: int, after: str | None) -> WaitPage:
    """A page of the runs that wait; see `Platform.list_waits`."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
    if after == "":
        raise bad_cursor()
    if not await transport.has_extensions():
        raise UnsupportedError(_CANNOT)
    wanted = {
        "key": where.name,
        "executionId": where.run_id,
        "workflowName": where.workflow_name,
        "callerId": where.caller_id,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    if not can_be_sent(*given.values()):
        return WaitPage(waits=[], cursors=[], has_next=False)
    message = {**given, "pageSize": first, "pageToken": after or ""}
    try:
        with unsupported(_CANNOT):
            answer = await transport.call("ListWaitPoints", message, ListWaitsAnswer)
    except InvalidInputError as error:
        if after is None:
            raise
        raise bad_cursor() from error.__cause__
    waits = [trim_wait(to_wait(one), where.values) for one in answer.wait_points]
    return WaitPage(waits=waits, cursors=answer.page_tokens, has_next=bool(answer.next_page_token))
