"""The search attributes of runs: made where they may be, else asked for, by names and commands."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it has no types
import pytest
from google.protobuf.message import Message
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)
from temporalio.client import Client

from gqlplugin.errors import FailedPreconditionError, PlatformUnavailableError
from gqlplugin.platform.temporal.client import ensure_search_attributes
from gqlplugin.platform.temporal.messages import SEARCH_ATTRIBUTES
from tests.loopback import free_port
from tests.temporal_server import TemporalServer

pytestmark = pytest.mark.anyio

TIMEOUT = timedelta(seconds=30)
NAMES = {key.name for key in SEARCH_ATTRIBUTES}


async def connect(address: str) -> Client:
    return await Client.connect(address)


async def known(client: Client) -> dict[str, int]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    answer = await client.operator_service.list_search_attributes(request)
    return {name: answer.custom_attributes[name] for name in answer.custom_attributes}


async def add(client: Client, **types: IndexedValueType.ValueType) -> None:
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    await client.operator_service.add_search_attributes(request)


@pytest.mark.temporal
async def test_they_are_made_once(tmp_path: Path) -> None:
    """Several processes may make them at once; afterwards they can be used, and are there after a restart."""
    with TemporalServer(tmp_path / "server.db", search_attributes=False) as server:
        client = await connect(server.address)
        assert not NAMES & (await known(client)).keys()
        await asyncio.gather(*(ensure_search_attributes(client, TIMEOUT) for _ in range(4)))
        types = await known(client)
        assert {key.name: types[key.name] for key in SEARCH_ATTRIBUTES} == {
            key.name: int(key.indexed_value_type) for key in SEARCH_ATTRIBUTES
        }
        await client.count_workflows(" AND ".join(f"{name} IS NULL" for name in NAMES))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        again = await connect(server.address)
        await ensure_search_attributes(again, TIMEOUT)
        assert (await known(again)).keys() >= NAMES


@pytest.mark.temporal
async def test_another_type_is_an_error() -> None:
    """One that is there with another type is named, with the type it must have."""
    with TemporalServer(search_attributes=False) as server:
        client = await connect(server.address)
        await add(client, GqlpluginCaller=IndexedValueType.INDEXED_VALUE_TYPE_INT)
        with pytest.raises(FailedPreconditionError, match=r"'default'.* GqlpluginCaller must be a Keyword") as caught:
            await ensure_search_attributes(client, TIMEOUT)
        assert "GqlpluginStatus" not in caught.value.message


@pytest.mark.temporal
async def test_no_room_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Where the namespace has no room for them, the error names those that are missing, with commands."""
    with TemporalServer(search_attributes=False) as server:
        client = await connect(server.address)
        datetime_type = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
        await add(client, One=datetime_type, Two=datetime_type, GqlpluginCreatedAt=datetime_type)
        with pytest.raises(FailedPreconditionError, match="GqlpluginWaitingSince --type Datetime") as caught:
            await ensure_search_attributes(client, TIMEOUT)
        assert "GqlpluginCreatedAt" not in caught.value.message
        assert "cannot have more than" in caplog.text


@asynccontextmanager
async def guarded(names: set[str]) -> AsyncIterator[Client]:
    """A client of a service that has these attributes, and lets nobody look at them or make any, as a hosted one."""

    def deny(request: Message, context: Any) -> None:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")

    def count(request: CountWorkflowExecutionsRequest, context: Any) -> CountWorkflowExecutionsResponse:
        if not set(re.findall(r"Gqlplugin\w+", request.query)) <= names:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid query: invalid search attribute")
        return CountWorkflowExecutionsResponse()

    def method(function: Callable[[Any, Any], Message | None], request: type[Message]) -> object:
        return grpc.unary_unary_rpc_method_handler(
            function,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    server = grpc.server(ThreadPoolExecutor(2))
    services = {
        "operatorservice.v1.OperatorService": {
            "ListSearchAttributes": method(deny, ListSearchAttributesRequest),
            "AddSearchAttributes": method(deny, AddSearchAttributesRequest),
        },
        "workflowservice.v1.WorkflowService": {
            "GetSystemInfo": method(lambda *_: GetSystemInfoResponse(), GetSystemInfoRequest),
            "CountWorkflowExecutions": method(count, CountWorkflowExecutionsRequest),
        },
    }
    for name, methods in services.items():
        handler = grpc.method_handlers_generic_handler(f"temporal.api.{name}", methods)
        server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield await Client.connect(f"127.0.0.1:{port}", namespace="shop")
    finally:
        server.stop(0).wait()


async def test_where_it_is_not_allowed() -> None:
    """Where they may not be made, those that are missing are asked for, each with its type and the command."""
    async with guarded(NAMES - {"GqlpluginStatus", "GqlpluginCreatedAt"}) as client:
        with pytest.raises(FailedPreconditionError) as caught:
            await ensure_search_attributes(client, TIMEOUT)
    assert caught.value.message.splitlines()[1:] == [
        "temporal operator search-attribute create --namespace shop --name GqlpluginStatus --type Keyword",
        "temporal operator search-attribute create --namespace shop --name GqlpluginCreatedAt --type Datetime",
    ]


async def test_where_they_are_there() -> None:
    """Where they may not be made, and all are there, nothing is wrong."""
    async with guarded(NAMES) as client:
        await ensure_search_attributes(client, TIMEOUT)


async def test_no_service() -> None:
    """A service that can't be reached is unavailable, not without attributes."""
    client = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    with pytest.raises(PlatformUnavailableError):
        await ensure_search_attributes(client, timedelta(seconds=1))
