"""The workflow that every run is: sessions, their record, and what ends them."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError

from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.replay import RunInterrupted
from gqlplugin.platform.temporal import interpreter, messages
from gqlplugin.platform.temporal.messages import Answer, Record, Recorded
from gqlplugin.platform.temporal.worker import TemporalRecorder
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, JobExecution, JobStatus, RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, failed, in_status, jobs_of, output_of, until, workflow_of
from tests.platform.temporal.support import executing, platform_at

pytestmark = pytest.mark.anyio


async def test_a_long_run_goes_on_in_a_new_history(
    temporal_address: str, temporal_client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a history is full the run goes on in another one: no job runs twice, and all are told of."""
    monkeypatch.setattr(messages, "MOST_RECORDED", 5)
    ran: Counter[int] = Counter()
    begun: list[int] = []

    @create_workflow_job(name="part-job")
    async def part(input: int) -> int:
        ran[input] += 1
        return input

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> list[int]:
        begun.append(1)
        ctx.log.info("begins")
        return [await part.trigger(number) for number in range(12)]

    async with executing(platform := platform_at(temporal_address, task_queue), long := workflow_of(main)):
        run_id = await long.trigger()
        first = (await temporal_client.get_workflow_handle(run_id).describe()).run_id
        assert await output_of(platform, run_id) == list(range(12))
        jobs = (await platform.get_jobs([run_id]))[run_id]
        assert (await temporal_client.get_workflow_handle(run_id).describe()).run_id != first
    assert ran == dict.fromkeys(range(12), 1)
    assert len(begun) == 3
    assert [line.rpartition(" ")[2] for line in jobs[0].logs] == ["begins"]
    assert [job.place for job in jobs] == ["0", *(f"0.{number}" for number in range(12))]


async def test_what_a_session_that_was_given_up_records_is_refused(
    temporal_address: str, temporal_client: Client, task_queue: str
) -> None:
    """Only the session that the run knows of may record; what others say changes nothing."""
    release = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main() -> str:
        await release.wait()
        return "mine"

    async with executing(platform := platform_at(temporal_address, task_queue), waiting := workflow_of(main)):
        run_id = await waiting.trigger()
        await in_status(platform, run_id, ExecutionStatus.RUNNING)
        handle = temporal_client.get_workflow_handle_for(interpreter.Interpreter.run, run_id)
        for epoch in (0, 2):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(interpreter.Interpreter.record, Recorded(epoch=epoch, rows=[]))
        release.set()
        assert await output_of(platform, run_id) == "mine"


async def no_task_was_lost(client: Client, run_id: str) -> bool:
    """Whether the run never stood still because a process that left had taken what it was to do."""
    history = await client.get_workflow_handle(run_id).fetch_history()
    return not any(event.HasField("workflow_task_timed_out_event_attributes") for event in history.events)


async def test_jobs_may_end_when_their_process_is_told_to_stop(
    temporal_address: str, temporal_client: Client, task_queue: str
) -> None:
    """Within the grace a running job ends and is recorded; the next one begins in another process, once."""
    started, release = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @create_workflow_job(name="first-job")
    async def first() -> str:
        ran.append("first")
        started.set()
        await release.wait()
        return "one"

    @create_workflow_job(name="second-job")
    async def second() -> str:
        ran.append("second")
        return "two"

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        return [await first.trigger(), await second.trigger()]

    chain = workflow_of(main)
    platform = platform_at(temporal_address, task_queue, shutdown_grace=timedelta(hours=1))
    async with platform:
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:  # not until the end of the grace

            async def work() -> None:
                async with executing(platform, chain):
                    await started.wait()
                    asyncio.get_running_loop().call_later(0.5, release.set)  # while it is leaving

            group.create_task(work())
            run_id = await chain.trigger()
        assert ran == ["first"]
        assert not (await platform.get_execution(run_id)).status.is_final
        async with executing(platform, chain):
            assert await output_of(platform, run_id) == ["one", "two"]
    assert ran == ["first", "second"]
    assert await no_task_was_lost(temporal_client, run_id)


