"""What the tests of the embedded platform share."""

import asyncio
import logging
import os
import resource
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from gqlplugin.app import define_app
from gqlplugin.identity import User
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.workflow import Workflow, create_workflow

ROOT = Path(__file__).parents[3]

ALICE = User("alice", "user")


@create_workflow_job(name="process-id")
async def process_id() -> int:
    return os.getpid()


@create_workflow_job(name="who-ran-it")
async def who_ran_it(input: str) -> list[Any]:
    """Tells which process ran its first job and which its last; the other process never gets to the last."""
    first = await process_id.trigger()
    if input == "hold" and OTHER_PROCESS:
        await asyncio.Event().wait()
    return [first, os.getpid()]


@create_workflow_job(name="breaks-in-the-other")
async def breaks_in_the_other() -> int:
    if OTHER_PROCESS:
        raise RuntimeError
    return os.getpid()


OTHER_PROCESS = "--other-process" in sys.argv

who = create_workflow(name="who-ran-it", main_job=who_ran_it)
breaks = create_workflow(name="breaks-in-the-other", main_job=breaks_in_the_other)
app = define_app("two-processes", workflows=[who, breaks])


@asynccontextmanager
async def executing(platform: EmbeddedPlatform, *workflows: Workflow[Any, Any]) -> AsyncIterator[None]:
    """The platform entered, and executing an app of these workflows."""
    async with platform, platform.execute(define_app("embedded", workflows=workflows)):
        yield


def workflow_of(main_job: WorkflowJob[Any, Any], **options: Any) -> Workflow[Any, Any]:
    """A workflow of a job."""
    return create_workflow(name="the-workflow", main_job=main_job, **options)


def query(path: Path, sql: str, *values: object) -> list[Any]:
    """What a file says, read beside the platform."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


@contextmanager
def logged(level: int = logging.INFO) -> Iterator[list[str]]:
    """What the platform logs within this block."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("gqlplugin.embedded"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open no file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def serve(path: str) -> None:
    """What the other process does: execute until it is killed."""
    async with EmbeddedPlatform(path) as platform, platform.execute(app):
        print("ready", flush=True)  # noqa: T201 - the test waits for it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
