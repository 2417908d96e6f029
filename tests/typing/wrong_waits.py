"""What type checkers refuse of wait points and policies: each line marked `error` is an error, and no other line is."""

from pydantic import BaseModel

from gqlplugin import (
    User,
    WaitPoint,
    WorkflowExecution,
    create_schema,
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
nothing = define_wait_point("nothing", payload=None, result=None)
define_wait_point("missing", payload=Request)  # error: no result
define_wait_point("values", payload=Request(cents=1), result=Decision)  # error: a value is no type


@define_wait_points
class Desk:
    """Several wait points."""

    back: WaitPoint[str, int]


@create_workflow_job(name="ask")
async def ask(cents: int) -> bool:
    """Waits wrongly."""
    await approval.wait(Decision(approved=True))  # error: the result is not the payload
    await approval.wait({"cents": cents})  # error: a dict
    await approval.wait()  # error: no payload
    await approval.wait(Request(cents=cents), timeout=60)  # error: seconds are no time
    await nothing.wait("something")  # error: takes nothing
    await Desk.back.wait(cents)  # error: another payload
    answer: str = await Desk.back.wait("now?")  # error: another result
    decision = await approval.wait(Request(cents=len(answer)))
    return decision.accepted  # error: no such field


async def rate(text: str) -> int:
    """For another wait point."""
    return len(text)


def accept(request: Request) -> bool:
    """Returns something else."""
    return request.cents > 1


async def answer(run_id: str) -> None:
    """Answers wrongly."""
    await approval.resolve(run_id, Request(cents=1))  # error: the payload is not the result
    await approval.resolve(run_id, True)  # error: no model
    await approval.resolve(run_id)  # error: no result
    await approval.resolve(Decision(approved=True))  # error: no run
    await approval.resolve(run_id, rate)  # error: of another wait point
    await approval.resolve(run_id, accept)  # error: returns another type
    await approval.resolve(run_id, lambda request: Decision(approved=request.total > 1))  # error: no such field
    await approval.resolve(run_id, lambda request: request)  # error: returns the payload
    await Desk.back.resolve(run_id, "1")  # error: another result


class OldPolicy:
    """Lacks may_cancel and may_resolve."""

    def may_see(self, user: User, run: WorkflowExecution) -> bool:
        """Everybody."""
        return True

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        """Everybody."""
        return True

    def listing(self, user: User) -> ExecutionFilter:
        """All."""
        return ExecutionFilter()

    def may_operate(self, user: User) -> bool:
        """Nobody."""
        return False


app = define_app("shop", wait_points=[approval])
create_schema(app, policy=OldPolicy())  # error: lacks methods
define_app("shop", wait_points=["approval"])  # error: a name
