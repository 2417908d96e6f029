"""Listing runs, and cursors that continue after any run of a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gqlplugin.errors import InvalidInputError, UnsupportedError
from gqlplugin.execution import ExecutionFilter, ExecutionPage, ExecutionStatus, trim_run
from gqlplugin.names import is_startable_name
from gqlplugin.platform.tailor.messages import ListRunsAnswer, RunMessage
from gqlplugin.platform.tailor.records import RUN_STATUS_NUMBERS, to_run
from gqlplugin.platform.tailor.transport import Transport

MAX_PAGE = 1000

_PAGES_TO_LOOK_INTO = 2  # for the run to go on after, where newer runs may have moved it down
_OWN_STATUSES = frozenset(ExecutionStatus) - RUN_STATUS_NUMBERS.keys()
_NOTHING = ExecutionPage(executions=[], cursors=[], has_next=False)


class Position(BaseModel):
    """Where a listing goes on: in the page that a token and a size give, after some of its runs.

    Attributes:
        token: The page's token.
        size: The size the page was asked for with; None when the token is of the very run to go on after.
        skip: How many of its runs lie before.
        run_id: The last of those, by which it is found again when newer runs have come in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: str = ""
    size: int | None = Field(default=None, ge=1, le=MAX_PAGE)
    skip: int = Field(default=0, ge=0, le=MAX_PAGE)
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class _Listed:
    run: RunMessage
    after: Position


async def list_runs(transport: Transport, where: ExecutionFilter, *, first: int, after: str | None) -> ExecutionPage:
    """A page of runs; see `Platform.list_executions`. Without details it does not ask for the output of each."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
    position = Position() if after is None else _parse(after)
    if not await _can_match(transport, where):
        return _NOTHING
    try:
        found, following = await _fill(transport, where, position, first)
    except InvalidInputError as error:
        if after is None:
            raise
        raise bad_cursor() from error.__cause__
    return ExecutionPage(
        executions=[trim_run(to_run(one.run), where.values) for one in found[:first]],
        cursors=[_cursor(one.after) for one in found[:first]],
        has_next=len(found) > first or (following is not None and bool(found)),
    )


async def count_runs(transport: Transport, where: ExecutionFilter) -> int:
    """How many runs a listing has; see `Platform.count_executions`."""
    if not await _can_match(transport, where):
        return 0
    answer = await transport.call("ListWorkflowExecutions", {"pageSize": 1, **_listing(where)}, ListRunsAnswer)
    return answer.total_count


async def _fill(
    transport: Transport, where: ExecutionFilter, position: Position, first: int
) -> tuple[list[_Listed], Position | None]:
    """At least as many runs as were asked for, where there are so many: a server's pages may be smaller than asked."""
    anchor, begin = position.run_id, position.skip
    found: list[_Listed] = []
    seen: set[str] = set()
    following: Position | None = position
    while following is not None:
        seen.add(following.token)
        page, following = await _page(transport, where, following, position.size or first)
        found += page
        if following is not None and following.token in seen:
            following = None  # a server that goes round in a circle
        ids = [one.run.id for one in found]
        if anchor in ids:
            anchor, begin = "", ids.index(anchor) + 1
        if len(found) - begin >= first and (not anchor or len(seen) >= _PAGES_TO_LOOK_INTO):
            break
    return found[begin:], following


async def _page(
    transport: Transport, where: ExecutionFilter, position: Position, size: int
) -> tuple[list[_Listed], Position | None]:
    """The page at a position, and where the next one begins."""
    message: dict[str, object] = {"pageSize": size, **_listing(where)}
    if position.token:
        message["pageToken"] = position.token
    if transport.extensions:
        message["view"] = "VIEW_RUN"
    answer = await transport.call("ListWorkflowExecutions", message, ListRunsAnswer)
    runs, tokens = answer.executions, answer.page_tokens
    if len(tokens) == len(runs):
        cursors = [Position(token=token) for token in tokens]
    else:
        cursors = [
            Position(token=position.token, size=size, skip=min(number, MAX_PAGE), run_id=run.id)
            for number, run in enumerate(runs, 1)
        ]
    following = Position(token=answer.next_page_token) if answer.next_page_token else None
    if following is not None and cursors:
        cursors[-1] = following
    return [_Listed(run, cursor) for run, cursor in zip(runs, cursors, strict=True)], following


def _listing(where: ExecutionFilter) -> dict[str, object]:
    direction = "PAGE_DIRECTION_ASC" if where.oldest_first else "PAGE_DIRECTION_DESC"
    own = {} if where.firings else {"withoutFirings": True}
    return {"pageDirection": direction, **own, **_filter(where)}


def _filter(where: ExecutionFilter) -> dict[str, object]:
    status = None if where.status is None else RUN_STATUS_NUMBERS.get(where.status, where.status.value)
    wanted = {"workflow_name": where.workflow_name, "status": status, "caller_id": where.caller_id}
    conditions = [
        {"condition": {"field": field, "operator": "OPERATOR_EQ", "value": value}}
        for field, value in wanted.items()
        if value is not None
    ]
    return {"filter": {"and": conditions}} if conditions else {}


async def _can_match(transport: Transport, where: ExecutionFilter) -> bool:
    name = where.workflow_name
    if (name is not None and not is_startable_name(name)) or not can_be_sent(where.caller_id or ""):
        return False
    asks_for_more = where.caller_id is not None or where.status in _OWN_STATUSES
    if not asks_for_more or await transport.has_extensions():
        return True
    if where.caller_id is None:
        return False
    raise UnsupportedError("This platform can't list the runs of one caller: it does not know who started a run.")


def can_be_sent(*texts: str) -> bool:
    """Whether texts are whole: half a surrogate pair can't be sent, and nothing kept holds one."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(position.model_dump_json(exclude_defaults=True).encode()).decode().rstrip("=")


def _parse(cursor: str) -> Position:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = Position.model_validate_json(text)
    except (ValueError, ValidationError):
        raise bad_cursor() from None
    if _cursor(position) != cursor or position == Position():
        raise bad_cursor()
    return position


def bad_cursor() -> InvalidInputError:
    """The error for what is not a cursor."""
    return InvalidInputError("`after` is not a cursor of this listing: pass one that it returned.")
