"""What tests of an API made with gqlplugin need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from gqlplugin.platform.embedded import EmbeddedPlatform

__all__ = ["GraphQLClient", "GraphQLResult", "MemoryPlatform", "serve"]


class MemoryPlatform(EmbeddedPlatform):
    """The embedded platform without a file: the same semantics, quick, and gone with the test.

    ```python
    async with MemoryPlatform() as platform, platform.execute(app): ...
    ```

    Args:
        max_arg_bytes: As for `EmbeddedPlatform`.
        max_result_bytes: As for `EmbeddedPlatform`.
        idempotency_key_ttl: As for `EmbeddedPlatform`.
    """

    def __init__(
        self,
        *,
        max_arg_bytes: int = 1024 * 1024,
        max_result_bytes: int = 16 * 1024 * 1024,
        idempotency_key_ttl: timedelta = timedelta(hours=24),
    ) -> None:
        super().__init__(
            ":memory:",
            max_arg_bytes=max_arg_bytes,
            max_result_bytes=max_result_bytes,
            idempotency_key_ttl=idempotency_key_ttl,
        )


@dataclass(frozen=True, slots=True)
class GraphQLResult:
    """The answer to an operation.

    Attributes:
        status: The HTTP status.
        data: What was asked for; None when nothing ran.
        errors: As in the response: each has a `message`, and mostly `extensions.code` and a `path`.
        extensions: As in the response, such as what became of idempotency keys.
    """

    status: int
    data: Any = None
    errors: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def codes(self) -> list[str]:
        """The stable code of each error."""
        return [error["extensions"]["code"] for error in self.errors]


class GraphQLClient:
    """Sends operations to an endpoint.

    Args:
        http: Sends the requests; its `base_url` and headers apply.
        path: Where the endpoint is.
    """

    def __init__(self, http: httpx.AsyncClient, path: str = "/graphql") -> None:
        self.http = http
        self.path = path

    async def execute(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        *,
        operation_name: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> GraphQLResult:
        """Run an operation and return the answer, with its errors."""
        body = {"query": query, "variables": variables, "operationName": operation_name}
        response = await self.http.post(self.path, json=body, headers=headers)
        answer = response.json()
        return GraphQLResult(
            response.status_code, answer.get("data"), answer.get("errors", ()), answer.get("extensions", {})
        )

    async def run(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Run an operation and return its data.

        Raises:
            AssertionError: It has errors.
        """
        result = await self.execute(query, variables)
        if result.errors:
            raise AssertionError(f"The operation has errors: {list(result.errors)}")
        return result.data


@asynccontextmanager
async def serve(asgi: ASGIApp, *, path: str = "/graphql") -> AsyncIterator[GraphQLClient]:
    """Run the lifespan of an ASGI app, and yield a client for it. No socket is opened.

    ```python
    async with serve(create_asgi(app, MemoryPlatform())) as client:
        data = await client.run('mutation { triggerOrderProcessing(orderId: "1") { workflowRunId } }')
    ```

    Raises:
        RuntimeError: The app did not start.
    """
    async with _lifespan(asgi):
        transport = httpx.ASGITransport(asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            yield GraphQLClient(http, path)


@asynccontextmanager
async def _lifespan(asgi: ASGIApp) -> AsyncIterator[None]:
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    app = asyncio.ensure_future(asgi(scope, to_app.get, from_app.put))
    await _next_event(to_app, from_app, app, "startup")
    try:
        yield
    finally:
        await _next_event(to_app, from_app, app, "shutdown")
        await app


async def _next_event(
    to_app: asyncio.Queue[Message], from_app: asyncio.Queue[Message], app: asyncio.Future[None], phase: str
) -> None:
    await to_app.put({"type": f"lifespan.{phase}"})
    answer = asyncio.ensure_future(from_app.get())
    both: set[asyncio.Future[Any]] = {answer, app}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        await app
        raise RuntimeError(f"The app ended at lifespan {phase}.")
    if answer.result()["type"] == f"lifespan.{phase}.failed":
        await app
        raise RuntimeError(answer.result().get("message") or f"Lifespan {phase} failed.")
