"""The route that probes ask whether a server can start runs."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gqlplugin.errors import GqlpluginError
from gqlplugin.platform.base import Platform
from gqlplugin.tasks import begin

_logger = logging.getLogger("gqlplugin.platform")

_PATIENCE_SECONDS = 5.0
_FRESH_SECONDS = 1.0


def health_routes(platform: Platform, *, path: str = "/healthz") -> list[BaseRoute]:
    """The route for the probes of Kubernetes and of load balancers: can this server start runs?

    It answers GET and HEAD with 200 and `{"status": "ok"}` or 503 and `{"status": "unavailable"}`. Anybody may ask;
    the reason is in the log only. The platform is asked at most once a second, however many probes there are.

    Args:
        platform: Where workflows start.
        path: Where the route is.
    """
    return [Route(path, _Health(platform).answer, methods=["GET"])]


class _Health:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._checking: asyncio.Task[bool] | None = None
        self._fresh_until = 0.0

    async def answer(self, _: Request) -> Response:
        loop = asyncio.get_running_loop()
        if self._checking is None or (self._checking.done() and loop.time() >= self._fresh_until):
            self._checking = begin(self._check())
        is_well = await asyncio.shield(self._checking)
        return JSONResponse(
            {"status": "ok" if is_well else "unavailable"},
            status_code=200 if is_well else 503,
            headers={"Cache-Control": "no-store"},
        )

    async def _check(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._platform.check_health()
        except (GqlpluginError, TimeoutError):
            return False
        except Exception:
            _logger.exception("The platform's health can't be checked")
            return False
        finally:
            self._fresh_until = asyncio.get_running_loop().time() + _FRESH_SECONDS
        return True
