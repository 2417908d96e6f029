"""Runs that wait until somebody answers them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    InvalidInputError,
    NotFoundError,
    WaitTimedOutError,
)
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform, uuid7
from gqlplugin.runs import ConcurrencyPolicy, ExecutionStatus, JobStatus, WaitFilter
from gqlplugin.wait_point import WaitPoint, define_wait_point, define_wait_points
from gqlplugin.workflow import create_workflow
from tests.contract.support import ALICE, BOB, ended, executing, failed, in_status, jobs_of, output_of, workflow_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("wait-points")]

ALL = WaitFilter()


class Request(BaseModel):
    cents: int


class Decision(BaseModel):
    approved: bool
    note: str = ""


approval = define_wait_point("approval", payload=Request, result=Decision)
second_look = define_wait_point("second-look", payload=str, result=int)


@define_wait_points
class Desk:
    front_office: WaitPoint[Request, Decision]
    back_office: WaitPoint[str, int]


runs: list[str] = []


@create_workflow_job(name="count-it")
async def count_it(input: str) -> str:
    runs.append(input)
    return input


@create_workflow_job(name="ask")
async def ask(input: int, ctx: JobContext) -> str:
    ctx.log.info("before")
    await count_it.trigger("before")
    decision = await approval.wait(Request(cents=input))
    ctx.log.info("after")
    await count_it.trigger("after")
    return f"{decision.approved} {decision.note}"


asking = workflow_of(ask, "ask-somebody")


async def test_a_run_waits_and_goes_on_with_the_answer(platform: Platform) -> None:
    """It is WAITING and shows where; then the answer is what `wait` returns, and what was before is not done again."""
    runs.clear()
    async with executing(platform, asking):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        run = await in_status(platform, run_id, ExecutionStatus.WAITING)
        assert run.finished_at is None
        jobs = await jobs_of(platform, run_id)
        started_at = jobs["ask"].started_at
        assert jobs["ask"].status is JobStatus.SUSPEND
        assert jobs["ask/approval"].status is JobStatus.WAITING
        assert jobs["ask/approval"].name == "approval"
        assert jobs["ask/approval"].is_wait_point
        await approval.resolve(run_id, Decision(approved=True, note="fine"))
        assert await output_of(platform, run_id) == "True fine"
        jobs = await jobs_of(platform, run_id)
    assert runs == ["before", "after"]
    assert jobs["ask/approval"].status is JobStatus.SUCCESS
    assert [line.rpartition(" ")[2] for line in jobs["ask"].logs] == ["before", "after"]
    assert jobs["ask"].started_at == started_at


async def test_the_answer_can_be_made_of_the_payload(platform: Platform) -> None:
    """A function, plain or async, gets the payload and returns the answer."""
    async with executing(platform, asking):
        for answer in (lambda request: Decision(approved=request.cents < 10), _decide):
            run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
            await in_status(platform, run_id, ExecutionStatus.WAITING)
            await approval.resolve(run_id, answer)
            assert await output_of(platform, run_id) == "True "


async def _decide(request: Request) -> Decision:
    return Decision(approved=request.cents == 5)


async def test_of_many_answers_at_once_one_is_taken(platform: Platform) -> None:
    """Fifty answers: one is accepted and is what the run goes on with, all others are told so."""
    async with executing(platform, asking):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        answers = [approval.resolve(run_id, Decision(approved=True, note=str(number))) for number in range(50)]
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        accepted = [number for number, outcome in enumerate(outcomes) if outcome is None]
        assert len(accepted) == 1
        assert sum(isinstance(outcome, FailedPreconditionError) for outcome in outcomes) == 49
        assert await output_of(platform, run_id) == f"True {accepted[0]}"


async def test_wrong_answers_are_refused_and_change_nothing(platform: Platform) -> None:
    """Another wait point, an answer that doesn't fit, a second answer, no such run, a run that does not wait."""
    async with executing(platform, asking):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        with pytest.raises(FailedPreconditionError, match="waits at 'approval', not at 'second-look'"):
            await second_look.resolve(run_id, 1)
        with pytest.raises(InvalidInputError):
            await approval.resolve(run_id, {"approved": "perhaps"})  # type: ignore[arg-type]
        with pytest.raises(NotFoundError):
            await approval.resolve(uuid7(), Decision(approved=True))
        with pytest.raises(FailedPreconditionError, match="only a FAILED or CANCELED run"):
            await platform.resume(run_id)
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.WAITING
        await approval.resolve(run_id, Decision(approved=False))
        await ended(platform, run_id)
        with pytest.raises(FailedPreconditionError, match="resolved already"):
            await approval.resolve(run_id, Decision(approved=True))
        assert await output_of(platform, run_id) == "False "


