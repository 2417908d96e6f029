"""A run and its jobs are one trace, from what started it to its end."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from gqlplugin.app import define_app
from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, RetryPolicy
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, failed, in_status, jobs_of, output_of, until
from tests.telemetry.support import Spans, attributes_of, executing, has_failed, id_of, trace_of

pytestmark = pytest.mark.anyio

RETRY_AT_ONCE = RetryPolicy(max_retries=2, initial_backoff=timedelta(milliseconds=1))


@create_workflow_job(name="leaf-job")
async def leaf(number: int) -> int:
    return number + 1


@create_workflow_job(name="middle-job")
async def middle(number: int) -> int:
    return await leaf.trigger(await leaf.trigger(number))


@create_workflow_job(name="main-job")
async def main(number: int) -> int:
    return await middle.trigger(number)


nested = create_workflow(name="nested-jobs", main_job=main)


async def test_a_run_is_one_trace(spans: Spans) -> None:
    """Below the start is the run, below it the main job, and below each job those it triggered, with their names."""
    async with executing(nested) as platform:
        with spans.tracer.start_as_current_span("request") as request:
            run_id = await nested.trigger(1)
        assert await output_of(platform, run_id) == 3
        jobs = await jobs_of(platform, run_id)
    assert spans.trees() == [
        {
            "request": {
                "start nested-jobs": {"run nested-jobs": {"job main-job": {"job middle-job": {"job leaf-job": {}}}}}
            }
        }
    ]
    assert spans.traces() == {request.get_span_context().trace_id}
    assert len(spans.named("job leaf-job")) == 2
    start, run, first = spans.one("start nested-jobs"), spans.one("run nested-jobs"), spans.one("job main-job")
    assert [span.kind for span in (start, run, first)] == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL]
    assert run.parent is not None
    assert run.parent.is_remote
    assert attributes_of(start) == {"gqlplugin.workflow.name": "nested-jobs", "gqlplugin.run.id": run_id}
    assert attributes_of(run) == {
        "gqlplugin.workflow.name": "nested-jobs",
        "gqlplugin.run.id": run_id,
        "gqlplugin.run.attempt": 0,
        "gqlplugin.run.from": "PENDING",
        "gqlplugin.run.recorded": 0,
        "gqlplugin.run.status": "SUCCESS",
    }
    assert attributes_of(spans.one("job middle-job")) == {
        "gqlplugin.workflow.name": "nested-jobs",
        "gqlplugin.run.id": run_id,
        "gqlplugin.job.name": "middle-job",
        "gqlplugin.job.id": jobs["main-job/middle-job"].id,
        "gqlplugin.job.place": "0.0",
        "gqlplugin.job.status": "SUCCESS",
    }
    assert not any(map(has_failed, spans.all))


async def test_a_start_without_a_trace_begins_one(spans: Spans) -> None:
    """Runs that nothing connects are traces of their own."""
    async with executing(nested) as platform:
        run_ids = [await nested.trigger(number) for number in range(2)]
        for run_id in run_ids:
            await ended(platform, run_id)
    assert len(spans.traces()) == 2


async def test_a_batch_is_one_start(spans: Spans) -> None:
    """`trigger_many` is one span that tells how many, and each run is below it."""
    async with executing(nested) as platform:
        for run_id in await nested.trigger_many([1, 2, 3]):
            await ended(platform, run_id)
    assert attributes_of(spans.one("start nested-jobs"))["gqlplugin.run.count"] == 3
    assert [run.parent and run.parent.span_id for run in spans.named("run nested-jobs")] == [
        id_of(spans.one("start nested-jobs"))
    ] * 3


async def test_what_a_job_does_is_below_it(spans: Spans) -> None:
    """Spans of the application are below the job that makes them, in async bodies and in threads."""

    @create_workflow_job(name="plain-job")
    def plain() -> None:
        with spans.tracer.start_as_current_span("in a thread"):
            pass

    @create_workflow_job(name="async-job")
    async def main_job() -> None:
        with spans.tracer.start_as_current_span("in a task"):
            await plain.trigger()

    workflow = create_workflow(name="with-spans", main_job=main_job)
    async with executing(workflow) as platform:
        await output_of(platform, await workflow.trigger())
    assert spans.trees() == [
        {
            "start with-spans": {
                "run with-spans": {"job async-job": {"in a task": {"job plain-job": {"in a thread": {}}}}}
            }
        }
    ]


async def test_what_executes_a_run_is_no_part_of_its_trace(spans: Spans) -> None:
    """A span that was current when the process began to execute has no run below it."""
    platform = MemoryPlatform()
    with spans.tracer.start_as_current_span("startup"):
        async with platform, platform.execute(define_app("traced", workflows=[nested])):
            with trace.use_span(trace.INVALID_SPAN):
                run_id = await nested.trigger(1)
            await ended(platform, run_id)
    startup = spans.one("startup")
    assert trace_of(spans.one("run nested-jobs")) == trace_of(spans.one("start nested-jobs")) != trace_of(startup)


async def test_each_try_is_a_span(spans: Spans) -> None:
    """A retried run has a span for each try in one trace; jobs that are recorded have none the second time."""
    tries: list[int] = []

    @create_workflow_job(name="unsteady-job")
    async def unsteady() -> int:
        tries.append(len(tries))
        if len(tries) < 3:
            raise JobFailedError("a message for people", code="NOT_YET")
        return len(tries)

    @create_workflow_job(name="first-job")
    async def main_job() -> int:
        await leaf.trigger(1)
        return await unsteady.trigger()

    workflow = create_workflow(name="tried-again", main_job=main_job, retry_policy=RETRY_AT_ONCE)
    async with executing(workflow) as platform:
        assert await output_of(platform, await workflow.trigger()) == 3
    runs = spans.named("run tried-again")
    assert [attributes_of(run)["gqlplugin.run.attempt"] for run in runs] == [0, 1, 2]
    assert [attributes_of(run)["gqlplugin.run.from"] for run in runs] == ["PENDING", "PENDING_RETRY", "PENDING_RETRY"]
    assert [attributes_of(run)["gqlplugin.run.status"] for run in runs] == ["FAILED", "FAILED", "SUCCESS"]
    assert [attributes_of(run)["gqlplugin.run.recorded"] > 0 for run in runs] == [False, True, True]
    assert [attributes_of(run).get("error.type") for run in runs] == ["NOT_YET", "NOT_YET", None]
    assert list(map(has_failed, runs)) == [True, True, False]
    assert len(spans.traces()) == 1
    assert len({run.parent and run.parent.span_id for run in runs}) == 1
    assert len(spans.named("job leaf-job")) == 1
    assert len(spans.named("job unsteady-job")) == 3
    assert len(spans.named("job first-job")) == 3


async def test_a_failure_tells_its_code_and_nothing_else(spans: Spans) -> None:
    """The span of a job that failed has the error's code: no message, no traceback, no event."""

    @create_workflow_job(name="failing-job")
    async def main_job() -> None:
        raise ValueError("the password is hunter2")

    workflow = create_workflow(name="fails-at-once", main_job=main_job)
    async with executing(workflow) as platform:
        await failed(platform, await workflow.trigger())
    for span in (spans.one("job failing-job"), spans.one("run fails-at-once")):
        assert has_failed(span)
        assert attributes_of(span)["error.type"] == "JOB_FAILED"
        assert not span.events
        assert not span.status.description
    assert "hunter2" not in "".join(span.to_json() for span in spans.all)


