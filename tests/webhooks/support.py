"""An app with webhooks, and requests to them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from pydantic import BaseModel
from standardwebhooks import Webhook

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.executor import (
    IncomingWebhookArgs,
    create_executor,
    function_operation,
    incoming_webhook_trigger,
    schedule_trigger,
)
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter, WorkflowExecution
from gqlplugin.secret import secret
from gqlplugin.testing import serve

NEW = "whsec_" + base64.b64encode(b"the new key of 24 bytes!").decode()
OLD = base64.b64encode(b"the old key, also of some length").decode()
PATH_NEW = "path-secret-that-is-new-1"
PATH_OLD = "path-secret-that-is-old-2"
ENVIRONMENT = {
    "SHOP_SIGNING_NEW": NEW,
    "SHOP_SIGNING_OLD": OLD,
    "SHOP_PATH_NEW": PATH_NEW,
    "SHOP_PATH_OLD": PATH_OLD,
    "SHOP_NOT_BASE64": "whsec_" + "notbase4!!--" * 10,
    "SHOP_SHORT": "dG9vIHNob3J0",
}


class Payment(BaseModel):
    order_id: str
    cents: int


async def take(args: IncomingWebhookArgs[Any]) -> dict[str, Any]:
    return {"body": args.body, "method": args.method}


async def take_payment(args: IncomingWebhookArgs[Payment]) -> int:
    return args.body.cents


_SIGNED = (secret("SHOP_SIGNING_NEW"), secret("SHOP_SIGNING_OLD"))
_PATH = (secret("SHOP_PATH_NEW"), secret("SHOP_PATH_OLD"))


def define_hooks() -> App:
    """One executor of each sort that a request can meet."""
    anything = function_operation(take)
    return define_app(
        "hooks",
        executors=[
            create_executor(
                "signed", trigger=incoming_webhook_trigger(signing_secrets=_SIGNED), operation=function_operation(take)
            ),
            create_executor(
                "payment",
                trigger=incoming_webhook_trigger(body=Payment, signing_secrets=_SIGNED),
                operation=function_operation(take_payment),
            ),
            create_executor(
                "small",
                trigger=incoming_webhook_trigger(signing_secrets=_SIGNED, max_body_bytes=100),
                operation=anything,
            ),
            create_executor(
                "by-path",
                trigger=incoming_webhook_trigger(path_secrets=_PATH, delivery_header="X-Delivery", max_body_bytes=8192),
                operation=anything,
            ),
            create_executor(
                "payment-by-path",
                trigger=incoming_webhook_trigger(body=Payment, path_secrets=_PATH),
                operation=function_operation(take_payment),
            ),
            create_executor(
                "asleep",
                trigger=incoming_webhook_trigger(signing_secrets=_SIGNED),
                operation=anything,
                disabled=True,
            ),
            create_executor(
                "asleep-by-path",
                trigger=incoming_webhook_trigger(path_secrets=_PATH),
                operation=anything,
                disabled=True,
            ),
            create_executor(
                "nightly", trigger=schedule_trigger("0 2 * * *"), operation=function_operation(lambda args: None)
            ),
            *(
                create_executor(
                    f"{name}-secret", trigger=incoming_webhook_trigger(signing_secrets=given), operation=anything
                )
                for name, given in {
                    "unset": [secret("SHOP_UNSET")],
                    "half-set": [secret("SHOP_UNSET"), secret("SHOP_SIGNING_OLD")],
                    "not-base64": [secret("SHOP_NOT_BASE64")],
                    "short": [secret("SHOP_SHORT")],
                }.items()
            ),
            create_executor(
                "short-path-secret",
                trigger=incoming_webhook_trigger(path_secrets=[secret("SHOP_SHORT")]),
                operation=anything,
            ),
        ],
    )


def signed(
    body: bytes | str = b"",
    *,
    id: str = "msg_1",
    key: str = NEW,
    ago: timedelta = timedelta(0),
    **headers: str,
) -> dict[str, str]:
    """The headers with which the library that senders use signs a body."""
    at = datetime.now(UTC) - ago
    text = body if isinstance(body, str) else body.decode()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(key).sign(id, at, text),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


def signed_json(value: object, *, id: str = "msg_1", key: str = NEW, ago: timedelta = timedelta(0)) -> dict[str, Any]:
    """What `httpx.AsyncClient.post` takes to send a signed JSON value."""
    body = json.dumps(value)
    return {"content": body, "headers": signed(body, id=id, key=key, ago=ago, content_type="application/json")}


@asynccontextmanager
async def hooks(platform: Platform, *, execute: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app; without `execute` its runs wait, to be looked at."""
    async with serve(create_asgi(define_hooks(), platform, execute=execute)) as client:
        yield client.http


async def firings(platform: Platform, name: str) -> Sequence[WorkflowExecution]:
    """The firings of an executor, the newest first."""
    page = await platform.list_executions(ExecutionFilter(workflow_name=f"executor/{name}"), first=1000)
    return page.executions


async def arguments(platform: Platform, name: str) -> dict[str, Any]:
    """The arguments of the only firing of an executor."""
    (run,) = await firings(platform, name)
    found: dict[str, Any] = json.loads(run.input)
    return found
