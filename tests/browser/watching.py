"""What every page keeps to, whatever a test does with it."""

import json
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request

from tests.browser.shop import Shop

LOST = "Failed to load resource: net::ERR_"  # what Chromium itself says when the server is away


class Watched:
    """A page from its first request on."""

    def __init__(self, page: Page, shop: Shop) -> None:
        self._shop = shop
        self._errors: list[str] = []
        self._requests: list[Request] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self._errors.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._requests.append(request))  # noqa: PLW0108 - Playwright takes no built-in one

    def _note(self, message: ConsoleMessage) -> None:
        is_expected = self._shop.was_killed and message.text.startswith(LOST)
        if message.type in ("error", "warning") and not is_expected:  # violations of the policy are among them
            self._errors.append(message.text)

    def check(self) -> None:
        """No error in the console, no other host, and a key on every mutation."""
        assert self._errors == []
        assert [one.url for one in self._requests if not one.url.startswith(f"{self._shop.url}/")] == []
        assert len(self._requests) > 10
        for request in self._requests:
            if body_of(request).get("query", "").lstrip().startswith("mutation"):
                assert len(request.headers["idempotency-key"]) == 36, body_of(request)


def body_of(request: Request) -> dict[str, Any]:
    """What a request to the API says."""
    body: dict[str, Any] = json.loads(request.post_data or "{}")
    return body