async def test_a_resumed_run_goes_on_in_its_trace(spans: Spans) -> None:
    """After a failure and a resume, minutes or days later, the run has another span below the same start."""
    is_broken = [True]

    @create_workflow_job(name="mended-job")
    async def main_job() -> int:
        number = await leaf.trigger(1)
        if is_broken:
            raise RuntimeError
        return number

    workflow = create_workflow(name="resumed-later", main_job=main_job)
    async with executing(workflow) as platform:
        run_id = await workflow.trigger()
        await failed(platform, run_id)
        is_broken.clear()
        with spans.tracer.start_as_current_span("somebody resumes"):
            await platform.resume(run_id)
        assert await output_of(platform, run_id) == 2
    first, second = spans.named("run resumed-later")
    assert attributes_of(second)["gqlplugin.run.from"] == "PENDING_RESUME"
    assert trace_of(first) == trace_of(second) != trace_of(spans.one("somebody resumes"))
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == second.parent.span_id == id_of(spans.one("start resumed-later"))
    assert len(spans.named("job leaf-job")) == 1


async def test_a_run_that_waits_holds_no_span(spans: Spans) -> None:
    """At a wait point the spans end, with what they wait for; the answer begins another in the same trace."""
    approval = define_wait_point("approval", payload=str, result=bool)

    @create_workflow_job(name="asking-job")
    async def main_job() -> bool:
        await leaf.trigger(1)
        return await approval.wait("may I?")

    workflow = create_workflow(name="asks-and-waits", main_job=main_job)
    async with executing(workflow) as platform:
        run_id = await workflow.trigger()
        await in_status(platform, run_id, ExecutionStatus.WAITING)

        async def has_ended() -> bool:
            return bool(spans.named("run asks-and-waits"))

        await until(has_ended)
        assert attributes_of(spans.one("run asks-and-waits"))["gqlplugin.run.status"] == "WAITING"
        assert attributes_of(spans.one("job asking-job"))["gqlplugin.job.status"] == "SUSPEND"
        await platform.resolve(run_id, "approval", "true")
        assert await output_of(platform, run_id) is True
    runs = spans.named("run asks-and-waits")
    assert [attributes_of(run)["gqlplugin.run.status"] for run in runs] == ["WAITING", "SUCCESS"]
    assert len(spans.traces()) == 1
    assert len(spans.named("job leaf-job")) == 1
    assert not any(map(has_failed, spans.all))


