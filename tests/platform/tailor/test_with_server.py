"""The client and gqlplugin's own server together, with a platform in memory behind: nothing is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import httpx
import pytest

from gqlplugin.auth import define_auth
from gqlplugin.errors import (
    FailedPreconditionError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    JobFailedError,
    NotFoundError,
    PlatformCredentialsError,
    UnsupportedError,
)
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Definitions
from gqlplugin.platform.tailor import ApplicationInfo, TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, JobExecution, JobStatus
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, BOB, EVERYTHING, all_runs, app_of, ended, in_status, jobs_of, until
from tests.platform.tailor.fake import RUN, TOKEN, WORKSPACE

pytestmark = pytest.mark.anyio

auth = define_auth("my-auth", Literal["manager"], attributes={"manager": {"role": "MANAGER"}})
release = asyncio.Event()
tries: list[int] = []


@create_workflow_job(name="print-label")
async def print_label(input: str, ctx: JobContext) -> str:
    ctx.log.info("printing %s", input)
    ctx.log.info("done")
    return input.upper()


@create_workflow_job(name="ship-order")
async def ship_order(input: str, ctx: JobContext) -> list[str]:
    ctx.progress(0.5, "half-way")
    return [await print_label.trigger(input), await print_label.trigger("b")]


@create_workflow_job(name="fail-twice")
async def fail_twice() -> int:
    tries.append(1)
    if len(tries) < 3:
        raise JobFailedError("out of paper")
    return len(tries)


@create_workflow_job(name="wait-inside")
async def wait_inside() -> None:
    await release.wait()


@create_workflow_job(name="wait-here")
async def wait_here() -> None:
    await wait_inside.trigger()


def only_managers(user: User, invoker: AuthInvoker | None) -> bool:
    return invoker is not None


APP = app_of(
    create_workflow(name="ship", main_job=ship_order),
    create_workflow(name="failing", main_job=fail_twice),
    create_workflow(name="waiting", main_job=wait_here),
    auth=auth,
)


@asynccontextmanager
async def serving(app: Definitions = APP, *, extensions: bool = True, **options: Any) -> AsyncIterator[TailorPlatform]:
    """A client of a server of its own."""
    tries.clear()
    release.clear()
    server = create_server(app, MemoryPlatform(), token=TOKEN, extensions=extensions)
    given: dict[str, Any] = {
        "token": TOKEN,
        "workspace_id": WORKSPACE,
        "poll_interval": timedelta(milliseconds=5),
        "max_poll_interval": timedelta(milliseconds=20),
        "transport": httpx.ASGITransport(server),
    }
    async with server.router.lifespan_context(server), TailorPlatform("http://tailor.test", **(given | options)) as one:
        yield one


async def test_a_run_comes_back_as_it_is_kept() -> None:
    """Caller, invoker, input, output, progress and times of a run reach the client."""
    async with serving() as platform:
        run_id = await platform.start_workflow("ship", '"a"', caller=ALICE, invoker=auth.invoker("manager"))
        run = await ended(platform, run_id)
    assert (run.id, run.workflow_name, run.status) == (run_id, "ship", ExecutionStatus.SUCCESS)
    assert (run.input, run.output) == ('"a"', '["A","B"]')
    assert (run.caller, run.invoker, run.error) == (ALICE, auth.invoker("manager"), None)
    assert run.progress is not None
    assert (run.progress.fraction, run.progress.message) == (0.5, "half-way")
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.created_at <= run.started_at <= run.finished_at


async def test_jobs_come_back_as_they_are_kept() -> None:
    """Places, inputs, results and logs are those of the platform behind, and so are the IDs."""
    async with serving() as platform:
        run_id = await platform.start_workflow("ship", '"a"', caller=User())
        await ended(platform, run_id)
        jobs = (await platform.get_jobs([run_id, RUN]))[run_id]
        assert [await platform.get_job(job.id) for job in jobs] == jobs
        with pytest.raises(NotFoundError):
            await platform.get_job(RUN)
    assert [job.place for job in jobs] == ["0", "0.0", "0.1"]
    assert [job.given_id for job in jobs] == [None] * 3
    assert [(job.input, job.result) for job in jobs] == [('"a"', '["A","B"]'), ('"a"', '"A"'), ('"b"', '"B"')]
    assert [line.partition("INFO ")[2] for line in jobs[1].logs] == ["printing a", "done"]
    assert jobs[1].stacked_name == "ship-order/print-label"


async def test_a_job_that_waits_is_told_from_a_busy_one() -> None:
    """SUSPEND and RUNNING are told apart, by whatever way a job is asked for."""
    async with serving() as platform:
        run_id = await platform.start_workflow("waiting", "null", caller=User())
        await in_status(platform, run_id, ExecutionStatus.RUNNING)

        async def both() -> dict[str, JobExecution] | None:
            found = await jobs_of(platform, run_id)
            return found if len(found) == 2 else None

        jobs = await until(both)
        assert jobs is not None
        seen = [(await platform.get_job(job.id)).status for job in jobs.values()]
        release.set()
        await ended(platform, run_id)
    assert seen == [job.status for job in jobs.values()] == [JobStatus.SUSPEND, JobStatus.RUNNING]


async def test_a_failed_run_is_resumed() -> None:
    """A failure is told with its code and words, and a resume runs it again; a run that did not fail is refused."""
    async with serving() as platform:
        run_id = await platform.start_workflow("failing", "null", caller=User())
        for _ in range(2):
            run = await ended(platform, run_id)
            assert run.error is not None
            assert (run.error.code, run.error.message) == ("JOB_FAILED", "out of paper")
            assert run.error.detail is not None
            await platform.resume(run_id)
        assert (await ended(platform, run_id)).output == "3"
        with pytest.raises(FailedPreconditionError):
            await platform.resume(run_id)
        with pytest.raises(NotFoundError):
            await platform.resume(RUN)


@pytest.mark.parametrize("key", ["plain", "\0", "é" * 255, "\U0001f600" * 255, " a ", "k" * 255])
async def test_keys_work_through_the_server(key: str) -> None:
    """The same key of one caller is one run, another caller's is another, and another request is refused."""
    async with serving() as platform:

        async def start(arg: str, caller: User) -> str:
            return await platform.start_workflow("ship", arg, caller=caller, idempotency_key=key)

        ids = await asyncio.gather(*(start('"a"', ALICE) for _ in range(10)))
        assert len(set(ids)) == 1
        assert await start('"a"', BOB) != ids[0]
        with pytest.raises(IdempotencyKeyReusedError):
            await start('"b"', ALICE)
        assert len(await all_runs(platform)) == 2


