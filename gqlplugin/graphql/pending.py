"""Waits as GraphQL: an interface, one type per wait point, and pages of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import strawberry
from pydantic_core import from_json
from strawberry.relay import PageInfo
from strawberry.scalars import JSON

from gqlplugin.errors import DefinitionError
from gqlplugin.execution import PendingWait
from gqlplugin.graphql.budget import parse_for_answer, value_of
from gqlplugin.graphql.stored import stored_field
from gqlplugin.graphql.workflow_run import WorkflowRun
from gqlplugin.names import pascal_case
from gqlplugin.wait_point import WaitPoint

MayResolve = Callable[[PendingWait], Awaitable[bool]]


async def _may_resolve(root: strawberry.Parent[PendingWaitPoint]) -> bool:
    return await root.asked(root.wait)


def _payload(root: strawberry.Parent[PendingWaitPoint]) -> JSON | None:
    payload: JSON | None = from_json(parse_for_answer(value_of(root.wait, "payload")))
    return payload


@strawberry.interface(description="A run that waits for an answer. Each wait point has a type, with what was asked.")
class PendingWaitPoint:
    """A wait as GraphQL."""

    id: strawberry.ID = strawberry.field(description="The ID of this wait; it is that of a job of the run.")
    run_id: strawberry.ID
    name: str = strawberry.field(description="The name of the wait point.")
    workflow_name: str
    payload: JSON | None = strawberry.field(resolver=_payload, description="What the run tells those who answer.")
    since: datetime
    expires_at: datetime | None = strawberry.field(description="When it goes on without an answer, if ever.")
    run: WorkflowRun
    wait: strawberry.Private[PendingWait]
    asked: strawberry.Private[MayResolve]

    may_resolve: bool = strawberry.field(resolver=_may_resolve, description="Whether the caller may answer it.")


@strawberry.type(description="A run that waits at a wait point that this app no longer has.")
class UnknownPendingWaitPoint(PendingWaitPoint):
    """A wait that nobody can answer."""


@strawberry.type(description="A run that waits, and where it is in the list.")
class PendingWaitPointEdge:
    """An edge (Relay's cursor connections specification)."""

    cursor: str
    node: PendingWaitPoint


@strawberry.type(description="A page of runs that wait, the longest wait first.")
class PendingWaitPointConnection:
    """A connection (Relay's cursor connections specification)."""

    edges: list[PendingWaitPointEdge]
    page_info: PageInfo


OWN_TYPES = (PendingWaitPoint, UnknownPendingWaitPoint, PendingWaitPointEdge, PendingWaitPointConnection)


def pending_types(points: Iterable[WaitPoint[Any, Any]], taken: Mapping[str, str]) -> dict[str, type[PendingWaitPoint]]:
    """The types of the waits, by the names of the wait points.

    Args:
        points: The wait points.
        taken: Names of types that the schema has besides, with what to call those in a message.

    Raises:
        DefinitionError: Two types would have the same name.
    """
    types: dict[str, type[PendingWaitPoint]] = {}
    owners = dict(taken)
    problems: list[str] = []
    for point in points:
        name = f"Pending{pascal_case(point.name)}"
        what = f"the waits at wait point {point.name!r} ({point.source})"
        if name in owners:
            problems.append(f"two GraphQL types are named {name!r}: {owners[name]}, and {what}")
        owners[name] = what
        types[point.name] = _type_of(name, point)
    if problems:
        raise DefinitionError(problems)
    return types


def _type_of(name: str, point: WaitPoint[Any, Any]) -> type[PendingWaitPoint]:
    request = stored_field(
        point.payload,
        lambda pending: value_of(pending.wait, "payload"),
        misfit=f"The payload of this wait doesn't fit wait point {point.name!r} any more",
        description="What the run tells those who answer.",
    )
    body = {"__module__": __name__, "__annotations__": {}, **({"request": request} if request else {})}
    return strawberry.type(type(name, (PendingWaitPoint,), body), description=f"A run that waits at `{point.name}`.")
