"""The routes of incoming webhooks."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gqlplugin.app import App
from gqlplugin.checks import firing_name
from gqlplugin.errors import (
    IdempotencyKeyReusedError,
    InvalidInputError,
    OutcomeUnknownError,
    PlatformUnavailableError,
    contained,
    log_internal_error,
)
from gqlplugin.executor.trigger import MAX_BODY_BYTES, IncomingWebhookTrigger
from gqlplugin.identity import executor_user
from gqlplugin.platform.base import Binding, Platform, bind
from gqlplugin.telemetry import starting
from gqlplugin.webhooks.request import (
    METHODS,
    RefusedRequestError,
    accepted,
    does_not_fit,
    internal,
    is_read,
    method_not_allowed,
    not_read,
    read_arguments,
    read_body,
    read_headers,
    too_large,
    too_large_to_keep,
    unavailable,
)
from gqlplugin.webhooks.signature import check_path_secret, check_signature, secret_problems

MAX_KEY_LENGTH = 255

_REDACTED = "redacted"

_logger = logging.getLogger("gqlplugin.webhooks")
_start_logger = logging.getLogger("gqlplugin.start")


def webhook_routes(app: App, platform: Platform, *, path: str = "/webhooks") -> list[BaseRoute]:
    """The routes of the executors that wait for requests, for an app of your own that also has the `lifespan`.

    ```python
    api = FastAPI(lifespan=lifespan(app, platform))
    api.router.routes.extend(webhook_routes(app, platform))
    ```

    Signed requests go to `{path}/{executor}`, those with a secret to `{path}/{executor}/{secret}`, by POST, GET, PUT or
    DELETE. They are answered with 204 once the run is durable, which then goes on by itself.

    Prefer signatures. They are good for minutes, and for one body; a secret in a path is good for all until it is
    changed, and lies in the logs of every proxy before this server. Here it is taken out of the ASGI scope before
    anything is answered, so that access logs that are written from that scope, such as uvicorn's, have `redacted` in
    its place; what traces requests, or logs them as they come in, has the path as it was sent.

    A signature does not cover the method, the query, nor other headers than `webhook-id` and `webhook-timestamp`: don't
    rely on those. The headers `svix-id`, `svix-timestamp` and `svix-signature` are taken for those of the same meaning.

    Args:
        app: The definitions.
        platform: Where the runs start.
        path: What the paths begin with.
    """
    path = path.rstrip("/")
    endpoint = WebhookApp(app, platform)
    # all that is below, with and without a slash at the end, which Starlette would redirect, and a server log
    return [Route(f"{path}/{{executor}}", endpoint), Route(f"{path}/{{executor}}/{{secret:path}}", endpoint)]


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A request that has proved who sent it.

    Attributes:
        key: The sender's ID of it, if it has one.
    """

    executor_name: str
    trigger: IncomingWebhookTrigger
    body: bytes
    key: str | None


