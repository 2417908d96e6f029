"""The shop's page: plain HTML, CSS and ES modules, served as they are."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes() -> list[BaseRoute]:
    """The page at `/`, and its files below `/page`."""
    return [Route("/", _page), Mount("/page", _Files(directory=STATIC))]


async def _page(_: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers=HEADERS)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: MutableMapping[str, object]) -> Response:
        response = await super().get_response(path, scope)
        MutableHeaders(raw=response.raw_headers).update(HEADERS)
        return response
