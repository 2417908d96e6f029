"""Values that are too large to be kept: refused where they are given, with nothing started, or a failure of the job."""

import pytest

from gqlplugin.errors import InvalidInputError, JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.replay import MAX_TEXT_LENGTH
from gqlplugin.runs import ExecutionStatus, RetryPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import all_runs, ended, failed, jobs_of, output_of
from tests.platform.embedded.support import executing, workflow_of

pytestmark = pytest.mark.anyio

LIMIT = 1000

approval = define_wait_point("approval", payload=str, result=str)


@create_workflow_job(name="echo-job")
async def echo(input: str) -> str:
    return input


echoing = create_workflow(name="echoing", main_job=echo)


@pytest.mark.parametrize("character", ["x", "é", "漢", "\N{GRINNING FACE}"])
async def test_a_result_up_to_the_limit_is_kept_and_no_larger_one(character: str) -> None:
    """The limit counts bytes of the JSON text in UTF-8. Above it the run fails with RESULT_TOO_LARGE, once."""
    fits = (LIMIT - 2) // len(character.encode())
    ran: list[int] = []

    @create_workflow_job(name="main-job")
    async def main(length: int) -> str:
        ran.append(length)
        return character * length

    sized = workflow_of(main, retry_policy=RetryPolicy(3))
    async with executing(platform := MemoryPlatform(max_result_bytes=LIMIT), sized):
        assert await output_of(platform, await sized.trigger(fits)) == character * fits
        run = await failed(platform, await sized.trigger(fits + 1))
        assert run.error is not None
        assert run.error.code == "RESULT_TOO_LARGE"
        assert str(LIMIT) in run.error.message
    assert ran == [fits, fits + 1]


async def test_a_caller_can_go_on_and_a_resume_after_a_fix_succeeds() -> None:
    """The job that triggered one with too large a result gets its failure; a failed run can be resumed."""
    length = LIMIT

    @create_workflow_job(name="large-job")
    async def large() -> str:
        return "x" * length

    @create_workflow_job(name="main-job")
    async def main(is_careful: bool) -> str:
        try:
            return await large.trigger()
        except JobFailedError as error:
            if is_careful:
                return error.job_code
            raise

    working = workflow_of(main)
    async with executing(platform := MemoryPlatform(max_result_bytes=LIMIT), working):
        assert await output_of(platform, await working.trigger(True)) == "RESULT_TOO_LARGE"
        run_id = await working.trigger(False)
        run = await failed(platform, run_id)
        assert run.error is not None
        assert run.error.code == "RESULT_TOO_LARGE"
        length = 10
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == "x" * 10


async def test_what_jobs_give_to_others_is_limited() -> None:
    """A trigger, a start of many and a wait with too much are refused where they are, and nothing is started."""
    ran: list[str] = []

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        ran.append(input)
        try:
            if input == "job":
                await echo.trigger("x" * LIMIT)
            elif input == "many":
                await echoing.trigger_many(["x" * 400] * 3)
            else:
                await approval.wait("x" * LIMIT)
        except InvalidInputError as error:
            return error.message
        return "it was taken"

    working = workflow_of(main)
    async with executing(platform := MemoryPlatform(max_result_bytes=LIMIT), working, echoing):
        for name in ("job", "many", "wait"):
            assert str(LIMIT) in await output_of(platform, await working.trigger(name))
        assert len(await all_runs(platform)) == 3
    assert ran == ["job", "many", "wait"]


async def test_starts_and_answers_are_limited() -> None:
    """A start of one or of many, and the answer to a wait point, are refused above their limit."""

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        return await approval.wait(input)

    waiting = workflow_of(main)
    async with executing(platform := MemoryPlatform(max_arg_bytes=LIMIT, max_result_bytes=2 * LIMIT), waiting):
        with pytest.raises(InvalidInputError):
            await waiting.trigger("x" * LIMIT)
        with pytest.raises(InvalidInputError):
            await waiting.trigger_many(["x" * 900] * 3)
        assert await all_runs(platform) == []
        (run_id,) = await waiting.trigger_many(["x" * 900])
        while (await platform.get_execution(run_id)).status is not ExecutionStatus.WAITING:
            await platform.count_jobs()
        with pytest.raises(InvalidInputError):
            await platform.resolve(run_id, "approval", f'"{"x" * LIMIT}"')
        await platform.resolve(run_id, "approval", '"yes"')
        assert await output_of(platform, run_id) == "yes"


async def test_messages_and_tracebacks_are_shortened() -> None:
    """However much an exception, a progress message or a log line says, the run ends, with the ends of it kept."""

    @create_workflow_job(name="main-job")
    async def main(kind: str, ctx: JobContext) -> None:
        text = f"begins {'x' * 5_000_000} ends"
        ctx.progress(0.5, text)
        ctx.log.info("%s", text)
        if kind == "told":
            raise JobFailedError(text)
        raise RuntimeError(text)

    verbose = workflow_of(main)
    async with executing(platform := MemoryPlatform(), verbose):
        for kind in ("told", "untold"):
            run_id = await verbose.trigger(kind)
            run = await ended(platform, run_id)
            (job,) = (await jobs_of(platform, run_id)).values()
            assert run.error is not None
            assert run.error.detail is not None
            assert job.progress is not None
            assert job.progress.message is not None
            texts = [run.error.message, run.error.detail, job.progress.message]
            assert all(len(text) < MAX_TEXT_LENGTH + 100 for text in texts)
            assert run.error.detail.startswith("Traceback")
            assert run.error.detail.rstrip().endswith("ends")
            assert job.progress.message.startswith("begins")


@pytest.mark.parametrize("limit", [0, -1, 256 * 1024 * 1024 + 1])
def test_limits_that_sqlite_could_not_keep_are_refused(limit: int) -> None:
    """A limit beyond what fits into a row is an error where the platform is made."""
    with pytest.raises(ValueError, match="max_arg_bytes"):
        EmbeddedPlatform("journal.sqlite", max_arg_bytes=limit)
    with pytest.raises(ValueError, match="max_result_bytes"):
        EmbeddedPlatform("journal.sqlite", max_result_bytes=limit)
