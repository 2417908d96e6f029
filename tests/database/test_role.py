"""The role of relaying: one process has it, and a child that it forked does not keep it."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from gqlplugin.database.relay import relaying
from tests.platform.embedded.support import ROOT

pytestmark = pytest.mark.anyio

_RELAY_AND_FORK = """
import asyncio, os, sys, time
from sqlalchemy.ext.asyncio import create_async_engine
from gqlplugin.database.relay import relaying

async def main():
    async with create_async_engine(sys.argv[1]).connect() as connection:
        async with relaying(connection, "shop") as is_ours:
            if not (child := os.fork()):
                time.sleep(600)
            print(is_ours, child, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_forked_child_does_not_keep_the_role(database_url: str) -> None:
    """When the process that relays is killed, another one takes over though a child of the first lives on."""
    script = [sys.executable, "-c", _RELAY_AND_FORK, database_url]
    first = subprocess.Popen(script, stdout=subprocess.PIPE, cwd=ROOT)  # noqa: ASYNC220 - the child has the pipe, too
    assert first.stdout is not None
    is_ours, child = (await asyncio.to_thread(first.stdout.readline)).split()
    engine = create_async_engine(database_url)
    try:
        assert is_ours == b"True"
        async with engine.connect() as connection, relaying(connection, "shop") as taken:
            assert not taken
        first.kill()
        await asyncio.to_thread(first.wait)
        os.kill(int(child), 0)  # it is there
        async with asyncio.timeout(30):
            while True:
                async with engine.connect() as connection, relaying(connection, "shop") as taken:
                    if taken:
                        break
                await asyncio.sleep(0.01)
    finally:
        os.kill(int(child), signal.SIGKILL)
        first.kill()
        first.wait()
        first.stdout.close()
        await engine.dispose()
