"""Writes that outlive the requests that made them."""

import asyncio

import pytest

from gqlplugin.platform.tailor.server.served import Writes
from tests.abandoned import Failing, nothing_reported

pytestmark = pytest.mark.anyio


async def test_a_write_that_fails_after_its_client_has_left_is_not_reported() -> None:
    """Its error was for the client alone."""
    failing = Failing()
    with nothing_reported():
        await failing.outlive(Writes().finish(failing()))


async def test_writes_of_clients_that_have_left_are_waited_for() -> None:
    """Before the platform is closed under them."""
    writes, began, go_on, written = Writes(), asyncio.Event(), asyncio.Event(), []

    async def write() -> None:
        began.set()
        await go_on.wait()
        written.append("it")

    request = asyncio.create_task(writes.finish(write()))
    await began.wait()
    request.cancel()
    await asyncio.wait([request])
    ending = asyncio.create_task(writes.wait())
    go_on.set()
    await ending
    assert written == ["it"]
