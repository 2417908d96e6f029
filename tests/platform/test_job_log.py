"""What a job logs and prints, and what becomes of it."""
# ruff: noqa: T201 - jobs print here

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gqlplugin import (
    App,
    JobContext,
    User,
    create_asgi,
    create_executor,
    create_workflow,
    create_workflow_job,
    define_app,
    define_wait_point,
    function_operation,
    schedule_trigger,
)
from gqlplugin.checks import firing_name
from gqlplugin.platform.job_log import JobLog
from gqlplugin.runs import ExecutionStatus, JobExecution
from gqlplugin.testing import MemoryPlatform, serve

pytestmark = pytest.mark.anyio


def app_of(body: Callable[..., Any], *, capture_print: bool = False) -> App:
    """An app of one workflow, whose main job has this body."""
    job = create_workflow_job(name="main-job")(body)
    return define_app("app", workflows=[create_workflow(name="one", main_job=job)], capture_print=capture_print)


async def job_of(platform: MemoryPlatform, run_id: str) -> JobExecution:
    """The main job of a run that must succeed, once it has ended."""
    async with asyncio.timeout(30):
        runs = [run async for run in platform.watch(run_id)]
    assert runs[-1].status is ExecutionStatus.SUCCESS, runs[-1].error
    return (await platform.get_jobs([run_id]))[run_id][0]


async def logged(body: Callable[..., Any], arg: Any = None, *, capture_print: bool = False) -> list[str]:
    """The log of a job, without the times."""
    app = app_of(body, capture_print=capture_print)
    async with MemoryPlatform() as platform, platform.execute(app):
        job = await job_of(platform, await app.workflows["one"].trigger(arg))
    return [line.split(" ", 1)[1] for line in job.logs]


class Unprintable:
    """Raises wherever it is shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("100%",), "100%"),
        (("%s is %d%%", "it", 5), "it is 5%"),
        (("order %(id)s", {"id": 1}), "order 1"),
        (("%s", {}), "{}"),
        ((ValueError("an object"),), "an object"),
        (("%d items", "three"), "%d items with arguments ('three',) (not formatted: TypeError("),
        (("no place", 1), "no place with arguments (1,) (not formatted: TypeError("),
        (("%s", ), "%s"),
        (("%s and %s", 1), "%s and %s with arguments (1,) (not formatted: TypeError("),
        (("%(id)s", {"no": 1}), "%(id)s with arguments {'no': 1} (not formatted: KeyError('id'))"),
        (("%y", 1), "%y with arguments (1,) (not formatted: ValueError("),
        (("%s", Unprintable()), "%s with arguments <tuple> (not formatted: ZeroDivisionError())"),
        ((Unprintable(),), "<Unprintable> with arguments () (not formatted: ZeroDivisionError())"),
        (("caf\udce9 %s", "\ud800"), r"caf\udce9 \ud800"),
    ],
)  # fmt: skip
async def test_no_format_fails_a_job(given: tuple[object, ...], shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """A line is logged as `logging` would log it, and one that can't be formatted with its arguments."""

    async def body(_: None, ctx: JobContext) -> None:
        ctx.log.warning(*given)

    [line] = await logged(body)
    assert line.startswith(f"WARNING {shown}")
    [record] = [one for one in caplog.records if one.name == "gqlplugin.jobs"]
    assert record.getMessage().encode(errors="backslashreplace").decode().startswith(shown)


async def test_a_traceback_stays_with_the_run() -> None:
    """`exception`, `exc_info=` and `stack_info=` add to the line what they add in `logging`."""

    async def body(_: None, ctx: JobContext) -> None:
        try:
            raise LookupError("no such order")
        except LookupError as error:
            ctx.log.exception("failed %d", 1)
            caught = error
        ctx.log.info("again", exc_info=caught)
        ctx.log.info("as a tuple", exc_info=(LookupError, caught, None))
        ctx.log.info("here", stack_info=True)
        ctx.log.info("nothing", exc_info=False)

    by_exception, by_error, by_tuple, by_stack, plain = await logged(body)
    assert by_exception.startswith("ERROR failed 1\nTraceback (most recent call last):\n")
    assert by_exception.endswith("\nLookupError: no such order")
    assert by_error.startswith("INFO again\nTraceback (most recent call last):\n")
    assert by_tuple == "INFO as a tuple\nTraceback (most recent call last):\nLookupError: no such order"
    assert by_stack.startswith("INFO here\nStack (most recent call last):\n")
    assert 'ctx.log.info("here", stack_info=True)' in by_stack
    assert plain == "INFO nothing"


