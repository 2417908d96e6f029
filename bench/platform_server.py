"""A platform server, a process of its own: `python -m bench.platform_server FILE` prints its URL and runs the jobs."""

from __future__ import annotations

import asyncio
import sys

from bench.shop import app
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.serving import run_server

TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - of a server on loopback
WORKSPACE = "11111111-2222-4333-8444-555555555555"


def main(path: str) -> None:
    """Serve a journal at a path."""

    async def serve() -> None:
        server = create_server(app, EmbeddedPlatform(path), token=TOKEN)
        await run_server(server, port=0, shutdown=asyncio.Event(), started=_tell)

    asyncio.run(serve())


def _tell(port: int) -> None:
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
