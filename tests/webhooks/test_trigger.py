"""Defining what waits for requests."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import (
    IncomingWebhookArgs,
    IncomingWebhookTrigger,
    create_executor,
    function_operation,
    incoming_webhook_trigger,
)
from gqlplugin.secret import secret
from tests.webhooks.support import NEW, Payment

SECRETS = [secret("SHOP_SECRET")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "anybody could send"),
        ({"path_secrets": SECRETS, "signing_secrets": SECRETS}, "path_secrets= or signing_secrets="),
        ({"path_secrets": SECRETS, "max_body_bytes": 0}, "max_body_bytes of at least 1"),
        ({"path_secrets": SECRETS, "delivery_header": "x delivery"}, "'x delivery' is no name of a header"),
        ({"path_secrets": SECRETS, "delivery_header": ""}, "'' is no name of a header"),
        ({"signing_secrets": SECRETS, "delivery_header": "x-delivery"}, "covers webhook-id alone"),
    ],
)
def test_a_trigger_that_could_not_be_relied_upon_is_refused(arguments: dict[str, Any], problem: str) -> None:
    """The message says what is wrong, and where."""
    with pytest.raises(DefinitionError, match=problem) as caught:
        incoming_webhook_trigger(**arguments)
    assert "test_trigger.py" in str(caught.value)


def test_a_trigger_shows_no_secret() -> None:
    """Neither in what it says of itself nor as it is printed."""
    trigger = incoming_webhook_trigger(signing_secrets=SECRETS)
    assert isinstance(trigger, IncomingWebhookTrigger)
    assert trigger.detail == "signed requests"
    assert NEW not in repr(vars(trigger))
    assert incoming_webhook_trigger(path_secrets=SECRETS).detail == "requests with a secret in the path"


def test_the_body_is_read_as_the_model() -> None:
    """Condition and operation get one, not a dict."""
    trigger = incoming_webhook_trigger(body=Payment, path_secrets=SECRETS)
    text = '{"body": {"order_id": "o-1", "cents": "5"}, "headers": {}, "method": "POST", "raw_body": ""}'
    assert trigger.read(text) == IncomingWebhookArgs[Payment](
        body=Payment(order_id="o-1", cents=5), headers={}, method="POST", raw_body=""
    )


def test_a_model_that_is_not_complete_is_told_at_the_start() -> None:
    """Not with the first request."""

    class Incomplete(BaseModel):
        part: NowhereDefined  # type: ignore[name-defined]  # noqa: F821 - the mistake that is looked for

    executor = create_executor(
        "incomplete",
        trigger=incoming_webhook_trigger(body=Incomplete, path_secrets=SECRETS),
        operation=function_operation(lambda args: args.method),
    )
    with pytest.raises(DefinitionError, match="executor 'incomplete' waits for a body that can't be read from JSON"):
        define_app("shop", executors=[executor])
