"""Without OpenTelemetry, and without a provider, everything works and nothing is told."""

import inspect
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gqlplugin import telemetry
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.telemetry import NO_SPAN, absent, measured, traced
from gqlplugin.telemetry.span import NO_START

ROOT = Path(__file__).parents[2]

RUN = WorkflowExecution(
    id="01a202af-7fe8-7986-9540-9d0d032fd84b",
    workflow_name="some-run",
    status=ExecutionStatus.PENDING,
    input="null",
    created_at=datetime.now(UTC),
)
JOB = JobExecution(
    run_id=RUN.id, place="0", name="a", stacked_name="a", status=JobStatus.SUCCESS, input="", started_at=RUN.created_at
)

WITHOUT = """
import asyncio, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())

from pydantic import BaseModel
from gqlplugin import ResolverContext, create_asgi, create_resolver, create_workflow, create_workflow_job, define_app
from gqlplugin.telemetry import observe_queue
from gqlplugin.testing import MemoryPlatform, serve

class Order(BaseModel):
    number: int

class Started(BaseModel):
    run_id: str

@create_workflow_job(name="inner-job")
async def inner(number: int) -> int:
    return number + 1

@create_workflow_job(name="outer-job")
async def outer(order: Order) -> int:
    return await inner.trigger(order.number)

workflow = create_workflow(name="without-it", main_job=outer)

@create_resolver(name="start", operation="mutation")
async def start(ctx: ResolverContext[Order]) -> Started:
    return Started(run_id=await workflow.trigger(ctx.input))

async def main():
    observe_queue(lambda: {"x": 1})()
    platform = MemoryPlatform()
    app = define_app("x", workflows=[workflow], resolvers=[start])
    async with serve(create_asgi(app, platform, authenticate=None)) as client:
        parent = "00-%032x-%016x-01" % (7, 7)
        result = await client.execute("mutation { start(number: 1) { runId } }", headers={"traceparent": parent})
        run = [one async for one in platform.watch(result.data["start"]["runId"])][-1]
        print(run.status, run.output, run.trace)
    print(any(name.startswith("opentelemetry") for name in sys.modules))

asyncio.run(main())
"""


def test_it_runs_without_opentelemetry() -> None:
    """Where the package can't be imported, operations, runs and jobs work, and no part of it is loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["SUCCESS 2 None", "False"]


def test_both_ways_are_called_alike() -> None:
    """What does nothing takes what the other takes, so that no call fails only where the package is missing."""
    names = [
        name for name, one in vars(absent).items() if inspect.isfunction(one) and one.__module__ == absent.__name__
    ]
    assert set(names) < set(telemetry.__all__)
    for name in names:
        real = getattr(measured if name.startswith("count_") else traced, name)
        assert str(inspect.signature(getattr(absent, name)).parameters) == str(inspect.signature(real).parameters)


def test_what_does_nothing_does_nothing() -> None:
    """Each of the functions can be called, and gives what can be used."""
    assert absent.current_trace() is None
    assert absent.trace_headers() == {}
    absent.count_end(RUN, ExecutionStatus.SUCCESS, RUN.created_at)
    absent.count_job(RUN, JOB)
    with absent.within_trace(None), absent.within_request([(b"traceparent", b"x")]), absent.starting("x") as start:
        start.began("1")
    for span in (
        absent.operation_span([]),
        absent.run_span(RUN, recorded=0),
        absent.job_span(RUN, name="a", place="0"),
    ):
        with span as entered:
            entered.rename("x")
            entered.note("x", 1)
            entered.ended("SUCCESS")
            entered.fail("CODE")
            entered.leave()
    with pytest.raises(ValueError, match="as it was"), absent.starting("x"):
        raise ValueError("as it was")


def test_without_a_provider_there_is_one_span() -> None:
    """Where nobody configured a provider, spans are the same object, which nobody records."""
    assert telemetry.operation_span([(b"accept", b"*/*"), (b"traceparent", b"nonsense")]) is NO_SPAN
    assert telemetry.run_span(RUN, recorded=0) is NO_SPAN
    assert telemetry.job_span(RUN, name="a", place="0") is NO_SPAN
    assert absent.starting("x") is NO_START


def test_a_process_without_a_provider_passes_a_trace_on() -> None:
    """A trace goes through a process that records nothing: from a request, or a run, to what is started there."""
    parent = f"00-{7:032x}-{8:016x}-01"
    kept = {"traceparent": parent}
    run = replace(RUN, trace=kept)
    for outer in (
        telemetry.operation_span([(b"traceparent", parent.encode())]),
        telemetry.run_span(run, recorded=0),
        telemetry.within_request([(b"traceparent", parent.encode())]),
    ):
        with outer, telemetry.job_span(run, name="a", place="0"), telemetry.starting("x"):
            assert telemetry.current_trace() == telemetry.trace_headers() == kept
        assert telemetry.current_trace() is None


def test_only_one_room_knows_opentelemetry() -> None:
    """No module besides the package that is for it imports OpenTelemetry, nor its SDK anywhere."""
    imports = re.compile(r"^\s*(?:from|import) opentelemetry", re.MULTILINE)
    for path in (ROOT / "gqlplugin").rglob("*.py"):
        text = path.read_text()
        assert "opentelemetry.sdk" not in text
        if path.parent.name != "telemetry":
            assert not imports.search(text), path