async def test_a_job_that_does_not_end_in_time_begins_again_elsewhere(
    temporal_address: str, temporal_client: Client, task_queue: str
) -> None:
    """After the grace a job is stopped, its log stays, and it runs again at once where there is a process for it."""
    tries: list[int] = []
    started = asyncio.Event()

    @create_workflow_job(name="main-job")
    async def main(input: None, ctx: JobContext) -> int:
        tries.append(1)
        ctx.log.info("try %d", len(tries))
        started.set()
        if len(tries) == 1:
            await asyncio.Event().wait()
        return len(tries)

    stuck = workflow_of(main)
    platform = platform_at(temporal_address, task_queue, shutdown_grace=timedelta(milliseconds=100))
    async with platform:
        run_id = await stuck.trigger()
        async with executing(platform, stuck):
            await started.wait()
        async with executing(platform, stuck):
            assert await output_of(platform, run_id) == 2
    assert await no_task_was_lost(temporal_client, run_id)


async def test_results_that_no_message_can_carry_fail_their_job_and_say_so(
    temporal_address: str, task_queue: str
) -> None:
    """A job whose result is too large fails, recorded; a run whose record is, fails with what to do."""
    ran: list[int] = []

    @create_workflow_job(name="large-job")
    async def large(input: int) -> str:
        ran.append(input)
        return "x" * input

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await large.trigger(2_000_000)
        except JobFailedError as error:
            return error.job_code
        return "kept"

    async with executing(platform := platform_at(temporal_address, task_queue), keeping := workflow_of(main)):
        run_id = await keeping.trigger()
        assert await output_of(platform, run_id) == "RESULT_TOO_LARGE"
        job = (await jobs_of(platform, run_id))["main-job/large-job"]
    assert job.error is not None
    assert "keep large values elsewhere" in job.error.message
    assert ran == [2_000_000]