class WebhookApp:
    """The endpoint of all incoming webhooks of an app, as an ASGI app for a `Route`.

    Args:
        app: The definitions.
        platform: Where the runs start.
    """

    def __init__(self, app: App, platform: Platform) -> None:
        self.app = app
        self.platform = platform
        self._triggers = _triggers_of(app)
        # before the proof one limit for all names: where it is would tell which of them there are
        self._max_signed_bytes = max(
            [
                MAX_BODY_BYTES,
                *(trigger.max_body_bytes for trigger in self._triggers.values() if trigger.signing_secrets),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        name, secret = _take_secret(scope)
        try:
            response = await self._answer(name, secret, scope, receive)
        except ClientDisconnect:
            return
        except RefusedRequestError as refused:
            response = refused.response()
        except BaseException as error:
            response = internal(log_internal_error(_logger, contained(error), "a webhook")).response()
        await response(scope, receive, send)

    async def _answer(self, name: str, secret: str | None, scope: Scope, receive: Receive) -> Response:
        if scope["method"] not in METHODS:
            raise method_not_allowed()
        headers = read_headers(scope)
        if scope["method"] == "GET":
            receive = _nothing
            headers.pop("content-length", None)
        if secret is None:
            delivery = await self._signed(name, headers, receive)
        else:
            delivery = await self._with_secret(name, secret, headers, receive)
        arg = await read_arguments(scope["method"], scope["query_string"], headers, delivery.body)
        try:
            delivery.trigger.read(arg)
        except ValidationError as error:
            raise (does_not_fit(error) if is_read(headers, delivery.body) else not_read()) from None
        await self._start(delivery, arg)
        return accepted()

    async def _with_secret(self, name: str, secret: str, headers: dict[str, str], receive: Receive) -> _Delivery:
        trigger = self._triggers.get(name)
        check_path_secret(name, trigger, secret)
        assert trigger is not None  # noqa: S101 - or it would have been refused
        body = await read_body(headers, receive, trigger.max_body_bytes)
        names = (trigger.delivery_header, "webhook-id", "svix-id", "idempotency-key")
        key = next((headers[header] for header in names if header is not None and headers.get(header)), None)
        return _Delivery(name, trigger, body, key)

    async def _signed(self, name: str, headers: dict[str, str], receive: Receive) -> _Delivery:
        trigger = self._triggers.get(name)
        body = await read_body(headers, receive, self._max_signed_bytes)
        delivery_id = check_signature(name, trigger, headers, body)
        assert trigger is not None  # noqa: S101 - or it would have been refused
        if len(body) > trigger.max_body_bytes:
            raise too_large(trigger.max_body_bytes)
        return _Delivery(name, trigger, body, delivery_id)

    async def _start(self, delivery: _Delivery, arg: str) -> None:
        caller, name = executor_user(delivery.executor_name), firing_name(delivery.executor_name)
        key = delivery.key
        if key is not None and len(key) > MAX_KEY_LENGTH:
            key = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
        try:
            with bind(Binding(self.platform, self.app, caller)), starting(name) as start:
                start.began(await self.platform.start_workflow(name, arg, caller=caller, idempotency_key=key))
        except IdempotencyKeyReusedError:
            # sent again, perhaps with other headers: what was started for the first one stands
            _logger.debug("A delivery to executor %r was known already", delivery.executor_name)
        except InvalidInputError as error:
            raise too_large_to_keep() from error
        except (PlatformUnavailableError, OutcomeUnknownError) as error:
            _logger.warning("%s for a webhook of executor %r", error.code, delivery.executor_name, exc_info=error)
            raise unavailable() from error


def check_secrets(app: App) -> None:
    """Log at the start of an app which secrets of its incoming webhooks can't be used, and why."""
    for name, trigger in _triggers_of(app).items():
        for problem in secret_problems(trigger):
            _start_logger.error("Executor %r can't take the webhooks that need one of its secrets: %s", name, problem)


def _triggers_of(app: App) -> dict[str, IncomingWebhookTrigger]:
    return {
        one.name: one.trigger
        for one in app.executors.values()
        if not one.disabled and isinstance(one.trigger, IncomingWebhookTrigger)
    }


def _take_secret(scope: Scope) -> tuple[str, str | None]:
    """The executor's name and the secret in the path, which the scope then holds no more."""
    parameters: dict[str, Any] = scope["path_params"]
    name: str = parameters["executor"]
    secret: str | None = parameters.get("secret")
    if secret is not None:
        scope["path_params"] = {**parameters, "secret": _REDACTED}
        scope["path"] = f"{scope['path'].removesuffix(secret)}{_REDACTED}"
        scope["raw_path"] = scope["path"].encode(errors="replace")
    return name, secret


async def _nothing() -> dict[str, Any]:
    """A body that is not there: that of a GET means nothing (RFC 9110, section 9.3.1)."""
    return {"type": "http.request", "body": b""}
