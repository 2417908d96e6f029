"""One process of the shop, traced: `api` serves GraphQL and executes nothing, `worker` executes.

It says on its output where it serves, or that it is ready, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from starlette.types import ASGIApp

from example_app.app import create_shop
from example_app.auth import authenticate_demo, policy, run_tokens
from example_app.settings import Settings
from gqlplugin import create_asgi
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.graphql.live import graphql_served


def trace_into(path: Path, role: str) -> None:
    """Export the spans of this process as lines of JSON, as an application would configure it: for the process."""
    out = path.open("a", encoding="utf-8")
    provider = TracerProvider(resource=Resource({"service.name": role}))
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=_line)))
    trace.set_tracer_provider(provider)


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


@asynccontextmanager
async def _worker(settings: Settings) -> AsyncIterator[str]:
    async with EmbeddedPlatform(settings.database) as platform, platform.execute(create_shop(settings)):
        yield "ready"


def _api(settings: Settings) -> ASGIApp:
    return create_asgi(
        create_shop(settings),
        EmbeddedPlatform(settings.database),
        authenticate=authenticate_demo,
        run_tokens=run_tokens,
        policy=policy,
        execute=False,
    )


async def main(role: str, directory: Path) -> None:
    """Be one of the two."""
    settings = Settings(database=directory / "shop.sqlite")
    trace_into(directory / f"{role}.jsonl", role)
    serving = graphql_served(_api(settings)) if role == "api" else _worker(settings)
    async with serving as where:
        print(where, flush=True)  # noqa: T201 - the test waits for it
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
