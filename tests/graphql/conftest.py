"""A served shop, for the tests of the GraphQL layer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from starlette.requests import HTTPConnection

from gqlplugin.app import App
from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.runs import WorkflowExecution
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.graphql.shop import define_shop, shop_schema, stock


def authenticate(connection: HTTPConnection) -> User:
    """Callers name themselves."""
    name = connection.headers.get("x-user")
    return User(id=name, type="user") if name else User()


@dataclass(frozen=True)
class Shop:
    app: App
    platform: MemoryPlatform
    client: GraphQLClient

    def act_as(self, user: str | None) -> None:
        """Send the next requests as a caller, or as nobody."""
        self.client.http.headers.pop("x-user", None)
        if user:
            self.client.http.headers["x-user"] = user

    async def start(self, mutation: str) -> str:
        """Start a run and return its ID."""
        data = await self.client.run(f"mutation {{ it: {mutation} {{ runId }} }}")
        return str(data["it"]["runId"])

    async def finished(self, run_id: str) -> WorkflowExecution:
        """The run once it has ended."""
        return [run async for run in self.platform.watch(run_id)][-1]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    stock["is_empty"] = True
    app, platform = define_shop(), MemoryPlatform()
    async with serve(create_asgi(app, platform, schema=shop_schema(), authenticate=authenticate)) as client:
        yield Shop(app, platform, client)