async def test_a_wait_can_have_an_end(platform: Platform) -> None:
    """After the time-out `wait` raises; a job that handles it goes on, and says the same when it runs again."""

    @create_workflow_job(name="hasty")
    async def hasty(input: int) -> str:
        try:
            decision = await approval.wait(Request(cents=input), timeout=timedelta(milliseconds=50))
        except WaitTimedOutError:
            await count_it.trigger("too late")
            answer = await second_look.wait("nobody answered")
            return f"second look: {answer}"
        return str(decision.approved)

    async with executing(platform, workflow_of(hasty)):
        run_id = await platform.start_workflow("the-workflow", "5", caller=ALICE)
        await _waits_at(platform, run_id, "second-look")
        await second_look.resolve(run_id, 7)
        assert await output_of(platform, run_id) == "second look: 7"


async def test_a_wait_that_nobody_handles_fails_the_run_and_is_waited_again_after_a_resume(platform: Platform) -> None:
    """The run has the code WAIT_TIMED_OUT; resumed, it waits anew."""
    lasting = timedelta(milliseconds=50)

    @create_workflow_job(name="hasty")
    async def hasty(input: int) -> bool:
        return (await approval.wait(Request(cents=input), timeout=lasting)).approved

    async with executing(platform, workflow_of(hasty)):
        run_id = await platform.start_workflow("the-workflow", "5", caller=ALICE)
        run = await failed(platform, run_id)
        assert run.error is not None
        assert run.error.code == "WAIT_TIMED_OUT"
        lasting = timedelta(minutes=5)
        await platform.resume(run_id)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        await approval.resolve(run_id, Decision(approved=True))
        assert await output_of(platform, run_id) is True


async def test_a_run_can_wait_again_at_the_same_point(platform: Platform) -> None:
    """Each wait has an answer of its own."""

    @create_workflow_job(name="two-questions")
    async def two_questions() -> list[str]:
        first = await approval.wait(Request(cents=1))
        second = await approval.wait(Request(cents=2))
        return [first.note, second.note]

    async with executing(platform, workflow_of(two_questions)):
        run_id = await platform.start_workflow("the-workflow", "null", caller=ALICE)
        for note in ("one", "two"):
            payload = await _waits_at(platform, run_id, "approval")
            assert payload == '{"cents":1}' if note == "one" else '{"cents":2}'
            await approval.resolve(run_id, Decision(approved=True, note=note))
            if note == "one":
                await _until_payload(platform, run_id, '{"cents":2}')
        assert await output_of(platform, run_id) == ["one", "two"]


async def _waits_at(platform: Platform, run_id: str, name: str) -> str:
    async with asyncio.timeout(60):
        while True:
            page = await platform.list_waits(WaitFilter(run_id=run_id, name=name), first=10)
            if page.waits:
                return page.waits[0].payload
            await asyncio.sleep(0.005)


async def _until_payload(platform: Platform, run_id: str, payload: str) -> None:
    async with asyncio.timeout(60):
        while True:
            page = await platform.list_waits(WaitFilter(run_id=run_id), first=10)
            if page.waits and page.waits[0].payload == payload:
                return
            await asyncio.sleep(0.005)


async def test_a_wait_that_is_meant_is_the_only_one_that_is_answered(platform: Platform) -> None:
    """An answer to an earlier wait does not reach a later one at the same point."""
    async with executing(platform, asking):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        wait = (await platform.list_waits(WaitFilter(run_id=run_id), first=1)).waits[0]
        with pytest.raises(FailedPreconditionError):
            await platform.resolve(run_id, "approval", '{"approved": true}', job_id=uuid7())
        await platform.resolve(run_id, "approval", '{"approved": true}', job_id=wait.job_id)
        assert await output_of(platform, run_id) == "True "