async def test_a_cancel_is_no_failure(spans: Spans) -> None:
    """A canceled run tells so, and so does its job; neither is marked as failed."""
    began = asyncio.Event()

    @create_workflow_job(name="long-job")
    async def main_job() -> None:
        began.set()
        await asyncio.Event().wait()

    workflow = create_workflow(name="long-running", main_job=main_job)
    async with executing(workflow) as platform:
        run_id = await workflow.trigger()
        await began.wait()
        await platform.cancel(run_id)
        assert (await ended(platform, run_id)).status is ExecutionStatus.CANCELED
    assert attributes_of(spans.one("run long-running"))["gqlplugin.run.status"] == "CANCELED"
    assert attributes_of(spans.one("job long-job"))["gqlplugin.job.status"] == "CANCELED"
    assert not any(map(has_failed, spans.all))


async def test_a_process_that_leaves_ends_its_spans(spans: Spans, tmp_path: Any) -> None:
    """What a shutdown stops is told as interrupted, and goes on in the same trace at the next start."""
    is_first = [True]

    @create_workflow_job(name="held-job")
    async def main_job() -> int:
        if is_first:
            began.set()
            await asyncio.Event().wait()
        return 1

    workflow = create_workflow(name="held-and-left", main_job=main_job)
    app = define_app("traced", workflows=[workflow])
    began = asyncio.Event()
    for _ in range(2):
        platform = EmbeddedPlatform(tmp_path / "journal.sqlite", shutdown_grace=timedelta(0))
        async with platform, platform.execute(app):
            if is_first:
                run_id = await workflow.trigger()
                await began.wait()
            else:
                assert await output_of(platform, run_id) == 1
        is_first.clear()
    first, second = spans.named("run held-and-left")
    assert attributes_of(first)["gqlplugin.run.status"] == "INTERRUPTED"
    assert attributes_of(spans.named("job held-job")[0])["gqlplugin.job.status"] == "INTERRUPTED"
    assert attributes_of(second)["gqlplugin.run.from"] == "RUNNING"
    assert trace_of(first) == trace_of(second)