async def test_what_the_server_refuses_is_told_in_its_words() -> None:
    """Arguments that don't fit, an unknown machine user and a missing permission are refused as in-process."""
    guarded = create_workflow(name="guarded", main_job=print_label, permission=only_managers)
    async with serving(app_of(guarded, auth=auth)) as platform:
        with pytest.raises(InvalidInputError, match="string"):
            await platform.start_workflow("guarded", "1", caller=ALICE, invoker=auth.invoker("manager"))
        with pytest.raises(InvalidInputError, match="nobody"):
            await platform.start_workflow("guarded", '"a"', caller=ALICE, invoker=AuthInvoker("my-auth", "nobody"))
        with pytest.raises(ForbiddenError):
            await platform.start_workflow("guarded", '"a"', caller=ALICE)
        with pytest.raises(NotFoundError, match="no-such"):
            await platform.start_workflow("no-such", '"a"', caller=ALICE)
        assert await all_runs(platform) == []


@pytest.mark.parametrize("extensions", [True, False])
async def test_listing_goes_on_from_any_run(extensions: bool) -> None:
    """With and without extensions every cursor continues exactly, whatever the filter."""
    async with serving(extensions=extensions) as platform:
        ids = [await platform.start_workflow("ship", '"a"', caller=ALICE) for _ in range(5)][::-1]
        for run_id in ids:
            await ended(platform, run_id)
        for where in (
            EVERYTHING,
            ExecutionFilter(workflow_name="ship", status=ExecutionStatus.SUCCESS),
            *([ExecutionFilter(caller_id="alice")] if extensions else []),
        ):
            page = await platform.list_executions(where, first=3)
            assert [run.id for run in page.executions] == ids[:3]
            for index, cursor in enumerate(page.cursors, 1):
                rest = await platform.list_executions(where, first=10, after=cursor)
                assert [run.id for run in rest.executions] == ids[index:]
                assert not rest.has_next
        for where in (ExecutionFilter(workflow_name="failing"), ExecutionFilter(status=ExecutionStatus.WAITING)):
            assert await all_runs(platform, where) == []


