"""Who may operate: see the executors, and every run; and what a policy has to say."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.errors import DefinitionError
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import create_schema
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, WorkflowExecution
from gqlplugin.testing import MemoryPlatform, serve
from tests.graphql.conftest import authenticate
from tests.graphql.executor_shop import JOBS, Shop, define_shop, executors, served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served() as made:
        yield made


@pytest.mark.parametrize(("caller", "code"), [(None, "UNAUTHENTICATED"), ("ann", "FORBIDDEN")])
async def test_others_see_nothing_of_it(shop: Shop, caller: str | None, code: str) -> None:
    """Who may not operate learns nothing, not even which executors there are."""
    fired = await shop.fire("nightly-report")
    shop.act_as(caller)
    assert (await shop.client.execute("{ executors { name } }")).codes == [code]
    assert (await shop.client.execute(JOBS, {"name": "nightly-report"})).codes == [code]
    assert (await shop.client.execute(JOBS, {"name": "nobody"})).codes == [code]
    query = "query ($id: ID!) { workflowRun(id: $id) { id } }"
    assert (await shop.client.execute(query, {"id": fired})).codes == ["NOT_FOUND"]


async def test_nobody_operates_by_default() -> None:
    """Without a policy there are no operators."""
    async with serve(create_asgi(define_shop(), MemoryPlatform(), authenticate=authenticate)) as client:
        client.http.headers["x-user"] = "olga"
        assert (await client.execute("{ executors { name } }")).codes == ["FORBIDDEN"]


async def test_an_operator_sees_lists_and_resumes_every_run(shop: Shop) -> None:
    """Runs of other callers and firings are listed and shown with their types; others see their own alone."""
    theirs = await shop.platform.start_workflow(
        "reporting", '{"day": "today"}', caller=User(id="ann", type="user", attributes={})
    )
    fired = await shop.fire("even-hours")
    runs = "{ workflowRuns { edges { node { __typename id } } } }"
    edges = (await shop.client.run(runs))["workflowRuns"]["edges"]
    assert [edge["node"] for edge in edges] == [
        {"__typename": "ExecutorJob", "id": fired},
        {"__typename": "ReportingRun", "id": theirs},
    ]
    shop.act_as("ann")
    edges = (await shop.client.run(runs))["workflowRuns"]["edges"]
    assert [edge["node"]["id"] for edge in edges] == [theirs]


async def test_a_caller_with_the_id_of_an_executor_is_not_taken_for_it(shop: Shop) -> None:
    """Whatever an identity provider calls somebody, what executors did is not theirs."""
    fired = await shop.fire("nightly-report")
    shop.act_as("executor/nightly-report")
    query = "query ($id: ID!) { workflowRun(id: $id) { id } }"
    assert (await shop.client.execute(query, {"id": fired})).codes == ["NOT_FOUND"]
    assert (await shop.client.execute("{ workflowRuns { edges { cursor } } }")).codes == ["FORBIDDEN"]


class AwaitingPolicy(CallerPolicy):
    """Asks asynchronously who may operate, as a database would."""

    async def may_operate(self, user: User) -> bool:  # type: ignore[override]  # the protocol allows both
        return user.id == "ann"


async def test_a_policy_of_ones_own_decides_who_operates() -> None:
    """It may have to await the answer."""
    asgi = create_asgi(define_shop(), MemoryPlatform(), authenticate=authenticate, policy=AwaitingPolicy())
    async with serve(asgi) as client:
        client.http.headers["x-user"] = "ann"
        assert len((await client.run("{ executors { name } }"))["executors"]) == len(executors)
        client.http.headers["x-user"] = "olga"
        assert (await client.execute("{ executors { name } }")).codes == ["FORBIDDEN"]


class Later:
    """An answer that has to be awaited."""

    def __await__(self) -> Any:
        yield


async def test_operators_that_have_to_be_awaited_let_nobody_through() -> None:
    """An `async def` answers with something that is true whatever it would say: that is refused."""
    policy = CallerPolicy(operators=lambda _: Later())  # type: ignore[arg-type,return-value]  # the mistake
    with pytest.raises(TypeError, match="operators="):
        policy.may_operate(User(id="ann", type="user"))
    async with serve(create_asgi(define_shop(), MemoryPlatform(), policy=policy)) as client:
        assert (await client.execute("{ executors { name } }")).codes == ["INTERNAL"]


RUN = WorkflowExecution(
    id="run", workflow_name="ordering", status=ExecutionStatus.WAITING, input="null", created_at=datetime.now(UTC)
)


@pytest.mark.parametrize(
    ("user", "may_steer", "may_resolve"),
    [
        (User(id="ann", type="user"), True, False),
        (User(id="bob", type="user"), False, False),
        (User(), False, False),
        (User(id="olga", type="user"), True, True),
    ],
)
def test_owners_steer_their_runs_and_operators_alone_answer_them(
    user: User, may_steer: bool, may_resolve: bool
) -> None:
    """Seeing, resuming and canceling go together; an approval is not given by who asks for it."""
    policy = CallerPolicy(operators=lambda user: user.id == "olga")
    run = replace(RUN, caller=User(id="ann", type="user"))
    assert [policy.may_see(user, run), policy.may_resume(user, run), policy.may_cancel(user, run)] == [may_steer] * 3
    assert policy.may_resolve(user, run, "approval") is may_resolve
    assert not CallerPolicy().may_resolve(user, run, "approval")


def test_the_id_of_nobody_known_owns_nothing() -> None:
    """Who is anonymous is not the owner of a run that somebody with the same ID started."""
    run = replace(RUN, caller=User(type="user"))
    assert not CallerPolicy().may_see(User(), run)


class OldPolicy:
    """What a policy was before runs could be canceled and answered."""

    def may_see(self, user: User, run: WorkflowExecution) -> bool:
        return True

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        return True

    def listing(self, user: User) -> ExecutionFilter:
        return ExecutionFilter()

    def may_operate(self, user: User) -> bool:
        return True


def test_a_policy_that_lacks_methods_is_refused_with_their_names() -> None:
    """When the schema is made, not when somebody first cancels a run; so is a class, where an object is meant."""
    with pytest.raises(DefinitionError) as caught:
        create_schema(define_shop(), policy=OldPolicy())  # type: ignore[arg-type]  # the mistake
    assert "test_policy.OldPolicy, which has no may_cancel, may_resolve" in str(caught.value)
    assert "CallerPolicy" in str(caught.value)
    with pytest.raises(DefinitionError, match=r"the class CallerPolicy: pass an object, such as CallerPolicy\(\)"):
        create_schema(define_shop(), policy=CallerPolicy)  # type: ignore[arg-type]  # the mistake
