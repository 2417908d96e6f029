"""What speaks to the shop in the demo: a frontend, and a payment provider."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook


class DemoError(Exception):
    """The demo can't go on; the message says why."""


class Frontend:
    """What a web page does: sends operations to `/graphql`."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def send(
        self, query: str, variables: Mapping[str, object] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Run an operation and return its data.

        Raises:
            DemoError: The shop can't be reached, or answers with errors.
        """
        try:
            answer = self._http.post("/graphql", json={"query": query, "variables": variables}, headers=headers).json()
        except (httpx.HTTPError, ValueError) as error:
            raise DemoError(f"The shop does not answer: {error!r}") from error
        if answer.get("errors"):
            raise DemoError(f"The shop answers with errors: {answer['errors']}")
        return answer["data"]

    def is_answered(self) -> bool:
        """Whether the shop is up."""
        try:
            return self._http.post("/graphql", json={"query": "{ __typename }"}).is_success
        except httpx.HTTPError:
            return False


class PaymentProvider:
    """What tells the shop of payments, signed as Standard Webhooks has it.

    Args:
        http: Sends the requests.
        key: What the shop knows as SHOP_WEBHOOK_SECRET.
    """

    def __init__(self, http: httpx.Client, key: str) -> None:
        self._http = http
        self._key = key

    def tell(self, payment: Mapping[str, object]) -> httpx.Response:
        """Tell of a payment, and return the answer, which knows its request.

        Raises:
            DemoError: The shop can't be reached.
        """
        body, now, event = json.dumps(payment), datetime.now(UTC), f"evt-{secrets.token_hex(4)}"
        headers = {
            "content-type": "application/json",
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self._key).sign(event, now, body),
        }
        try:
            return self._http.post("/webhooks/payment-received", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise DemoError(f"The shop does not answer: {error!r}") from error


def new_signing_key() -> str:
    """A key for a shop and its provider."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
