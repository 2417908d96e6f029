"""A GraphQL server, a process of its own: `python -m tests.faults.graphql_server FILE FD [MARKER]`.

It serves on a socket that it inherits. With a marker, a file that is not there yet, it makes that file and kills itself
when it is about to answer its first request: what the request asked for is done by then, and nobody is told.
"""

import os
import signal
import sys
from pathlib import Path

import uvicorn
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.identity import User
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.resolver import ResolverContext, create_resolver
from tests.faults.app import numbered


class Number(BaseModel):
    number: int


@create_resolver(name="start", operation="mutation")
async def start(ctx: ResolverContext[Number]) -> str:
    return await numbered.trigger(ctx.input.number)


app = define_app("faults", workflows=[numbered], resolvers=[start])


def authenticate(_: HTTPConnection) -> User:
    """Everybody is Alice."""
    return User("alice", "user")


class DiesBeforeItsAnswer:
    """An ASGI app that kills its process instead of sending its first answer."""

    def __init__(self, asgi: ASGIApp, marker: Path) -> None:
        self._asgi = asgi
        self._marker = marker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dying(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._marker.exists():
                self._marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await self._asgi(scope, receive, dying)


if __name__ == "__main__":
    _, path, descriptor, *marker = sys.argv
    asgi: ASGIApp = create_asgi(app, EmbeddedPlatform(path), authenticate=authenticate)
    if marker:
        asgi = DiesBeforeItsAnswer(asgi, Path(marker[0]))
    uvicorn.run(asgi, fd=int(descriptor), log_level="warning", loop="asyncio")