async def test_a_traceback_is_not_for_clients() -> None:
    """GraphQL shows the message of a line, and not what `logging` adds of the code."""

    async def body(_: None, ctx: JobContext) -> None:
        try:
            try:
                raise LookupError("SELECT secret")
            except LookupError as cause:
                raise ExceptionGroup("several", [ValueError("secret")]) from cause
        except ExceptionGroup as group:
            ctx.log.exception("failed:\ntwice")
            ctx.log.error("failed", exc_info=group.exceptions[0])
        ctx.log.error("failed", exc_info=ValueError("secret"), stack_info=True)
        ctx.log.error("Traceback (most recent call last): of what?")

    app = app_of(body)
    query = "query ($id: ID!) { workflowRun(id: $id) { jobs { logs } } }"
    async with MemoryPlatform() as platform, serve(create_asgi(app, platform)) as client:
        run_id = await app.workflows["one"].trigger(None)
        await job_of(platform, run_id)
        answer = await client.execute(query, {"id": run_id})
    lines = answer.data["workflowRun"]["jobs"][0]["logs"]
    assert [line.split(" ", 1)[1] for line in lines] == [
        "ERROR failed:\ntwice", "ERROR failed", "ERROR failed", "ERROR Traceback (most recent call last): of what?",
    ]  # fmt: skip


async def test_the_record_is_that_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers get one record per line, with the caller's place, its `extra`, and the run and the job."""
    caplog.set_level(logging.DEBUG, "gqlplugin.jobs")

    def helper(log: JobLog) -> None:
        log.log(logging.DEBUG, "from a helper", stacklevel=2)

    async def body(_: None, ctx: JobContext) -> str:
        ctx.log.info("order %(id)s", {"id": 1}, extra={"order": 1})
        helper(ctx.log)
        return ctx.run_id

    assert await logged(body) == ["INFO order 1", "DEBUG from a helper"]
    first, second = [one for one in caplog.records if one.name == "gqlplugin.jobs"]
    assert (first.message, first.funcName, first.pathname) == ("order 1", "body", __file__)
    assert vars(first)["order"] == 1
    assert vars(first)["workflow"] == vars(second)["workflow"] == "one"
    assert vars(first)["run_id"] == vars(second)["run_id"]
    assert second.funcName == "body"


async def test_a_line_below_the_level_of_the_logger_stays_with_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """The job's own log has every level, and handlers get what the logger lets through."""
    caplog.set_level(logging.WARNING, "gqlplugin.jobs")

    async def body(_: None, ctx: JobContext) -> None:
        ctx.log.debug("details")

    assert await logged(body) == ["DEBUG details"]
    assert not [one for one in caplog.records if one.name == "gqlplugin.jobs"]


async def test_print_goes_to_the_log_of_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    """Jobs that run at once, async or plain, have each their own lines; what is printed elsewhere is printed."""
    together = asyncio.Barrier(3)

    @create_workflow_job(name="plain-job")
    def plain(n: int) -> None:
        for part in ("plain", " ", str(n)):
            sys.stdout.write(part)
        print()

    @create_workflow_job(name="main-job")
    async def main(n: int) -> None:
        print("job", n, end=" ", flush=True)
        await together.wait()
        print("begins\nand", end="")
        await together.wait()
        sys.stdout.writelines([" goes", " on\n"])
        print("to standard error", file=sys.stderr)
        await asyncio.to_thread(print, "thread", n)
        await plain.trigger(n)
        print("no end of line", end="")

    workflow = create_workflow(name="one", main_job=main)
    app = define_app("app", workflows=[workflow], capture_print=True)
    before = sys.stdout
    async with MemoryPlatform() as platform, platform.execute(app):
        run_ids = await workflow.trigger_many([0, 1])
        for _ in range(2):
            await together.wait()
            print("outside", end=" ")
        for run_id in run_ids:
            await job_of(platform, run_id)
        jobs = await platform.get_jobs(run_ids)
    assert sys.stdout is before
    for n, run_id in enumerate(run_ids):
        of_main, of_plain = ([line.split(" ", 1)[1] for line in job.logs] for job in jobs[run_id])
        assert of_main == [
            f"INFO job {n} begins", "INFO and goes on", f"INFO thread {n}", "INFO no end of line",
        ]  # fmt: skip
        assert of_plain == [f"INFO plain {n}"]
    assert capsys.readouterr() == ("outside outside ", "to standard error\n" * 2)


