"""What of the contract's filters can be answered: fields that equal values, joined by `and`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from google.protobuf.struct_pb2 import Value

from gqlplugin.errors import InvalidInputError
from gqlplugin.execution import ExecutionFilter, ExecutionStatus, WorkflowExecution
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.ids import is_uuid
from gqlplugin.platform.tailor.server.messages import SHOWN_AS

_STATUSES = [name.removeprefix("STATUS_") for name in pb.WorkflowExecution.Status.keys()[1:]]
_OWN_STATUSES = [status.value for status in ExecutionStatus]

Reader = Callable[[str, Value], str]
"""Reads the value that a field is compared with."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list: those that fit any of the filters, which differ in the status at most."""

    filters: Sequence[ExecutionFilter]
    run_id: str | None = None

    def matches(self, run: WorkflowExecution) -> bool:
        """Whether a run is among them."""
        return self.run_id in (None, run.id) and any(
            where.workflow_name in (None, run.workflow_name)
            and where.status in (None, run.status)
            and where.caller_id in (None, run.caller.id)
            for where in self.filters
        )


def read_run_query(
    request: pb.ListWorkflowExecutionsRequest, *, extensions: bool, firings: bool, later_statuses: bool
) -> RunQuery | None:
    """Which runs a request asks for; None when it contradicts itself, so that there are none.

    Args:
        request: The request.
        extensions: Whether it may ask for what the contract does not have.
        firings: Whether firings of executors are listed too, where no workflow is named.
        later_statuses: Whether the client knows all statuses; else a status also asks for those that are shown as it.

    Raises:
        InvalidInputError: The filter is not one that can be answered.
    """
    readers: dict[str, Reader] = {
        "id": _uuid,
        "status": partial(_status, known=_OWN_STATUSES if extensions else _STATUSES),
        "workflow_name": _string,
    }
    if extensions:
        readers["caller_id"] = _string
    found = _read(request.filter, readers)
    if found is None:
        return None
    name = request.workflow_name
    if name and found.setdefault("workflow_name", name) != name:
        return None
    where = ExecutionFilter(
        workflow_name=found.get("workflow_name"),
        caller_id=found.get("caller_id"),
        firings=firings,
        oldest_first=request.page_direction == pb.PAGE_DIRECTION_ASC,
    )
    if "status" not in found:
        return RunQuery([where], found.get("id"))
    status = ExecutionStatus(found["status"])
    statuses = (
        [status] if later_statuses else [status, *(one for one in ExecutionStatus if SHOWN_AS.get(one) is status)]
    )
    return RunQuery([replace(where, status=one) for one in statuses], found.get("id"))


def read_job_ids(request: pb.ListFunctionExecutionsRequest) -> Sequence[str] | None:
    """The IDs of the jobs that a request asks for: one, or none when it contradicts itself; None asks for all.

    Raises:
        InvalidInputError: The filter asks for anything else.
    """
    found = _read(request.filter, {"id": _uuid})
    if found is None:
        return []
    return list(found.values()) or None


def _read(given: pb.Filter, readers: Mapping[str, Reader]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    contradictory = False
    for condition in _conditions(given):
        field = condition.field
        if field not in readers:
            raise InvalidInputError(f"filter on the field {field!r} is not supported: use {_listed(readers)}.")
        if condition.operator != pb.Condition.OPERATOR_EQ:
            raise InvalidInputError(f"filter on the field {field!r} supports the operator EQ only.")
        value = readers[field](field, condition.value)
        contradictory |= found.setdefault(field, value) != value
    return None if contradictory else found


def _conditions(given: pb.Filter) -> Iterator[pb.Condition]:
    parts: Any = given  # `and` and `or` are no attributes that Python can spell
    if getattr(parts, "or"):
        raise InvalidInputError("filter.or is not supported: join conditions with `and`.")
    if given.HasField("condition"):
        yield given.condition
    for part in getattr(parts, "and"):
        yield from _conditions(part)


def _listed(readers: Mapping[str, Reader]) -> str:
    return ", ".join(map(repr, readers))


def _string(field: str, value: Value) -> str:
    if value.WhichOneof("kind") != "string_value":
        raise InvalidInputError(f"filter on the field {field!r} needs a string.")
    return value.string_value


def _uuid(field: str, value: Value) -> str:
    text = _string(field, value)
    if not is_uuid(text):
        raise InvalidInputError(f"filter on the field {field!r} needs a UUID.")
    return text.lower()


def _status(field: str, value: Value, *, known: Sequence[str]) -> str:
    """A status by its number or its name, with or without `STATUS_`."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        numbers = {number: name for name, number in pb.WorkflowExecution.Status.items()}
        name = numbers.get(int(value.number_value)) if value.number_value.is_integer() else None
    else:
        name = value.string_value
    status = (name or "").removeprefix("STATUS_")
    if status not in known:
        raise InvalidInputError(f"filter on the field {field!r} needs one of {', '.join(known)}, or the number of one.")
    return status
