"""The processes that are killed while they relay, and the one whose commits they relay."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gqlplugin.app import define_app
from gqlplugin.database import relay as relay_module
from gqlplugin.database.definition import enter_wal, prepare
from gqlplugin.database.outbox import Start, add_start
from gqlplugin.database.relay import Relay
from gqlplugin.identity import executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import uuid7
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.workflow import create_workflow
from tests.crash.processes import MAX_RECOVERIES, context

APP = "crash-relay"
WORKFLOW = "on-change"
JOURNAL = "journal.sqlite"
READY = b"ready"
_RECORDS = 25
_LONGEST_WAIT_SECONDS = 0.02
_LONGEST_RUN_SECONDS = 0.01


@create_workflow_job(name="react")
async def react(input: list[int | str | None]) -> None:
    await asyncio.sleep(random.uniform(0, _LONGEST_RUN_SECONDS))  # noqa: S311 - not a secret


app = define_app(APP, workflows=[create_workflow(name=WORKFLOW, main_job=react)])


class Base(DeclarativeBase):
    """Of the table here."""


class Change(Base):
    """What was changed, in the order of the changes; each is to start one run."""

    __tablename__ = "change"

    n: Mapped[int] = mapped_column(primary_key=True)
    record: Mapped[str | None]
    run_id: Mapped[str]


class Process:
    """One of them, seen from the harness."""

    def __init__(self, target: Callable[..., None], *args: object) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *args))
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until it has opened what it works with."""
        assert self._connection.poll(60)
        assert self._connection.recv_bytes() == READY

    def kill(self) -> int | None:
        """Kill the process with SIGKILL; how it ended."""
        self._process.kill()
        self._process.join()
        exitcode = self._process.exitcode
        self._process.close()
        self._connection.close()
        return exitcode


async def open_engine(url: str) -> AsyncEngine:
    """Connect as `define_database` does."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        prepare(engine)
        await enter_wal(engine)
    return engine


def relay(connection: Connection, url: str, directory: str) -> None:
    """Relay, or stand by, for ever."""
    relay_module._POLL_SECONDS = 0.05  # take over soon
    asyncio.run(_relay(connection, url, Path(directory)))


async def _relay(connection: Connection, url: str, directory: Path) -> None:
    engine = await open_engine(url)
    platform = EmbeddedPlatform(directory / JOURNAL, max_recoveries=MAX_RECOVERIES)
    async with platform, platform.execute(app):
        connection.send_bytes(READY)
        await Relay(engine, APP, [WORKFLOW], platform).run()


def write(connection: Connection, url: str, n: int, seed: int) -> None:
    """Commit changes from a number on and roll some back, for ever, a few at a time."""
    asyncio.run(_write(connection, url, n, random.Random(seed)))  # noqa: S311 - to be repeated, not secret


async def _write(connection: Connection, url: str, n: int, dice: random.Random) -> None:
    engine = await open_engine(url)
    connection.send_bytes(READY)
    while True:
        async with AsyncSession(engine) as session:
            for _ in range(dice.randint(1, 4)):
                record = f"record {dice.randrange(_RECORDS)}" if dice.random() < 0.8 else None
                change = Change(n=n, record=record, run_id=uuid7())
                session.add(change)
                add_start(session, _start_of(change))
                n += 1
            await session.flush()
            if dice.random() < 0.25:
                await session.rollback()
            else:
                await session.commit()
        await asyncio.sleep(dice.uniform(0, _LONGEST_WAIT_SECONDS))


def _start_of(change: Change) -> Start:
    return Start(
        run_id=change.run_id,
        app=APP,
        workflow_name=WORKFLOW,
        arg=json.dumps([change.n, change.record]),
        caller=executor_user("on-change"),
        record=change.record,
    )