@pytest.mark.needs("callers")
async def test_waits_are_listed_the_longest_first(platform: Platform) -> None:
    """Pages follow each other, and filters leave out what does not fit."""
    async with executing(platform, asking):
        run_ids = []
        for number in range(5):
            run_id = await platform.start_workflow("ask-somebody", str(number), caller=BOB if number == 3 else ALICE)
            await in_status(platform, run_id, ExecutionStatus.WAITING)
            run_ids.append(run_id)
        page = await platform.list_waits(ALL, first=2)
        rest = await platform.list_waits(ALL, first=10, after=page.cursors[-1])
        assert page.has_next
        assert not rest.has_next
        assert [wait.execution.id for wait in [*page.waits, *rest.waits]] == run_ids
        assert [wait.payload for wait in page.waits] == ['{"cents":0}', '{"cents":1}']
        of_bob = await platform.list_waits(WaitFilter(caller_id="bob", name="approval"), first=10)
        assert [wait.execution.id for wait in of_bob.waits] == [run_ids[3]]
        assert not (await platform.list_waits(WaitFilter(name="second-look"), first=10)).waits
        assert not (await platform.list_waits(WaitFilter(workflow_name="another"), first=10)).waits
        with pytest.raises(InvalidInputError):
            await platform.list_waits(ALL, first=10, after="x")


@pytest.mark.needs("cancel")
async def test_a_waiting_run_is_canceled_at_once_and_can_be_resumed(platform: Platform) -> None:
    """Its wait is over; after a resume it waits again, and what ran before does not run again."""
    runs.clear()
    async with executing(platform, asking):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        await platform.cancel(run_id)
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.CANCELED
        assert {job.status for job in (await jobs_of(platform, run_id)).values()} == {
            JobStatus.CANCELED,
            JobStatus.SUCCESS,
        }
        with pytest.raises(FailedPreconditionError):
            await approval.resolve(run_id, Decision(approved=True))
        await platform.resume(run_id)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        await approval.resolve(run_id, Decision(approved=True))
        assert await output_of(platform, run_id) == "True "
    assert runs == ["before", "after"]


@pytest.mark.parametrize("made", [Decision(approved=True), _decide], ids=["value", "function"])
async def test_a_job_resolves_once(platform: Platform, made: Any) -> None:
    """What a job of another run answers is not answered again when that job runs again."""

    @create_workflow_job(name="answer")
    async def answer(input: str) -> int:
        await approval.resolve(input, made)
        return await Desk.back_office.wait("and then?")

    async with executing(platform, asking, workflow_of(answer, "answer-it")):
        run_id = await platform.start_workflow("ask-somebody", "5", caller=ALICE)
        await in_status(platform, run_id, ExecutionStatus.WAITING)
        other = await platform.start_workflow("answer-it", f'"{run_id}"', caller=ALICE)
        assert await output_of(platform, run_id) == "True "
        await in_status(platform, other, ExecutionStatus.WAITING)
        await Desk.back_office.resolve(other, 3)
        assert await output_of(platform, other) == 3


async def test_waiting_holds_no_place_of_a_concurrency_limit(new_platform: Callable[[], Platform]) -> None:
    """While runs wait, others of the same workflow run: a thousand waiting runs are a thousand rows."""
    platform = new_platform()
    narrow = create_workflow(name="ask-one", main_job=ask, concurrency_policy=ConcurrencyPolicy(1))
    async with executing(platform, narrow):
        run_ids = [await platform.start_workflow("ask-one", "1", caller=ALICE) for _ in range(3)]
        for run_id in run_ids:
            await in_status(platform, run_id, ExecutionStatus.WAITING)


async def test_outside_of_a_job_there_is_nothing_to_wait_for(platform: Platform) -> None:
    """It is refused, with a message that says why."""
    with pytest.raises(GqlpluginError, match="only be waited at by a job"):
        await approval.wait(Request(cents=1))
