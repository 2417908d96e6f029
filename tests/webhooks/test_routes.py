"""From a request to a durable run, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi, lifespan, webhook_routes
from gqlplugin.errors import (
    FailedPreconditionError,
    OutcomeUnknownError,
    PlatformUnavailableError,
    UnsupportedError,
)
from gqlplugin.executor import IncomingWebhookArgs, create_executor, function_operation, incoming_webhook_trigger
from gqlplugin.platform.base import current_binding
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform, serve
from tests.webhooks.support import PATH_NEW, define_hooks, firings, hooks, signed, signed_json

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)
BY_PATH = f"/webhooks/by-path/{PATH_NEW}"


async def test_a_signed_request_fires_the_executor(platform: MemoryPlatform) -> None:
    """The main path: 204 with nothing in it, and the operation runs with the body as it was sent."""
    async with hooks(platform, execute=True) as http:
        response = await http.post("/webhooks/payment", **signed_json({"order_id": "o-1", "cents": 500}))
        assert (response.status_code, response.content) == (204, b"")
        (run,) = await firings(platform, "payment")
        async with asyncio.timeout(60):
            run = [state async for state in platform.watch(run.id)][-1]
    assert run.status == "SUCCESS"
    assert run.output is not None
    assert '"result":500' in run.output
    assert run.caller.id == "executor/payment"


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_four_methods_are_taken(http: httpx.AsyncClient, platform: MemoryPlatform, method: str) -> None:
    """With a signature and with a secret in the path."""
    assert (await http.request(method, "/webhooks/signed", headers=signed(""))).status_code == 204
    assert (await http.request(method, BY_PATH)).status_code == 204
    assert len(await firings(platform, "signed")) == len(await firings(platform, "by-path")) == 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_refused_alike(http: httpx.AsyncClient, platform: MemoryPlatform, method: str) -> None:
    """Whatever the name and the proof: what is there can't be found out with them."""
    paths = ["/webhooks/signed", "/webhooks/nobody", BY_PATH, "/webhooks/by-path/wrong", "/webhooks/nobody/x"]
    answers = [await http.request(method, path) for path in paths]
    assert {answer.status_code for answer in answers} == {405}
    assert {answer.headers["allow"] for answer in answers} == {"DELETE, GET, POST, PUT"}
    assert len({answer.content for answer in answers}) == 1
    assert not await firings(platform, "by-path")


async def test_there_are_no_headers_for_web_pages(http: httpx.AsyncClient) -> None:
    """A page in a browser has no business here."""
    response = await http.post(BY_PATH, headers={"origin": "https://shop.example"})
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith("access-control")]


