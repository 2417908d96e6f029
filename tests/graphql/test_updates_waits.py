"""Following runs that wait for an answer, and runs that are canceled."""

from __future__ import annotations

import asyncio

import pytest

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.identity import User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.graphql.live import PATIENCE_SECONDS, Update, brief, connected, graphql_served

pytestmark = pytest.mark.anyio

approval = define_wait_point("approval", payload=int, result=bool)


@create_workflow_job(name="prepare")
async def prepare() -> None:
    return None


@create_workflow_job(name="ask")
async def ask(input: int, ctx: JobContext) -> bool:
    ctx.log.info("before")
    await prepare.trigger()
    answer = await approval.wait(input)
    ctx.log.info("after")
    return answer


asking = create_workflow(name="asking", main_job=ask)


async def test_a_wait_is_told_once_and_its_job_goes_on_where_it_was() -> None:
    """The wait starts and ends as a job does; what was before it is not told again when the job is replayed."""
    platform = MemoryPlatform()
    async with graphql_served(create_asgi(define_app("asks", workflows=[asking]), platform)) as url:
        run_id = await platform.start_workflow("asking", "5", caller=User())
        async with connected(url) as socket, asyncio.timeout(PATIENCE_SECONDS):
            updates = socket.follow(run_id)
            until_then: list[Update] = [await anext(updates)]
            while until_then[-1]["run"]["status"] != "WAITING":
                until_then.append(await anext(updates))
            waiting = {job["stackedName"]: job for job in until_then[-1]["run"]["jobs"]}
            assert waiting["ask"]["status"] == "SUSPEND"
            assert waiting["ask/approval"]["isWaitPoint"]
            assert waiting["ask/approval"]["status"] == "WAITING"

            await platform.resolve(run_id, "approval", "true")
            afterwards = [change async for update in updates for change in brief(update)]
    told = [one for one in afterwards if one not in ("PENDING_RESUME", "RUNNING")]
    assert sorted(told[:2]) == ["ask/approval ends: SUCCESS", "ask: after"]  # told together in the order of a traversal
    assert told[2:] == ["ask ends: SUCCESS", "SUCCESS"]


async def test_a_canceled_run_ends_what_follows_it() -> None:
    """The end of a wait, of its job and of the run, all CANCELED; then the subscription completes."""
    platform = MemoryPlatform()
    async with graphql_served(create_asgi(define_app("asks", workflows=[asking]), platform)) as url:
        run_id = await platform.start_workflow("asking", "5", caller=User())
        async with connected(url) as socket, asyncio.timeout(PATIENCE_SECONDS):
            updates = socket.follow(run_id)
            while (await anext(updates))["run"]["status"] != "WAITING":
                pass
            await platform.cancel(run_id)
            afterwards = [change async for update in updates for change in brief(update)]
    assert afterwards == ["ask/approval ends: CANCELED", "ask ends: CANCELED", "CANCELED"]