async def test_workflows_of_jobs_are_in_the_trace(spans: Spans) -> None:
    """What a job starts is below the job, and a replay that answers from the record starts nothing anew."""

    @create_workflow_job(name="starting-job")
    async def main_job() -> str:
        run_id = await nested.trigger(1)
        await nested.trigger_many([2])
        if is_broken:
            raise RuntimeError
        return run_id

    is_broken = [True]
    workflow = create_workflow(name="starts-others", main_job=main_job)
    async with executing(workflow, nested) as platform:
        run_id = await workflow.trigger()
        await failed(platform, run_id)
        is_broken.clear()
        await platform.resume(run_id)
        await ended(platform, await output_of(platform, run_id))

        async def both_ended() -> bool:
            return len(spans.named("run nested-jobs")) == 2

        await until(both_ended)
    assert len(spans.traces()) == 1
    assert len(spans.named("start nested-jobs")) == 2
    first_try = spans.named("job starting-job")[0]
    assert {start.parent and start.parent.span_id for start in spans.named("start nested-jobs")} == {id_of(first_try)}


async def test_a_trace_that_is_not_sampled_stays_so(spans: Spans) -> None:
    """The decision of who began a trace is kept with the run: nothing below is recorded."""
    context = trace.SpanContext(7, 7, is_remote=True, trace_flags=trace.TraceFlags(0))
    async with executing(nested) as platform:
        with trace.use_span(trace.NonRecordingSpan(context)):
            run_id = await nested.trigger(1)
        run = await ended(platform, run_id)
    assert spans.all == []
    assert run.trace is not None
    assert run.trace["traceparent"].startswith(f"00-{7:032x}-")
    assert run.trace["traceparent"].endswith("-00")


async def test_what_other_vendors_add_is_kept(spans: Spans) -> None:
    """`tracestate` is stored with the run and comes back with its spans."""
    context = trace.SpanContext(
        7, 7, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("vendor", "a:1")])
    )
    async with executing(nested) as platform:
        with trace.use_span(trace.NonRecordingSpan(context)):
            run_id = await nested.trigger(1)
        run = await ended(platform, run_id)
    assert run.trace is not None
    assert run.trace["tracestate"] == "vendor=a:1"
    inner = spans.one("job main-job").context
    assert inner is not None
    assert inner.trace_state.get("vendor") == "a:1"


@pytest.mark.parametrize("text", ["{", "[]", '{"traceparent": 7}', '{"traceparent": "00-0-0-00"}', "\x00"])
async def test_a_malformed_trace_costs_nothing_but_itself(spans: Spans, tmp_path: Any, text: str) -> None:
    """A run whose stored trace is malformed runs, in a trace of its own."""
    path = tmp_path / "journal.sqlite"
    app = define_app("traced", workflows=[nested])
    async with EmbeddedPlatform(path) as platform:
        run_id = await nested.trigger(1)
        journal, _ = platform._entering.opened()
        await journal.writer.call(lambda connection: connection.execute("UPDATE run SET trace = ?", (text,)).rowcount)
        async with platform.execute(app):
            run = await ended(platform, run_id)
    assert run.status is ExecutionStatus.SUCCESS
    assert run.trace is None
    assert spans.one("run nested-jobs").parent is None


async def test_no_trace_is_stored_without_one() -> None:
    """Where nobody traces, a run's row has no trace."""
    async with executing(nested) as platform:
        assert (await ended(platform, await nested.trigger(1))).trace is None


async def test_a_log_line_of_a_job_does_not_reach_its_span(spans: Spans) -> None:
    """What a job logs and how far it says it is are not told."""

    @create_workflow_job(name="chatty-job")
    async def main_job(secret: str, ctx: JobContext) -> str:
        ctx.log.info("the secret is %s", secret)
        ctx.progress(0.5, secret)
        return secret

    workflow = create_workflow(name="chatty-one", main_job=main_job)
    async with executing(workflow) as platform:
        await output_of(platform, await workflow.trigger("s3cr3t"))
    assert spans.names() == {"start chatty-one", "run chatty-one", "job chatty-job"}
    assert "s3cr3t" not in "".join(span.to_json() for span in spans.all)
