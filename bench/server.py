"""The server under load, a process of its own: `python -m bench.server PLATFORM` prints its port and serves.

One uvicorn process with uvloop and httptools. The platform is a file, and then the process also runs the jobs, or the
URL of a platform server.
"""

from __future__ import annotations

import socket
import sys
import time

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bench.platform_server import TOKEN, WORKSPACE
from bench.shop import app
from example_app.settings import tune_garbage_collection
from gqlplugin import create_asgi
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform

CPU_PATH = "/cpu"
BARE_PATH = "/bare"


async def _cpu(_: Request) -> PlainTextResponse:
    """The CPU time of this process so far, in seconds."""
    return PlainTextResponse(str(time.process_time()))


async def _bare(request: Request) -> Response:
    """The least that a route can do with a webhook: read its JSON."""
    await request.json()
    return Response(status_code=204)


def main(where: str) -> None:
    """Serve the shop on a platform."""
    remote = where.startswith("http")
    platform = TailorPlatform(where, token=TOKEN, workspace_id=WORKSPACE) if remote else EmbeddedPlatform(where)
    asgi = create_asgi(app, platform, routes=[Route(CPU_PATH, _cpu), Route(BARE_PATH, _bare, methods=["POST"])])
    tune_garbage_collection()  # as the example shop does; both peers are served by this process
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(asgi, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main(sys.argv[1])
