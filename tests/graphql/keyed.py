"""The shop of the tests of idempotency keys, served, and what its answers say."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from gqlplugin.asgi import create_asgi
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter, WorkflowExecution
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.contract.support import all_runs
from tests.graphql.conftest import authenticate
from tests.graphql.keyed_shop import keyed_schema, keyed_shop

PLACE = 'mutation { place(orderId: "1") }'


@dataclass(frozen=True)
class Shop:
    platform: Platform
    client: GraphQLClient

    async def ask(
        self,
        query: str,
        *,
        header: str | None = None,
        user: str | None = "ann",
        variables: Mapping[str, Any] | None = None,
    ) -> Any:
        """The body of the answer."""
        headers = {} if header is None else {"Idempotency-Key": header}
        if user is not None:
            headers["x-user"] = user
        body = {"query": query, "variables": variables}
        return (await self.client.http.post("/graphql", json=body, headers=headers)).json()

    async def runs(self, workflow: str | None = None) -> list[WorkflowExecution]:
        return await all_runs(self.platform, ExecutionFilter(workflow_name=workflow))


@asynccontextmanager
async def served_shop() -> AsyncIterator[Shop]:
    """A shop that runs no jobs."""
    platform = MemoryPlatform()
    asgi = create_asgi(keyed_shop(), platform, schema=keyed_schema(), authenticate=authenticate, execute=False)
    async with serve(asgi) as client:
        yield Shop(platform, client)


def said(path: str, *, applied: bool = True, replayed: bool = False) -> dict[str, Any]:
    return {"path": [path], "applied": applied, "replayed": replayed}


def told(answer: Any) -> Any:
    return answer["extensions"]["idempotency"]


def code(answer: Any) -> str:
    return str(answer["errors"][0]["extensions"]["code"])


def unguessable() -> str:
    return str(uuid4())
