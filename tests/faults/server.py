"""A platform server, a process of its own: `python -m tests.faults.server FILE PORT` serves until it is killed."""

import asyncio
import sys

from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.serving import run_server
from tests.faults.app import app
from tests.loopback import TOKEN

if __name__ == "__main__":
    _, path, port = sys.argv
    asyncio.run(
        run_server(create_server(app, EmbeddedPlatform(path), token=TOKEN), port=int(port), shutdown=asyncio.Event())
    )