async def test_a_cursor_of_another_listing_is_refused() -> None:
    """A cursor belongs to its filter."""
    async with serving() as platform:
        for _ in range(2):
            await platform.start_workflow("ship", '"a"', caller=ALICE)
        page = await platform.list_executions(EVERYTHING, first=1)
        with pytest.raises(InvalidInputError, match="cursor"):
            await platform.list_executions(ExecutionFilter(workflow_name="ship"), first=1, after=page.cursors[0])


async def test_the_bare_contract_is_enough() -> None:
    """Without extensions runs are started, followed, resumed and shown, with results and logs."""
    async with serving(extensions=False) as platform:
        run_id = await platform.start_workflow("ship", '"a"', caller=ALICE, invoker=auth.invoker("manager"))
        run = await ended(platform, run_id)
        jobs = (await platform.get_jobs([run_id]))[run_id]
        failing = await platform.start_workflow("failing", "null", caller=ALICE)
        failed = await ended(platform, failing)
        failed_jobs = await jobs_of(platform, failing)
        for _ in range(2):
            await ended(platform, failing)
            await platform.resume(failing)
        assert (await ended(platform, failing)).output == "3"
        for refused in (
            platform.get_job(jobs[0].id),
            platform.list_executions(ExecutionFilter(caller_id="alice"), first=1),
            platform.start_workflow("ship", '"a"', caller=ALICE, idempotency_key="k"),
        ):
            with pytest.raises(UnsupportedError):
                await refused
    assert (run.output, run.input, run.caller) == ('["A","B"]', "null", User())
    assert [(job.place, job.result) for job in jobs] == [("0", '["A","B"]'), ("0.0", '"A"'), ("0.1", '"B"')]
    assert [line.partition("INFO ")[2] for line in jobs[1].logs] == ["printing a", "done"]
    assert failed.error is not None
    assert failed.error.message == "Job 'fail-twice' failed."
    error = failed_jobs["fail-twice"].error
    assert error is not None
    assert error.detail is not None
    assert "out of paper" in error.detail


async def test_the_catalog_is_the_apps() -> None:
    """Workflows, the application and its machine users are those of the definitions."""
    async with serving() as platform:
        assert [one.name for one in await platform.list_workflows()] == ["failing", "ship", "waiting"]
        ship = await platform.get_workflow("ship")
        assert (ship.main_job, set(ship.job_functions)) == ("ship-order", {"ship-order", "print-label"})
        application = ApplicationInfo("contract", "my-auth", "http://tailor.test")
        assert await platform.list_applications() == [application]
        assert await platform.get_application("contract") == application
        [manager] = await platform.list_machine_users("my-auth")
        assert (manager.name, manager.attributes) == ("manager", {"role": "MANAGER"})
        for missing in (platform.get_application("x"), platform.list_machine_users("other-auth")):
            with pytest.raises(NotFoundError):
                await missing


async def test_a_wrong_token_is_refused() -> None:
    """The server's 401 is our own credentials' problem, not the caller's."""
    async with serving(token="another-token-than-that") as platform:  # noqa: S106
        with pytest.raises(PlatformCredentialsError):
            await platform.start_workflow("ship", '"a"', caller=ALICE)
