"""What tests of users get."""

from typing import Self

import pytest
from starlette.types import Receive, Scope, Send

from gqlplugin.asgi import create_asgi
from gqlplugin.testing import MemoryPlatform, serve
from tests.graphql.shop import define_shop

pytestmark = pytest.mark.anyio


async def test_the_client_for_tests_tells_of_errors_and_of_a_failed_start() -> None:
    """`run` raises for errors; `serve` raises what the lifespan did."""
    async with serve(create_asgi(define_shop(), MemoryPlatform())) as client:
        with pytest.raises(AssertionError, match="nothing"):
            await client.run("{ nothing }")

    class Failing(MemoryPlatform):
        async def __aenter__(self) -> Self:
            raise LookupError("no disk")

    with pytest.raises(LookupError, match="no disk"):
        async with serve(create_asgi(define_shop(), Failing())):
            pass

    async def mute(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no luck"})

    for asgi, message in ((mute, "ended at lifespan startup"), (failing, "no luck")):
        with pytest.raises(RuntimeError, match=message):
            async with serve(asgi):
                pass
