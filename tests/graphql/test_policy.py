"""Who may operate: see the executors, and every run."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.graphql.policy import CallerPolicy
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
