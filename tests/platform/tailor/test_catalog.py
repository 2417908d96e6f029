"""What there is in a workspace beside runs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gqlplugin.errors import NotFoundError, PlatformUnavailableError
from gqlplugin.platform.tailor import ApplicationInfo, MachineUserInfo, WorkflowInfo
from tests.platform.tailor.fake import FakeTailor, connect_error

pytestmark = pytest.mark.anyio


def pages(key: str, *found: dict[str, Any]) -> Any:
    """Answers with one of these per page."""

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        index = int(message.get("pageToken", "0"))
        return {key: [found[index]], "nextPageToken": str(index + 1) if index + 1 < len(found) else ""}

    return answer


async def test_all_pages_of_workflows_are_read(fake: FakeTailor) -> None:
    """Until there is no next page token (TAILOR.md section 3)."""
    one = {
        "id": "1",
        "name": "one",
        "mainJobFunctionName": "a",
        "jobFunctions": {"a": "1", "b": 2},
        "createdAt": "2026-01-02T00:00:00Z",
    }
    fake.on["ListWorkflows"] = pages(
        "workflows", one, {"id": "2", "name": "two", "jobFunctions": None}, {"id": "3", "name": "three"}
    )
    async with fake.platform() as platform:
        found = await platform.list_workflows()
    assert found[0] == WorkflowInfo("1", "one", "a", ("a", "b"), datetime(2026, 1, 2, tzinfo=UTC), None)
    assert [info.name for info in found] == ["one", "two", "three"]
    assert [call.message.get("pageToken") for call in fake.received] == [None, "1", "2"]


async def test_a_workflow_is_found_by_its_name(fake: FakeTailor) -> None:
    """An unknown one, and a name that none can have, are NOT_FOUND."""
    async with fake.platform() as platform:
        assert (await platform.get_workflow("order-processing")).name == "order-processing"
        fake.on["GetWorkflowByName"] = lambda _: connect_error("not_found")
        for name in ("no-such", "No Such"):
            with pytest.raises(NotFoundError, match=f"no workflow '{name}'"):
                await platform.get_workflow(name)
    assert len(fake.received) == 2


async def test_applications_are_found(fake: FakeTailor) -> None:
    """One by its name, or all."""
    shop = {"name": "shop", "authNamespace": "my-auth", "url": "https://shop.test", "cors": ["*"]}
    fake.on["GetApplication"] = lambda message: (
        {"application": shop} if message["applicationName"] == "shop" else connect_error("not_found")
    )
    fake.on["ListApplications"] = pages("applications", shop, {"name": "bare"})
    async with fake.platform() as platform:
        assert await platform.get_application("shop") == ApplicationInfo("shop", "my-auth", "https://shop.test")
        with pytest.raises(NotFoundError, match="no application 'x'"):
            await platform.get_application("x")
        found = await platform.list_applications()
    assert found == [ApplicationInfo("shop", "my-auth", "https://shop.test"), ApplicationInfo("bare", "", "")]


async def test_machine_users_come_without_their_secrets(fake: FakeTailor) -> None:
    """The client secret that the server sends is dropped on reading."""
    manager = {
        "id": "1",
        "name": "manager",
        "clientId": "c",
        "clientSecret": "s3cret",
        "attributeMap": {"role": "MANAGER", "levels": [1, None]},
    }
    fake.on["ListAuthMachineUsers"] = pages("machineUsers", manager, {"name": "auditor"})
    async with fake.platform() as platform:
        found = await platform.list_machine_users("my-auth")
        fake.on["ListAuthMachineUsers"] = lambda _: connect_error("not_found")
        with pytest.raises(NotFoundError, match="namespace 'x'"):
            await platform.list_machine_users("x")
    assert fake.received[0].message["authNamespace"] == "my-auth"
    assert found == [
        MachineUserInfo("1", "manager", "c", {"role": "MANAGER", "levels": [1, None]}),
        MachineUserInfo("", "auditor", "", {}),
    ]
    assert "s3cret" not in repr(found)


async def test_pages_that_never_end_are_an_error(fake: FakeTailor) -> None:
    """A server that gives the same token again is not asked for ever."""
    fake.on["ListWorkflows"] = lambda _: {"workflows": [], "nextPageToken": "again"}
    async with fake.platform() as platform:
        with pytest.raises(PlatformUnavailableError):
            await platform.list_workflows()
    assert len(fake.received) == 2
