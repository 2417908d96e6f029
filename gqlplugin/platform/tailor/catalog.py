"""What there is in a workspace beside runs: applications, workflows and machine users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.platform.tailor.errors import CallError, missing
from gqlplugin.platform.tailor.messages import (
    ApplicationMessage,
    GetApplicationAnswer,
    ListApplicationsAnswer,
    ListMachineUsersAnswer,
    ListWorkflowsAnswer,
    WorkflowMessage,
)
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.platform.tailor.workflows import get_workflow

_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """A workflow that the platform knows.

    Attributes:
        id: A UUID.
        main_job: The name of its main job.
        job_functions: The names of the jobs it is made of.
    """

    id: str
    name: str
    main_job: str
    job_functions: tuple[str, ...]
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApplicationInfo:
    """An application.

    Attributes:
        auth_namespace: Where its machine users are; empty when it has none.
        url: Where it is served.
    """

    name: str
    auth_namespace: str
    url: str


@dataclass(frozen=True, slots=True)
class MachineUserInfo:
    """A machine user, without its secret."""

    id: str
    name: str
    client_id: str
    attributes: Mapping[str, Any]


L = TypeVar("L", ListApplicationsAnswer, ListMachineUsersAnswer, ListWorkflowsAnswer)


class Catalog:
    """Reads what there is in a workspace.

    Args:
        connected: Gives the transport, or refuses while there is none.
    """

    def __init__(self, connected: Callable[[], Transport]) -> None:
        self._connected = connected

    async def list_workflows(self) -> Sequence[WorkflowInfo]:
        """All workflows of the workspace."""
        pages = await _pages(self._connected(), "ListWorkflows", {}, ListWorkflowsAnswer)
        return [_workflow(one) for page in pages for one in page.workflows]

    async def get_workflow(self, name: str) -> WorkflowInfo:
        """A workflow by its name.

        Raises:
            NotFoundError: There is no such workflow.
        """
        return _workflow(await get_workflow(self._connected(), name))

    async def list_applications(self) -> Sequence[ApplicationInfo]:
        """All applications of the workspace."""
        pages = await _pages(self._connected(), "ListApplications", {}, ListApplicationsAnswer)
        return [_application(one) for page in pages for one in page.applications]

    async def get_application(self, name: str) -> ApplicationInfo:
        """An application by its name.

        Raises:
            NotFoundError: There is no such application.
        """
        with missing(f"There is no application {name!r}."):
            answer = await self._connected().call("GetApplication", {"applicationName": name}, GetApplicationAnswer)
        return _application(answer.application)

    async def list_machine_users(self, namespace: str) -> Sequence[MachineUserInfo]:
        """All machine users of an auth namespace.

        Raises:
            NotFoundError: There is no such namespace.
        """
        with missing(f"There is no auth namespace {namespace!r}."):
            pages = await _pages(
                self._connected(), "ListAuthMachineUsers", {"authNamespace": namespace}, ListMachineUsersAnswer
            )
        return [
            MachineUserInfo(one.id, one.name, one.client_id, one.attribute_map)
            for page in pages
            for one in page.machine_users
        ]


async def _pages(transport: Transport, method: str, message: Mapping[str, object], answer: type[L]) -> list[L]:
    pages: list[L] = []
    seen = {""}
    token: dict[str, object] = {}
    while True:
        page = await transport.call(method, {"pageSize": _PAGE_SIZE, **message, **token}, answer)
        pages.append(page)
        if page.next_page_token == "":
            return pages
        if page.next_page_token in seen:
            raise PlatformUnavailableError from CallError("unknown", f"the pages of {method} never end")
        seen.add(page.next_page_token)
        token = {"pageToken": page.next_page_token}


def _workflow(message: WorkflowMessage) -> WorkflowInfo:
    return WorkflowInfo(
        id=message.id,
        name=message.name,
        main_job=message.main_job_function_name,
        job_functions=tuple(message.job_functions),
        created_at=message.created_at,
        updated_at=message.updated_at,
    )


def _application(message: ApplicationMessage) -> ApplicationInfo:
    return ApplicationInfo(message.name, message.auth_namespace, message.url)
