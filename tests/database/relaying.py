"""What the tests of the outbox and its relay share."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gqlplugin.database import relay as relay_module
from gqlplugin.database.outbox import Start, create_table, insert_starts, table
from gqlplugin.database.relay import Relay
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Platform, uuid7
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionFilter, WorkflowExecution

APP = "shop"
ALICE = User("alice", "user", attributes={"roles": ["clerk"]}, attribute_list=("a", "b"))
ROBOT = AuthInvoker("shop-auth", "robot")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A database with an outbox."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    yield engine
    await engine.dispose()


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is tried again soon."""
    monkeypatch.setattr(relay_module, "_SHORTEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(relay_module, "_LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 0.05)


def start_of(n: int, record: str | None = None, **others: Any) -> Start:
    """A start of `work` with a number as its argument."""
    values: dict[str, Any] = {
        "run_id": uuid7(),
        "app": APP,
        "workflow_name": "work",
        "arg": json.dumps(n),
        "caller": ALICE,
        "invoker": ROBOT,
        "record": record,
    }
    return Start(**(values | others))


async def write(engine: AsyncEngine, *starts: Start) -> None:
    """Commit starts to the outbox."""
    async with engine.begin() as connection:
        await connection.run_sync(insert_starts, starts)


async def rows_of(engine: AsyncEngine) -> list[Any]:
    """What is in the outbox."""
    async with engine.connect() as connection:
        return list(await connection.execute(select(table).order_by(table.c.seq)))


async def runs_of(platform: Platform) -> list[WorkflowExecution]:
    """Every run, in the order they were started."""
    page = await platform.list_executions(ExecutionFilter(), first=1000)
    return list(page.executions)[::-1]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what changes is in a database
            await asyncio.sleep(0.005)


async def until_empty(engine: AsyncEngine) -> None:
    """Wait until everything in the outbox is started."""

    async def is_empty() -> bool:
        async with engine.connect() as connection:
            return not await connection.scalar(select(func.count()).select_from(table))

    await until(is_empty)


@asynccontextmanager
async def relaying(
    engine: AsyncEngine, platform: Platform, startable: Iterable[str] = ("work",)
) -> AsyncIterator[Relay]:
    """A relay that runs while entered."""
    relay = Relay(engine, APP, list(startable), platform)
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Failing(EmbeddedPlatform):
    """A platform that notes what it is asked to start, and fails as it is told to."""

    def __init__(self, path: str = ":memory:") -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.failure: Callable[[str], Exception | None] = lambda arg: None

    async def start_workflow(self, name: str, arg: str, **options: Any) -> str:
        self.asked.append(arg)
        failure = self.failure(arg)
        if failure is not None:
            raise failure
        return await super().start_workflow(name, arg, **options)
