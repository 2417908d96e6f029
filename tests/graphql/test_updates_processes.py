"""Following a run that another process executes, on the same file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.identity import User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.workflow import create_workflow
from tests.graphql.live import brief, connected, graphql_served

pytestmark = pytest.mark.anyio

STEPS = 5
WORKER = """
import asyncio, sys
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.graphql.test_updates_processes import stepping_app

async def main():
    async with EmbeddedPlatform(sys.argv[1]) as platform, platform.execute(stepping_app()):
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def stepping_app() -> App:
    """An app whose job takes a step whenever there is a file for it."""

    @create_workflow_job(name="step")
    async def step(number: int, ctx: JobContext) -> int:
        ctx.log.info("in step %s", number)
        return number

    @create_workflow_job(name="main-job")
    async def main(directory: str, ctx: JobContext) -> None:
        for number in range(STEPS):
            while not Path(directory, str(number)).exists():  # noqa: ASYNC110, ASYNC240 - from another process
                await asyncio.sleep(0.005)
            ctx.log.info("goes on")
            ctx.progress(number / STEPS)
            await step.trigger(number)

    return define_app("stepping", workflows=[create_workflow(name="stepping", main_job=main)], jobs=[step])


async def test_a_run_of_another_process_is_followed_live(tmp_path: Path) -> None:
    """Each line, progress and job comes while the run goes on; the next step begins when it has come."""
    path = tmp_path / "runs.sqlite"
    platform = EmbeddedPlatform(path)
    asgi = create_asgi(stepping_app(), platform, execute=False)
    async with graphql_served(asgi) as url, connected(url) as socket, asyncio.timeout(60):
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, str(path), stdin=asyncio.subprocess.PIPE
        )
        try:
            run_id = await platform.start_workflow("stepping", f'"{tmp_path}"', caller=User())
            updates = socket.follow(run_id)
            assert (await anext(updates))["changes"] == []
            lines: list[str] = []
            for number in range(STEPS):
                (tmp_path / str(number)).touch()
                while lines.count("main-job/step ends: SUCCESS") <= number:
                    lines += brief(await anext(updates))
            lines += [line async for update in updates for line in brief(update)]
        finally:
            assert worker.stdin is not None
            worker.stdin.close()
            await worker.wait()
    assert [line for line in lines if line.startswith("main-job/step: ")] == [
        f"main-job/step: in step {number}" for number in range(STEPS)
    ]
    assert lines.count("main-job: goes on") == STEPS
    assert lines.count("main-job/step starts") == lines.count("main-job/step ends: SUCCESS") == STEPS
    assert lines[-2:] == ["main-job ends: SUCCESS", "SUCCESS"]
