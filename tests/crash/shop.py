"""The app that is killed: nested jobs, workflows started by jobs, a retry policy, and a line per executed job.

Every job gets a step that is unique in its run, and appends what it is to a file before it returns. The file is the
witness: the journal says what it recorded, the witness says what ran.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.errors import JobFailedError
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.runs import ConcurrencyPolicy, RetryPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow

LONGEST_WORK_SECONDS = 0.02
STEPS_OF_LASTING = 60

_dice = random.Random()  # noqa: S311 - delays, not secrets


class Step(BaseModel):
    """Which start of the harness this belongs to, and which place in its run."""

    n: int
    step: str


class Spawned(BaseModel):
    """The runs that a job started."""

    run_ids: list[str]


def _witness(ctx: JobContext, job: str, step: Step) -> None:
    directory = Path(str(ctx.env["directory"]))
    descriptor = os.open(directory / "witness", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{ctx.run_id} {job} {step.step}\n".encode())
    finally:
        os.close(descriptor)


async def _work() -> None:
    await asyncio.sleep(_dice.uniform(0, LONGEST_WORK_SECONDS))


@create_workflow_job(name="inner")
async def inner(input: Step, ctx: JobContext) -> int:
    await _work()
    _witness(ctx, "inner", input)
    return input.n


@create_workflow_job(name="blocking")
def blocking(input: Step, ctx: JobContext) -> int:
    time.sleep(_dice.uniform(0, LONGEST_WORK_SECONDS))
    _witness(ctx, "blocking", input)
    return input.n


@create_workflow_job(name="outer")
async def outer(input: Step, ctx: JobContext) -> int:
    total = await inner.trigger(Step(n=input.n, step=f"{input.step}.0"))
    total += await blocking.trigger(Step(n=input.n, step=f"{input.step}.1"))
    _witness(ctx, "outer", input)
    return total


@create_workflow_job(name="nest")
async def nest(input: Step, ctx: JobContext) -> int:
    total = 0
    for index in range(3):
        total += await outer.trigger(Step(n=input.n, step=f"{input.step}.{index}"))
    _witness(ctx, "nest", input)
    return total


@create_workflow_job(name="spawn")
async def spawn(input: Step, ctx: JobContext) -> Spawned:
    first = await leaf.trigger(Step(n=input.n, step="first-child"))
    await inner.trigger(Step(n=input.n, step="between"))
    second = await leaf.trigger(Step(n=input.n, step="second-child"), idempotency_key=f"child-{input.n}")
    _witness(ctx, "spawn", input)
    return Spawned(run_ids=[first, second])


@create_workflow_job(name="fail-once")
async def fail_once(input: Step, ctx: JobContext) -> int:
    await _work()
    _witness(ctx, "fail-once", input)
    tried = Path(str(ctx.env["directory"])) / f"tried-{input.n}"
    if not tried.exists():
        tried.touch()
        raise JobFailedError("The first try fails.")
    return input.n


@create_workflow_job(name="stumble")
async def stumble(input: Step, ctx: JobContext) -> int:
    total = await inner.trigger(Step(n=input.n, step="before"))
    total += await fail_once.trigger(Step(n=input.n, step="middle"))
    total += await inner.trigger(Step(n=input.n, step="after"))
    _witness(ctx, "stumble", input)
    return total


class Question(BaseModel):
    """What a run asks."""

    n: int
    number: int


answers = define_wait_point("answers", payload=Question, result=int)


@create_workflow_job(name="ask")
async def ask(input: Step, ctx: JobContext) -> int:
    total = await inner.trigger(Step(n=input.n, step="before"))
    total += await answers.wait(Question(n=input.n, number=1))
    total += await inner.trigger(Step(n=input.n, step="between"))
    total += await ask_once_more.trigger(Step(n=input.n, step="once-more"))
    _witness(ctx, "ask", input)
    return total


@create_workflow_job(name="ask-once-more")
async def ask_once_more(input: Step, ctx: JobContext) -> int:
    answer = await answers.wait(Question(n=input.n, number=2))
    _witness(ctx, "ask-once-more", input)
    return answer


@create_workflow_job(name="last-long")
async def last_long(input: Step, ctx: JobContext) -> int:
    for index in range(STEPS_OF_LASTING):
        await inner.trigger(Step(n=input.n, step=f"{input.step}.{index}"))
    return STEPS_OF_LASTING


@create_workflow_job(name="clean-up")
async def clean_up(input: Step, ctx: JobContext) -> None:
    _witness(ctx, "begun", input)
    try:
        await asyncio.sleep(60)
    finally:
        _witness(ctx, "cleaning", input)
        await asyncio.sleep(60)


leaf = create_workflow(name="leaf", main_job=blocking)
nested = create_workflow(name="nested", main_job=nest)
spawning = create_workflow(
    name="spawning", main_job=spawn, concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=5)
)
flaky = create_workflow(
    name="flaky",
    main_job=stumble,
    retry_policy=RetryPolicy(max_retries=3, initial_backoff=timedelta(milliseconds=20)),
)
asking = create_workflow(name="asking", main_job=ask)
lasting = create_workflow(name="lasting", main_job=last_long)
tidy = create_workflow(name="tidy", main_job=clean_up)


def define_shop(directory: Path) -> App:
    """The app, with its witness in a directory."""
    return define_app(
        "crash-test",
        workflows=[leaf, nested, spawning, flaky, asking, lasting, tidy],
        env={"directory": str(directory)},
    )
