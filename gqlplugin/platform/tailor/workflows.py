"""The IDs of workflows by name."""

from __future__ import annotations

from gqlplugin.errors import NotFoundError
from gqlplugin.names import is_startable_name
from gqlplugin.platform.tailor.errors import missing
from gqlplugin.platform.tailor.flights import Flights
from gqlplugin.platform.tailor.messages import GetWorkflowAnswer, WorkflowMessage
from gqlplugin.platform.tailor.transport import Transport


class WorkflowIds:
    """Looks IDs up once, and again when a server does not know one any more."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._ids: dict[str, str] = {}
        self._flights: Flights[str] = Flights()

    async def find(self, name: str, *, stale: str | None = None) -> str:
        """The ID of a workflow; `stale` is one that the server does not know any more.

        Raises:
            NotFoundError: There is no such workflow.
        """
        known = self._ids.get(name)
        if known is not None and known != stale:
            return known
        return await self._flights.join(name, lambda: self._look_up(name))

    async def _look_up(self, name: str) -> str:
        self._ids.pop(name, None)
        self._ids[name] = (await get_workflow(self._transport, name)).id
        return self._ids[name]


async def get_workflow(transport: Transport, name: str) -> WorkflowMessage:
    """A workflow by its name.

    Raises:
        NotFoundError: There is no such workflow.
    """
    problem = f"There is no workflow {name!r}."
    if not is_startable_name(name):
        raise NotFoundError(problem)
    with missing(problem):
        return (await transport.call("GetWorkflowByName", {"workflowName": name}, GetWorkflowAnswer)).workflow