async def test_a_run_whose_record_is_too_large_fails_where_it_must_be_carried(
    temporal_address: str, task_queue: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what to do; what no compression makes small enough is not lost silently."""
    monkeypatch.setattr(messages, "MOST_RECORDED", 1)
    monkeypatch.setattr("gqlplugin.platform.temporal.messages.MAX_MESSAGE_BYTES", 2_000)

    @create_workflow_job(name="noisy-job")
    async def noisy(input: int) -> list[float]:
        return [(input * 7919 + index * 104_729) % 99_991 / 99_991 for index in range(400)]

    @create_workflow_job(name="main-job")
    async def main() -> None:
        for number in range(3):
            await noisy.trigger(number)

    monkeypatch.setattr("gqlplugin.platform.temporal.worker.MAX_JOB_BYTES", 1_000_000)
    async with executing(platform := platform_at(temporal_address, task_queue), growing := workflow_of(main)):
        run = await failed(platform, await growing.trigger())
    assert run.error is not None
    assert run.error.code == "RECORD_TOO_LARGE"
    lines = [one.getMessage() for one in caplog.records if one.name == "gqlplugin.runs" and one.levelname == "ERROR"]
    assert len(lines) == 1
    assert run.id in lines[0]
    assert "RECORD_TOO_LARGE" in lines[0]


async def test_an_error_of_the_platform_in_a_session_is_tried_again(
    temporal_address: str, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails beside the jobs does not fail the run: it begins again after a pause, with what is recorded."""
    calls: list[int] = []
    original = Record.load

    class Flawed(Record):
        @classmethod
        def load(cls, text: bytes) -> Record:
            calls.append(1)
            if len(calls) == 1:
                raise OSError
            return original(text)

    monkeypatch.setattr("gqlplugin.platform.temporal.worker.Record", Flawed)

    @create_workflow_job(name="main-job")
    async def main() -> str:
        return "done"

    async with executing(platform := platform_at(temporal_address, task_queue), sound := workflow_of(main)):
        assert await output_of(platform, await sound.trigger()) == "done"
    assert len(calls) == 2


async def test_long_inputs_and_outputs_are_told_whole(temporal_address: str, task_queue: str) -> None:
    """What is too long for a memo is read from the history, by ID and in listings."""

    @create_workflow_job(name="main-job")
    async def main(input: str) -> str:
        return input

    async with executing(platform := platform_at(temporal_address, task_queue), echo := workflow_of(main)):
        run_id = await echo.trigger("é" * 100_000)
        run = await ended(platform, run_id)
        assert run.input == run.output
        assert len(run.input) >= 100_000

        async def is_listed() -> bool:
            page = await platform.list_executions(ExecutionFilter(), first=1)
            return [one.output for one in page.executions] == [run.output]

        await until(is_listed)


async def test_a_retry_begins_with_what_has_succeeded(temporal_address: str, task_queue: str) -> None:
    """The record of an earlier try answers, and what failed runs again."""
    ran: Counter[str] = Counter()

    @create_workflow_job(name="good-job")
    async def good() -> str:
        ran["good"] += 1
        return "good"

    @create_workflow_job(name="weak-job")
    async def weak() -> str:
        ran["weak"] += 1
        if ran["weak"] < 3:
            raise RuntimeError
        return "weak"

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        return [await good.trigger(), await weak.trigger()]

    retried = create_workflow(
        name="retried", main_job=main, retry_policy=RetryPolicy(5, initial_backoff=timedelta(milliseconds=1))
    )
    async with executing(platform := platform_at(temporal_address, task_queue), retried):
        assert await output_of(platform, await retried.trigger()) == ["good", "weak"]
    assert ran == {"good": 1, "weak": 3}


async def test_an_answer_to_another_wait_is_not_taken(
    temporal_address: str, temporal_client: Client, task_queue: str
) -> None:
    """One that comes late, when the run waits elsewhere already, changes nothing; nor does one for nobody."""
    point = define_wait_point("point", payload=int, result=str)

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        return [await point.wait(1), await point.wait(2)]

    async with executing(platform := platform_at(temporal_address, task_queue), asking := workflow_of(main)):
        run_id = await asking.trigger()
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        await platform.resolve(run_id, "point", '"one"')

        async def waits_again() -> bool:
            jobs = (await platform.get_jobs([run_id]))[run_id]
            return jobs[-1].place == "0.1" and jobs[-1].status is JobStatus.WAITING

        await until(waits_again)
        handle = temporal_client.get_workflow_handle_for(interpreter.Interpreter.run, run_id)
        for place in ("0.0", "0.2"):
            await handle.signal(interpreter.Interpreter.resolve, Answer(id="late", place=place, result='"late"'))
        await platform.resolve(run_id, "point", '"two"')
        assert await output_of(platform, run_id) == ["one", "two"]


async def test_a_run_that_a_job_starts_is_one_however_often_the_job_begins_again(
    temporal_address: str, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a process dies between a start and its record, the next session starts the same run, which is there."""
    ran: Counter[str] = Counter()
    original = TemporalRecorder.finish

    async def finish(self: TemporalRecorder, job: JobExecution) -> None:
        if job.name.startswith("workflow:") and ran[job.name] < 2:
            ran[job.name] += 1
            raise RunInterrupted
        await original(self, job)

    monkeypatch.setattr(TemporalRecorder, "finish", finish)

    @create_workflow_job(name="child-job")
    async def child_job(input: int) -> int:
        ran["child"] += 1
        return input

    child = create_workflow(name="child-run", main_job=child_job)

    @create_workflow_job(name="main-job")
    async def main() -> list[str]:
        ran["main"] += 1
        return [await child.trigger(1), *await child.trigger_many([2, 3])]

    async with executing(platform := platform_at(temporal_address, task_queue), starting := workflow_of(main), child):
        started = await output_of(platform, await starting.trigger())
        assert [await output_of(platform, run_id) for run_id in started] == [1, 2, 3]
    assert ran == {"workflow:child-run": 2, "main": 3, "child": 3}