async def test_print_prints_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the option `sys.stdout` is left alone, even while another app of the process has it."""
    before = sys.stdout

    async def body() -> None:
        assert sys.stdout is not before
        print("to standard output")

    async with MemoryPlatform() as other, other.execute(define_app("other", capture_print=True)):
        assert await logged(body) == []
    assert sys.stdout is before
    assert capsys.readouterr().out == "to standard output\n"


async def test_apps_share_the_replacement() -> None:
    """`sys.stdout` is itself again when the last app has ended, in whatever order they end."""
    before = sys.stdout
    one, two = MemoryPlatform(), MemoryPlatform()
    async with one, two:
        executing = [
            one.execute(define_app("one", capture_print=True)),
            two.execute(define_app("two", capture_print=True)),
        ]
        for execution in executing:
            await execution.__aenter__()
        replaced = sys.stdout
        await executing[0].__aexit__(None, None, None)
        assert sys.stdout is replaced is not before
        await executing[1].__aexit__(None, None, None)
    assert sys.stdout is before


async def test_a_handler_may_write_to_the_replaced_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """What `logging` writes to stdout for a line of a job is not one more line of the job."""
    logger = logging.getLogger("gqlplugin.jobs")

    async def body(_: None, ctx: JobContext) -> None:
        handler = logging.StreamHandler(sys.stdout)
        logger.addHandler(handler)
        try:
            ctx.log.warning("logged")
            logger.setLevel(logging.INFO)
            print("printed")
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)

    assert await logged(body, capture_print=True) == ["WARNING logged", "INFO printed"]
    assert capsys.readouterr().out == "logged\nprinted\n"


async def test_what_is_printed_before_a_wait_is_logged_once() -> None:
    """A job that goes on after a wait runs again from its top, and does not repeat its lines, nor the one it began."""
    approval = define_wait_point("approval", payload=None, result=bool)

    async def body() -> None:
        print("asking\nanswer:", end=" ")
        print(await approval.wait(None))
        print("done")

    app = app_of(body, capture_print=True)
    async with MemoryPlatform() as platform, platform.execute(app):
        run_id = await app.workflows["one"].trigger(None)
        async with asyncio.timeout(30):
            async for run in platform.watch(run_id):
                if run.status is ExecutionStatus.WAITING:
                    break
        await approval.resolve(run_id, True)
        job = await job_of(platform, run_id)
    assert [line.split(" ", 1)[1] for line in job.logs] == ["INFO asking", "INFO answer: True", "INFO done"]


async def test_a_long_line_is_not_kept_in_memory() -> None:
    """Text without an end of line becomes lines of the log at some length."""

    async def body() -> None:
        for _ in range(5):
            print("x" * 5000, end="")

    assert [len(line) for line in await logged(body, capture_print=True)] == [10_005, 10_005, 5_005]


async def test_a_task_that_outlives_its_job_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed after the end of a job is not in its log, and not lost."""
    release = asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def later() -> None:
        await release.wait()
        print("after the end")

    async def body() -> None:
        left.append(asyncio.create_task(later()))

    app = app_of(body, capture_print=True)
    async with MemoryPlatform() as platform, platform.execute(app):
        job = await job_of(platform, await app.workflows["one"].trigger())
        release.set()
        await left[0]
    assert (job.logs, capsys.readouterr().out) == ((), "after the end\n")


async def test_the_function_of_an_executor_prints_to_its_firing() -> None:
    """A firing is a job, and has what its function prints."""
    executor = create_executor(
        "hourly", trigger=schedule_trigger("@hourly"), operation=function_operation(lambda args: print("fired"))
    )
    app = define_app("app", executors=[executor], capture_print=True)
    async with MemoryPlatform() as platform, platform.execute(app):
        firing = app.firings[firing_name("hourly")]
        arg = '{"scheduled_time": "2026-01-01T00:00:00Z"}'
        run_id = await platform.start_workflow(firing.name, arg, caller=User())
        assert (await job_of(platform, run_id)).logs[0].endswith("INFO fired")