class _Stamping:
    """Middleware that adds to the headers of an answer in place, as plain ASGI lets it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-stamp", b"1"))
            await send(message)

        await self._app(scope, receive, stamp)


async def test_middleware_does_not_pile_up_headers(platform: MemoryPlatform) -> None:
    """Each request has an answer of its own."""
    middleware = [Middleware(_Stamping)]
    async with serve(create_asgi(define_hooks(), platform, execute=False, middleware=middleware)) as client:
        for path in (BY_PATH, "/webhooks/nobody"):
            await client.http.post(path)
            assert (await client.http.post(path)).headers.get_list("x-stamp") == ["1"]


async def test_a_redelivery_starts_nothing_more(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """The same ID, signed anew and with other headers, is accepted: what it asks for is under way."""
    body = '{"a": 1}'
    for ago in (2 * MINUTE, MINUTE, 0 * MINUTE):
        headers = signed(body, ago=ago, x_attempt=str(ago), content_type="application/json")
        assert (await http.post("/webhooks/signed", content=body, headers=headers)).status_code == 204
    assert len(await firings(platform, "signed")) == 1
    # and the last one as it was sent
    assert (await http.post("/webhooks/signed", content=body, headers=headers)).status_code == 204
    assert len(await firings(platform, "signed")) == 1


@pytest.mark.parametrize("header", ["X-Delivery", "webhook-id", "Idempotency-Key"])
async def test_deliveries_with_a_secret_in_the_path_have_ids_too(
    http: httpx.AsyncClient, platform: MemoryPlatform, header: str
) -> None:
    """In the header that the trigger names, or one of those that are usual."""
    for delivery in ("d-1", "d-1", "d-2"):
        assert (await http.post(BY_PATH, headers={header: delivery})).status_code == 204
    assert len(await firings(platform, "by-path")) == 2


async def test_the_header_that_the_trigger_names_comes_first(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """Then `webhook-id`, then `idempotency-key`."""
    headers = {"x-delivery": "1", "webhook-id": "2", "idempotency-key": "3"}
    for name in list(headers):
        assert (await http.post(BY_PATH, headers=headers)).status_code == 204
        assert (await http.post(BY_PATH, headers={**headers, "x-attempt": "2"})).status_code == 204
        del headers[name]
    assert len(await firings(platform, "by-path")) == 3


async def test_requests_without_an_id_are_each_one_of_their_own(
    http: httpx.AsyncClient, platform: MemoryPlatform
) -> None:
    """Nothing says that two that look alike are the same."""
    for _ in range(2):
        assert (await http.post(BY_PATH, headers={"x-delivery": ""})).status_code == 204
    assert len(await firings(platform, "by-path")) == 2


async def test_long_ids_are_told_apart(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """Those that are longer than a key may be are hashed, not cut off."""
    for number in (1, 1, 2):
        assert (await http.post(BY_PATH, headers={"x-delivery": "d" * 255 + str(number)})).status_code == 204
    assert len(await firings(platform, "by-path")) == 2


async def test_two_executors_may_get_the_same_id(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """An ID is the executor's own."""
    for name in ("signed", "small"):
        assert (await http.post(f"/webhooks/{name}", **signed_json(1))).status_code == 204
        assert len(await firings(platform, name)) == 1


async def test_after_the_answer_the_run_is_in_the_file(tmp_path: Path) -> None:
    """Another platform on the same file, opened after the first is gone, finds the run and executes it."""
    path = tmp_path / "hooks.sqlite"
    async with hooks(EmbeddedPlatform(path)) as http:
        assert (await http.post("/webhooks/signed", **signed_json({"a": 1}))).status_code == 204
        async with EmbeddedPlatform(path) as beside:
            assert len(await firings(beside, "signed")) == 1
    async with EmbeddedPlatform(path) as after, after.execute(define_hooks()):
        (run,) = await firings(after, "signed")
        async with asyncio.timeout(60):
            run = [state async for state in after.watch(run.id)][-1]
    assert run.status == "SUCCESS"


async def test_one_delivery_to_two_processes_at_once_starts_one_run(tmp_path: Path) -> None:
    """Fifty requests with one ID, to two apps on one file: each is accepted, and one starts."""
    path = tmp_path / "hooks.sqlite"
    async with hooks(EmbeddedPlatform(path)) as one, hooks(EmbeddedPlatform(path)) as other:
        answers = await asyncio.gather(
            *(
                (one, other)[number % 2].post(
                    "/webhooks/signed", **signed_json({"a": 1}, ago=timedelta(seconds=number))
                )
                for number in range(50)
            )
        )
        assert {answer.status_code for answer in answers} == {204}
        async with EmbeddedPlatform(path) as beside:
            assert len(await firings(beside, "signed")) == 1


