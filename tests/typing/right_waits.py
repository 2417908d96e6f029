"""Right uses of wait points and cancel; no type checker may refuse any of it."""

from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from gqlplugin import (
    CallerPolicy,
    User,
    WaitPoint,
    WorkflowExecution,
    create_schema,
    create_workflow,
    create_workflow_job,
    define_app,
    define_wait_point,
    define_wait_points,
)
from gqlplugin.runs import ExecutionFilter


class Request(BaseModel):
    """What is asked."""

    cents: int


class Decision(BaseModel):
    """What is answered."""

    approved: bool


approval = define_wait_point("approval", payload=Request, result=Decision)
choice = define_wait_point("choice", payload=None, result=int | str)
maybe = define_wait_point("maybe", payload=list[Request], result=Decision | None)
assert_type(approval, WaitPoint[Request, Decision])
assert_type(choice, WaitPoint[None, int | str])


@define_wait_points
class Desk:
    """Several wait points."""

    front: WaitPoint[Request, Decision]
    back: WaitPoint[str, int]


@create_workflow_job(name="ask")
async def ask(cents: int) -> bool:
    """Waits everywhere."""
    decision = await approval.wait(Request(cents=cents), timeout=timedelta(hours=1))
    assert_type(decision, Decision)
    assert_type(await choice.wait(None), int | str)
    assert_type(await maybe.wait([Request(cents=1)]), Decision | None)
    assert_type(await Desk.back.wait("now?"), int)
    return decision.approved and (await Desk.front.wait(Request(cents=1))).approved


async def decide(request: Request) -> Decision:
    """An async answer."""
    return Decision(approved=request.cents < 100)


def rate(text: str) -> int:
    """A plain one."""
    return len(text)


async def answer(run_id: str) -> None:
    """Answers them."""
    await approval.resolve(run_id, Decision(approved=True))
    await approval.resolve(run_id, decide)
    await approval.resolve(run_id, lambda request: Decision(approved=request.cents < 100))
    await choice.resolve(run_id, "left")
    await choice.resolve(run_id, lambda _: 1)
    await maybe.resolve(run_id, None)
    await Desk.back.resolve(run_id, rate)


class FourEyes(CallerPolicy):
    """Operators answer, and not what they have started themselves."""

    def may_resolve(self, user: User, run: WorkflowExecution, wait_point: str) -> bool:
        """Two people for one approval."""
        return super().may_resolve(user, run, wait_point) and run.caller.id != user.id


class Everybody:
    """A policy of one's own, partly async."""

    async def may_see(self, user: User, run: WorkflowExecution) -> bool:
        """Everybody."""
        return True

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        """Everybody."""
        return True

    async def may_cancel(self, user: User, run: WorkflowExecution) -> bool:
        """Everybody."""
        return True

    async def may_resolve(self, user: User, run: WorkflowExecution, wait_point: str) -> bool:
        """Not everything."""
        return wait_point != "approval"

    def listing(self, user: User) -> ExecutionFilter:
        """All."""
        return ExecutionFilter()

    def may_operate(self, user: User) -> bool:
        """Nobody."""
        return False


app = define_app("shop", workflows=[create_workflow(name="asking", main_job=ask)], wait_points=[approval, Desk.back])
create_schema(app, policy=FourEyes())
create_schema(app, policy=Everybody())
