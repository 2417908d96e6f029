"""On Temporal too a run is one trace, whichever processes its sessions are in."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest

from gqlplugin.job import create_workflow_job
from gqlplugin.runs import ExecutionStatus, RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, failed, in_status, jobs_of, output_of, until
from tests.platform.temporal.support import executing, platform_at
from tests.telemetry.support import Metrics, Spans, attributes_of, id_of, trace_of

pytestmark = pytest.mark.anyio

approval = define_wait_point("approval", payload=str, result=bool)


@pytest.fixture
def task_queue() -> str:
    """A task queue that no other test uses."""
    return f"test-{uuid4().hex}"


@create_workflow_job(name="leaf-job")
async def leaf(number: int) -> int:
    return number + 1


@create_workflow_job(name="child-job")
async def child_job() -> int:
    return await leaf.trigger(1)


child = create_workflow(name="child-run", main_job=child_job)


@create_workflow_job(name="main-job")
async def main_job() -> bool:
    await leaf.trigger(1)
    is_approved = await approval.wait("may I?")
    await child.trigger()
    return is_approved


asking = create_workflow(name="asks-and-waits", main_job=main_job)


def path_to(spans: Spans, name: str) -> list[str]:
    """The names of the spans above the first one of a name, and its own."""
    known = {id_of(span): span for span in spans.all}
    span = spans.named(name)[0]
    path = [span.name]
    while span.parent is not None:
        span = known[span.parent.span_id]
        path.insert(0, span.name)
    return path


async def test_a_run_is_one_trace_over_its_sessions(spans: Spans, temporal_address: str, task_queue: str) -> None:
    """The start, both sessions of a run that waited, its jobs and the run that one of them started: one tree."""
    platform = platform_at(temporal_address, task_queue)
    async with platform:
        async with executing(platform, asking, child):
            with spans.tracer.start_as_current_span("request") as request:
                run_id = await asking.trigger()
            await in_status(platform, run_id, ExecutionStatus.WAITING)
        async with executing(platform, asking, child):  # as another process
            await platform.resolve(run_id, "approval", "true")
            assert await output_of(platform, run_id) is True
            jobs = await jobs_of(platform, run_id)

            async def child_has_ended() -> bool:
                return bool(spans.named("run child-run"))

            await until(child_has_ended)
    assert spans.traces() == {request.get_span_context().trace_id}
    names = ("request", "start asks-and-waits", "run asks-and-waits", "job main-job", "job leaf-job")
    assert path_to(spans, "job leaf-job") == [*names]
    assert path_to(spans, "job child-job") == [*names[:-1], "start child-run", "run child-run", "job child-job"]
    assert len(spans.named("job leaf-job")) == 2
    runs = spans.named("run asks-and-waits")
    assert [attributes_of(run)["gqlplugin.run.status"] for run in runs] == ["WAITING", "SUCCESS"]
    assert [attributes_of(run)["gqlplugin.run.from"] for run in runs] == ["PENDING", "PENDING_RESUME"]
    assert {attributes_of(span)["gqlplugin.job.id"] for span in spans.named("job main-job")} == {jobs["main-job"].id}


async def test_a_resumed_run_goes_on_in_its_trace(spans: Spans, temporal_address: str, task_queue: str) -> None:
    """Its second workflow of Temporal's has the trace of the first."""
    is_broken = [True]

    @create_workflow_job(name="mended-job")
    async def mended() -> int:
        if is_broken:
            raise RuntimeError
        return 2

    workflow = create_workflow(name="resumed-later", main_job=mended)
    async with executing(platform := platform_at(temporal_address, task_queue), workflow):
        run_id = await workflow.trigger()
        await failed(platform, run_id)
        is_broken.clear()
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 2
    first, second = spans.named("run resumed-later")
    assert attributes_of(second)["gqlplugin.run.from"] == "PENDING_RESUME"
    assert trace_of(first) == trace_of(second)
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == second.parent.span_id == id_of(spans.one("start resumed-later"))


async def test_ends_and_queues_are_measured(metrics: Metrics, temporal_address: str, task_queue: str) -> None:
    """Each run counts at its end, and those that nobody has begun are the queue."""
    tries: Counter[str] = Counter()

    @create_workflow_job(name="counted-job")
    async def counted(input: int) -> int:
        tries["all"] += 1
        if input < 0:
            raise RuntimeError
        return input

    counting = create_workflow(
        name="counting-runs",
        main_job=counted,
        retry_policy=RetryPolicy(max_retries=1, initial_backoff=timedelta(milliseconds=1)),
    )
    async with platform_at(temporal_address, task_queue) as platform:
        async with executing(platform, counting, asking, child):
            await ended(platform, await counting.trigger(1))
            await failed(platform, await counting.trigger(-1))
            waits = await asking.trigger()
            await in_status(platform, waits, ExecutionStatus.WAITING)
            await platform.cancel(waits)
        names = ["counting-runs", "asks-and-waits"]
        await counting.trigger(5)

        async def depths() -> bool:
            opened = platform._entering.opened()
            return await opened.listing.queued(names) == {"counting-runs": 1, "asks-and-waits": 0}

        await until(depths)
    assert metrics.counts("gqlplugin.runs.ended") == {
        ("SUCCESS", "counting-runs"): 1,
        ("FAILED", "counting-runs"): 1,
        ("CANCELED", "asks-and-waits"): 1,
    }