class FailingPlatform(MemoryPlatform):
    """Fails to start anything, with one error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error

    async def start_workflow(self, *args: Any, **options: Any) -> str:
        if self.error is not None:
            raise self.error
        return await super().start_workflow(*args, **options)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PlatformUnavailableError("very-private"), 503),
        (OutcomeUnknownError("very-private"), 503),
        (FailedPreconditionError("very-private"), 500),
        (UnsupportedError("very-private"), 500),
        (RuntimeError("very-private"), 500),
    ],
)
async def test_what_could_not_be_started_is_not_accepted(
    caplog: pytest.LogCaptureFixture, error: Exception, status: int
) -> None:
    """The sender is told that it may send again, and the operators why; then the same request is taken."""
    platform = FailingPlatform(error)
    async with hooks(platform) as http:
        request = signed_json(1)
        response = await http.post("/webhooks/signed", **request)
        assert response.status_code == status
        assert ("retry-after" in response.headers) == (status == 503)
        assert "very-private" not in response.text
        (record,) = [record for record in caplog.records if record.name == "gqlplugin.webhooks"]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        if status == 500:
            assert response.json()["message"].removeprefix("Internal error ").rstrip(".") in record.getMessage()
        platform.error = None
        assert (await http.post("/webhooks/signed", **request)).status_code == 204


async def test_an_app_of_ones_own_takes_the_routes() -> None:
    """In FastAPI, at another path; with its own answer to what is elsewhere."""
    platform = MemoryPlatform()
    app = define_hooks()
    api = FastAPI(lifespan=lifespan(app, platform, execute=False))
    api.router.routes.extend(webhook_routes(app, platform, path="/api/hooks/"))
    async with serve(api) as client:
        assert (await client.http.post(f"/api/hooks/by-path/{PATH_NEW}")).status_code == 204
        assert (await client.http.post("/api/hooks/signed", **signed_json(1))).status_code == 204
        assert (await client.http.post("/api/hooks/nobody")).json()["code"] == "NOT_FOUND"
        assert len(await firings(platform, "signed")) == 1


async def test_models_may_look_up_what_is_bound() -> None:
    """While a run is started the app and its platform are bound, and the caller is the executor."""
    seen: list[tuple[object, object, str]] = []

    class NotingPlatform(MemoryPlatform):
        async def start_workflow(self, *args: Any, **options: Any) -> str:
            binding = current_binding()
            seen.append((binding.platform, binding.definitions, binding.user.id))
            return await super().start_workflow(*args, **options)

    platform = NotingPlatform()
    app = define_hooks()
    async with serve(create_asgi(app, platform, execute=False)) as client:
        assert (await client.http.post(BY_PATH)).status_code == 204
    assert seen == [(platform, app, "executor/by-path")]


def _scope(path: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


@pytest.mark.parametrize("path", ["/webhooks/signed", BY_PATH])
async def test_a_client_that_goes_away_starts_nothing(platform: MemoryPlatform, path: str) -> None:
    """A request that is cut off is answered to nobody, whatever had come of it."""
    asgi = create_asgi(define_hooks(), platform, execute=False)
    events: list[Message] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return events.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with serve(asgi):
        await asgi(_scope(path, list(signed("x").items())), receive, send)
        assert not sent
        assert not await firings(platform, "signed")
        assert not await firings(platform, "by-path")


async def test_a_trigger_may_take_secrets_from_settings(caplog: pytest.LogCaptureFixture) -> None:
    """Such as pydantic's `SecretStr`; one that is of no use is told without its value."""
    from pydantic import SecretStr

    async def take(args: IncomingWebhookArgs[Any]) -> None:
        del args

    caplog.set_level(logging.DEBUG, "gqlplugin")
    app = define_app(
        "settings",
        executors=[
            create_executor(
                "good",
                trigger=incoming_webhook_trigger(path_secrets=[SecretStr(PATH_NEW)]),
                operation=function_operation(take),
            ),
            create_executor(
                "bad",
                trigger=incoming_webhook_trigger(path_secrets=[SecretStr("too-short"), secret("SHOP_PATH_OLD")]),
                operation=function_operation(take),
            ),
        ],
    )
    async with serve(create_asgi(app, MemoryPlatform(), execute=False)) as client:
        assert (await client.http.post(f"/webhooks/good/{PATH_NEW}")).status_code == 204
        assert (await client.http.post(f"/webhooks/bad/{PATH_NEW}")).status_code == 503
    assert "too-short" not in caplog.text.replace(str(client.http.base_url), "")
