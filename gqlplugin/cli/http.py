"""Serving an ASGI app with uvicorn."""

from __future__ import annotations

import os
from contextlib import suppress
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from gqlplugin.bounded_http import BoundedHttp


class Server(uvicorn.Server):
    """Ends in good order at the first signal, and where it stands at the second, which the journal bears."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self.should_exit:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


def serve_http(asgi: ASGIApp, *, host: str, port: int) -> bool:
    """Serve an app until a signal comes; says whether it could be served."""
    server = Server(uvicorn.Config(asgi, host=host, port=port, http=BoundedHttp))
    with suppress(KeyboardInterrupt, SystemExit):  # the signal again, once all is done; or what it has logged
        server.run()
    return server.started
