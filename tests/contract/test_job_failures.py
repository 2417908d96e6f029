"""Jobs that fail: what the caller may know, what operators can read, and what a parent can do about it."""

import asyncio
import logging
import sys
from datetime import timedelta

import pytest

from gqlplugin.errors import JobFailedError
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus, JobStatus, RetryPolicy
from gqlplugin.workflow import create_workflow
from tests.contract.support import echo_workflow, executing, failed, jobs_of, output_of, until, workflow_of

pytestmark = pytest.mark.anyio

SECRET = "password=hunter2"  # noqa: S105 - what must not get out


@pytest.mark.needs("errors")
async def test_an_exception_stays_with_the_operators(platform: Platform) -> None:
    """A failing job fails the run with a message that is safe to show; the traceback is in the detail."""

    @create_workflow_job(name="breaks")
    async def breaks() -> None:
        raise RuntimeError(SECRET)

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await breaks.trigger()

    breaking = workflow_of(main)
    async with executing(platform, breaking):
        run_id = await breaking.trigger()
        run = await failed(platform, run_id)
        jobs = await jobs_of(platform, run_id)
    for error in (run.error, jobs["main-job"].error, jobs["main-job/breaks"].error):
        assert error is not None
        assert error.code == "JOB_FAILED"
        assert SECRET not in error.message
        assert "breaks" in error.message
    inner = jobs["main-job/breaks"].error
    assert inner is not None
    assert inner.detail is not None
    assert SECRET in inner.detail
    assert "Traceback" in inner.detail
    assert {job.status for job in jobs.values()} == {JobStatus.FAILED}
    assert run.finished_at is not None
    assert run.output is None


@pytest.mark.needs("errors")
async def test_a_failure_of_ones_own_keeps_its_message_and_code(platform: Platform) -> None:
    """`JobFailedError` carries its message and code up to the run, through jobs that don't catch it."""

    @create_workflow_job(name="declines")
    async def declines() -> None:
        raise JobFailedError("The card was declined.", code="CARD_DECLINED")

    @create_workflow_job(name="middle")
    async def middle() -> None:
        await declines.trigger()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await middle.trigger()

    declining = workflow_of(main)
    async with executing(platform, declining):
        run = await failed(platform, await declining.trigger())
    assert run.error is not None
    assert (run.error.code, run.error.message) == ("CARD_DECLINED", "The card was declined.")


async def test_a_parent_can_catch_a_failure(platform: Platform) -> None:
    """A caught failure does not fail the run; the failed job stays visible."""

    @create_workflow_job(name="declines")
    async def declines() -> None:
        raise JobFailedError("No.", code="DECLINED")

    @create_workflow_job(name="other-way")
    async def other_way() -> str:
        return "paid by invoice"

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        try:
            await declines.trigger()
        except JobFailedError as error:
            return [error.message, error.job_code, await other_way.trigger()]
        return []

    careful = workflow_of(main)
    async with executing(platform, careful):
        run_id = await careful.trigger()
        assert await output_of(platform, run_id) == ["No.", "DECLINED", "paid by invoice"]
        jobs = await jobs_of(platform, run_id)
    assert {name: job.status.value for name, job in jobs.items()} == {
        "main-job": "SUCCESS",
        "main-job/declines": "FAILED",
        "main-job/other-way": "SUCCESS",
    }


def leaves() -> None:
    sys.exit(3)


async def leaves_async() -> None:
    sys.exit(3)


def stops() -> None:
    raise StopIteration


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def overflows() -> None:
    await overflows()


def several() -> None:
    raise ExceptionGroup("several", [ValueError(SECRET), KeyError()])


def says_half_a_character() -> None:
    raise JobFailedError("\ud800", code="\udc00")


UNUSUAL = [leaves, leaves_async, stops, cancels_itself, overflows, several, says_half_a_character]


@pytest.mark.parametrize("body", UNUSUAL, ids=[body.__name__ for body in UNUSUAL])
async def test_unusual_ends_of_a_job_are_failures_like_any_other(platform: Platform, body: object) -> None:
    """`sys.exit`, a cancellation of its own, an endless recursion: the run fails, the process and other runs go on."""
    job: WorkflowJob[None, None] = create_workflow_job(name="unusual")(body)  # type: ignore[call-overload]

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await job.trigger()
        except JobFailedError:
            return "caught"
        return "nothing happened"

    both = [workflow_of(main, "caught"), workflow_of(job, "direct"), echo_workflow()]
    async with executing(platform, *both):
        assert (await failed(platform, await both[1].trigger())).error is not None
        assert await output_of(platform, await both[0].trigger()) == "caught"
        assert await output_of(platform, await both[2].trigger("alive")) == "alive"


