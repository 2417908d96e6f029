"""Canceling and resuming runs by GraphQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.identity import User
from gqlplugin.platform.base import uuid7
from gqlplugin.runs import ExecutionStatus, WorkflowExecution
from tests.graphql.waiting_shop import CANCEL, OWNER, RESOLVE, Shop, served, work

pytestmark = pytest.mark.anyio

RESUME = "mutation ($id: ID!) { it: resumeWorkflowRun(id: $id) { id status } }"
RUN = "query ($id: ID!) { workflowRun(id: $id) { status finishedAt error jobs { name status isWaitPoint } } }"


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served() as made:
        yield made


@pytest.mark.parametrize("caller", ["ann", "olga"])
async def test_owner_and_operators_cancel_a_waiting_run_at_once(shop: Shop, caller: str) -> None:
    """The answer shows the run as it is then, with its type; its wait has ended with it."""
    run_id = await shop.waiting()
    assert (await shop.data(caller, CANCEL, id=run_id))["it"] == {
        "__typename": "OrderingRun",
        "id": run_id,
        "status": "CANCELED",
    }
    run = (await shop.data(caller, RUN, id=run_id))["workflowRun"]
    assert run["finishedAt"] is not None
    assert run["error"] is None
    assert [(job["name"], job["status"]) for job in run["jobs"] if job["isWaitPoint"]] == [("approval", "CANCELED")]
    assert (await shop.call("olga", RESOLVE, id=run_id)).codes == ["FAILED_PRECONDITION"]


async def test_a_running_job_is_told_and_cleans_up(shop: Shop) -> None:
    """The mutation does not wait for the job; the run is CANCELED when its `finally` blocks are through."""
    run_id = await shop.platform.start_workflow("working", "null", caller=OWNER)
    await asyncio.wait_for(work.began.wait(), 60)
    assert (await shop.data("ann", CANCEL, id=run_id))["it"]["id"] == run_id
    await shop.reached(run_id, ExecutionStatus.CANCELED)
    assert work.was_cleaned_up


async def test_a_canceled_run_is_resumed_and_a_run_that_has_ended_is_not_canceled(shop: Shop) -> None:
    """A wrong state is the platform's to tell, in words that name it."""
    run_id = await shop.waiting()
    assert (await shop.call("ann", RESUME, id=run_id)).codes == ["FAILED_PRECONDITION"]
    await shop.data("ann", CANCEL, id=run_id)
    again = await shop.call("ann", CANCEL, id=run_id)
    assert again.codes == ["FAILED_PRECONDITION"]
    assert "CANCELED" in again.errors[0]["message"]
    await shop.data("ann", RESUME, id=run_id)
    await shop.reached(run_id, ExecutionStatus.WAITING)
    await shop.data("olga", RESOLVE, id=run_id)
    assert json.loads(await shop.output(run_id) or "")["approved"] is True
    assert (await shop.call("ann", CANCEL, id=run_id)).codes == ["FAILED_PRECONDITION"]


@pytest.mark.parametrize("caller", ["bob", None])
async def test_a_run_of_another_caller_is_not_canceled(shop: Shop, caller: str | None) -> None:
    """For them it does not exist, and it goes on waiting."""
    run_id = await shop.waiting()
    answers = [await shop.call(caller, CANCEL, id=one) for one in (run_id, uuid7(), "nonsense", "")]
    assert {json.dumps(answer.errors) for answer in answers} == {json.dumps(answers[0].errors)}
    assert answers[0].codes == ["NOT_FOUND"]
    assert (await shop.platform.get_execution(run_id)).status is ExecutionStatus.WAITING


async def test_of_many_cancels_one_is_taken(shop: Shop) -> None:
    """Fifty requests at once: one cancels the run, and the others are told that it has ended."""
    run_id = await shop.waiting()
    answers = await asyncio.gather(*(shop.call("ann", CANCEL, id=run_id) for _ in range(50)))
    assert sorted(map(str, (answer.codes for answer in answers))) == ["['FAILED_PRECONDITION']"] * 49 + ["[]"]


class LookingPolicy(CallerPolicy):
    """Everybody sees every run; whether one is canceled is asked asynchronously, as in a database."""

    def may_see(self, user: User, run: WorkflowExecution) -> bool:
        return True

    async def may_cancel(self, user: User, run: WorkflowExecution) -> Any:  # type: ignore[override]  # may be async
        return user.id == "ann" and run.workflow_name == "ordering"


async def test_who_may_see_and_not_cancel_is_told_so() -> None:
    """A policy of one's own may await, and its refusal is no secret to who sees the run."""
    async with served(LookingPolicy()) as shop:
        run_id, other = await shop.waiting(), await shop.waiting('"rating"', of="asking")
        assert (await shop.call("bob", CANCEL, id=run_id)).codes == ["FORBIDDEN"]
        assert (await shop.call("ann", CANCEL, id=other)).codes == ["FORBIDDEN"]
        assert (await shop.platform.get_execution(run_id)).status is ExecutionStatus.WAITING
        assert (await shop.data("ann", CANCEL, id=run_id))["it"]["status"] == "CANCELED"


async def test_an_anonymous_run_is_canceled_by_whoever_holds_its_id(shop: Shop) -> None:
    """As it is seen by them."""
    run_id = await shop.platform.start_workflow("asking", '"rating"', caller=User())
    await shop.reached(run_id, ExecutionStatus.WAITING)
    assert (await shop.data(None, CANCEL, id=run_id))["it"]["status"] == "CANCELED"