async def test_a_time_limit_around_a_trigger_leaves_nothing_running(platform: Platform) -> None:
    """A parent may give up waiting with `asyncio.timeout`; once its run has ended no job of it is shown as running."""
    given_up = asyncio.Event()

    @create_workflow_job(name="sleeper")
    async def sleeper() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            async with asyncio.timeout(0.1):
                await sleeper.trigger()
        except TimeoutError:
            return "gave up"
        return "waited"

    impatient = workflow_of(main)
    async with executing(platform, impatient):
        run_id = await impatient.trigger()
        assert await output_of(platform, run_id) == "gave up"
        assert given_up.is_set()
        jobs = await jobs_of(platform, run_id)
    assert all(job.status.is_final for job in jobs.values())


async def test_the_failed_run_is_failed_for_all_to_see(platform: Platform) -> None:
    """A failed main job without children fails its run, with its times."""

    @create_workflow_job(name="main-job")
    def main() -> None:
        raise ValueError(SECRET)

    failing = workflow_of(main)
    async with executing(platform, failing):
        run = await failed(platform, await failing.trigger())
    assert run.status is ExecutionStatus.FAILED
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.error is not None
    assert SECRET not in run.error.message


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the runs' logger has at WARNING and above."""
    return [one for one in caplog.records if one.name == "gqlplugin.runs" and one.levelno >= logging.WARNING]


async def line_about(caplog: pytest.LogCaptureFixture, run_id: str) -> logging.LogRecord:
    """The only line about a run."""

    async def found() -> list[logging.LogRecord]:
        return [one for one in logged(caplog) if run_id in one.getMessage()]

    (line,) = await until(found)
    return line


@create_workflow_job(name="raises")
async def raises() -> None:
    raise RuntimeError(SECRET)


@create_workflow_job(name="declines")
async def declines() -> None:
    raise JobFailedError("The card was declined.", code="CARD_DECLINED", may_retry=False)


@create_workflow_job(name="returns-nonsense")
async def returns_nonsense() -> int:
    return "nonsense"  # type: ignore[return-value]  # which is the point


@create_workflow_job(name="triggers-nonsense")
async def triggers_nonsense() -> None:
    await declines.trigger(object())  # type: ignore[call-overload]  # which is the point


@pytest.mark.parametrize(
    ("job", "code", "says"),
    [
        (raises, "JOB_FAILED", SECRET),
        (declines, "CARD_DECLINED", "The card was declined."),
        (returns_nonsense, "BAD_JOB_RESULT", "can't be recorded"),
        (triggers_nonsense, "BAD_USER_INPUT", "The input of job 'declines'"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
async def test_a_failed_run_leaves_one_line(
    platform: Platform, caplog: pytest.LogCaptureFixture, job: WorkflowJob[None, object], code: str, says: str
) -> None:
    """Whatever failed, at any depth: one line at ERROR with the run, the workflow, the job, the code, the traceback."""

    @create_workflow_job(name="middle")
    async def middle() -> None:
        await job.trigger()

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await middle.trigger()

    failing = workflow_of(main)
    async with executing(platform, failing):
        run_id = await failing.trigger()
        await failed(platform, run_id)
        line = await line_about(caplog, run_id)
    assert logged(caplog) == [line]
    assert line.levelname == "ERROR"
    assert f"{failing.name!r}" in line.getMessage()
    assert f"'main-job/middle/{job.name}'" in line.getMessage()
    assert code in line.getMessage()
    shown = logging.Formatter().format(line)
    assert "Traceback" in shown
    assert says in shown


@pytest.mark.needs("retry")
async def test_a_retry_leaves_a_warning(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    """Each try that is followed by another one leaves a line at WARNING, and the last one a line at ERROR."""
    policy = RetryPolicy(max_retries=2, initial_backoff=timedelta(milliseconds=1))
    failing = create_workflow(name="failing", main_job=raises, retry_policy=policy)
    async with executing(platform, failing):
        run_id = await failing.trigger()
        await failed(platform, run_id)

        async def ended() -> bool:
            return len(logged(caplog)) >= 3

        await until(ended)
    lines = [(one.levelname, one.getMessage()) for one in logged(caplog)]
    assert [level for level, _ in lines] == ["WARNING", "WARNING", "ERROR"]
    assert all(f"attempt {number} of 3" in text for number, (_, text) in enumerate(lines, 1))
    assert all(run_id in text for _, text in lines)


async def test_a_failure_that_is_handled_leaves_a_warning(platform: Platform, caplog: pytest.LogCaptureFixture) -> None:
    """A job that goes on after a job it triggered has failed leaves that one's traceback, and no line at ERROR."""

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await raises.trigger()
        except JobFailedError:
            return "handled"
        return "unreachable"

    handling = workflow_of(main)
    async with executing(platform, handling):
        run_id = await handling.trigger()
        assert await output_of(platform, run_id) == "handled"
        line = await line_about(caplog, run_id)
    assert logged(caplog) == [line]
    assert line.levelname == "WARNING"
    assert "'main-job/raises'" in line.getMessage()
    assert SECRET in logging.Formatter().format(line)
