"""Runs as GraphQL: who sees what of them, with which types."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.auth import User
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.runs import ExecutionFilter, JobExecution, Values, WorkflowExecution
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.graphql.conftest import Shop, authenticate
from tests.graphql.shop import Order, define_shop, order_processing, shop_schema, stock

pytestmark = pytest.mark.anyio

RUN = """query ($id: ID!) { workflowRun(id: $id) {
  __typename id workflowName status createdAt startedAt finishedAt error progress progressMessage
  jobs { id name stackedName status startedAt finishedAt error logs result progress progressMessage }
  ... on OrderProcessingRun { input { orderId amount } output { orderId total } }
} }"""

PAGE = """query ($first: Int!, $after: String, $name: String, $status: WorkflowRunStatus) {
  workflowRuns(first: $first, after: $after, workflowName: $name, status: $status) {
    edges { cursor node { id status workflowName } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  } }"""


async def test_a_run_shows_its_typed_input_and_output_and_its_jobs(shop: Shop) -> None:
    """A frontend follows a run by its ID, and its generated types know what the workflow returns."""
    run_id = await shop.start('placeOrder(orderId: "7", amount: 3)')
    await shop.finished(run_id)
    run = (await shop.client.run(RUN, {"id": run_id}))["workflowRun"]
    assert run["__typename"] == "OrderProcessingRun"
    assert (run["workflowName"], run["status"], run["error"]) == ("order-processing", "SUCCESS", None)
    assert run["input"] == {"orderId": "7", "amount": 3}
    assert run["output"] == {"orderId": "7", "total": 30}
    assert (run["progress"], run["progressMessage"]) == (0.25, "started")
    assert run["createdAt"] <= run["startedAt"] <= run["finishedAt"]
    main, price = run["jobs"]
    assert (main["stackedName"], price["stackedName"]) == ("process-order", "process-order/price-order")
    assert (price["name"], price["status"], price["result"]) == ("price-order", "SUCCESS", 30)
    assert (price["progress"], price["progressMessage"]) == (0.5, "pricing")
    assert price["logs"][0].endswith("INFO pricing 7")


async def test_what_graphql_has_no_type_for_is_shown_as_json(shop: Shop) -> None:
    """A tuple or a dict is JSON; a workflow that takes and returns nothing has neither field."""
    run_id = await shop.start("summarise")
    await shop.finished(run_id)
    query = "query ($id: ID!) { workflowRun(id: $id) { ... on SummaryRun { input output } } }"
    assert (await shop.client.run(query, {"id": run_id}))["workflowRun"] == {
        "input": {"a": 1, "b": 2},
        "output": [3, "a b"],
    }
    sdl = str(create_schema(shop.app))
    assert "input" not in sdl.partition("type StockTakingRun")[2].partition("}")[0]


async def test_a_stored_value_that_no_longer_fits_is_null_with_an_error(shop: Shop) -> None:
    """After the model has changed, old runs can still be looked at."""
    run_id = await shop.platform.start_workflow("order-processing", '{"orderId": 5}', caller=User())
    await shop.finished(run_id)
    result = await shop.client.execute(RUN, {"id": run_id})
    assert result.data["workflowRun"]["input"] is None
    assert result.data["workflowRun"]["status"] == "FAILED"
    [error] = result.errors
    assert error["path"] == ["workflowRun", "input"]
    assert error["extensions"]["code"] == "FAILED_PRECONDITION"
    assert "orderId" in error["message"]


async def test_the_detail_of_an_error_stays_with_the_operators(shop: Shop) -> None:
    """A run and a job show the message of their error, never a traceback."""
    run_id = await shop.start("takeStock")
    run = await shop.finished(run_id)
    assert run.error is not None
    assert run.error.detail is not None
    result = await shop.client.execute(RUN, {"id": run_id})
    assert result.data["workflowRun"]["error"] == "The stock is empty."
    assert result.data["workflowRun"]["jobs"][0]["error"] == "The stock is empty."
    assert "Traceback" not in json.dumps(result.data)


async def test_a_run_of_a_workflow_that_is_gone_has_a_type_too() -> None:
    """An app that dropped a workflow still shows its runs."""
    platform = MemoryPlatform()
    async with platform:
        async with platform.execute(define_shop()):
            run_id = await order_processing.trigger(Order(order_id="1"))
        smaller = define_app("shop", workflows=[create_workflow(name="other", input=Order)])
        async with serve(create_asgi(smaller, platform)) as client:
            query = "query ($id: ID!) { workflowRun(id: $id) { __typename workflowName } }"
            assert (await client.run(query, {"id": run_id}))["workflowRun"] == {
                "__typename": "UnknownWorkflowRun",
                "workflowName": "order-processing",
            }


class CountingPlatform(MemoryPlatform):
    """Counts the reads of jobs."""

    reads = 0

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        self.reads += 1
        return await super().get_jobs(run_ids, values=values)


async def test_a_page_of_runs_with_jobs_costs_one_read_of_jobs() -> None:
    """Jobs are read for the whole page at once, and only when asked for."""
    platform = CountingPlatform()
    async with serve(create_asgi(define_shop(), platform, authenticate=authenticate)) as client:
        client.http.headers["x-user"] = "ann"
        await client.run('mutation { a: placeOrder(orderId: "1") { runId } b: placeOrder(orderId: "2") { runId } }')
        data = await client.run("{ workflowRuns { edges { node { jobs { name } again: jobs { id } } } } }")
        assert len(data["workflowRuns"]["edges"]) == 2
        assert platform.reads == 1
        await client.run("{ workflowRuns { edges { node { id } } } }")
        assert platform.reads == 1


async def test_pages_are_newest_first_and_end_where_the_list_ends(shop: Shop) -> None:
    """Going from cursor to cursor shows every run once, and the last page says that it is the last."""
    shop.act_as("ann")
    started = [await shop.start(f'placeOrder(orderId: "{number}")') for number in range(4)]
    seen: list[str] = []
    after, more = None, True
    while more:
        page = (await shop.client.run(PAGE, {"first": 2, "after": after}))["workflowRuns"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        seen += [edge["node"]["id"] for edge in page["edges"]]
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert after == page["edges"][-1]["cursor"]
    assert seen == started[::-1]
    rest = (await shop.client.run(PAGE, {"first": 2, "after": after}))["workflowRuns"]
    assert rest["edges"] == []
    assert rest["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True, "startCursor": None, "endCursor": None}


async def test_a_list_is_filtered_by_workflow_and_status(shop: Shop) -> None:
    """The filters of the request apply within what the policy allows."""
    shop.act_as("ann")
    failed = await shop.start("takeStock")
    await shop.finished(await shop.start('placeOrder(orderId: "1")'))
    await shop.finished(failed)
    for variables in ({"first": 9, "name": "stock-taking"}, {"first": 9, "status": "FAILED"}):
        page = (await shop.client.run(PAGE, variables))["workflowRuns"]
        assert [edge["node"]["id"] for edge in page["edges"]] == [failed]


@pytest.mark.parametrize(
    "variables", [{"first": -1}, {"first": 0}, {"first": 10**6}, {"first": 2**40}, {"first": 1, "after": "nonsense"}]
)
async def test_a_bad_page_is_the_clients_error(shop: Shop, variables: dict[str, object]) -> None:
    """`first` out of its range and a cursor that isn't one are refused, readably."""
    shop.act_as("ann")
    result = await shop.client.execute(PAGE, variables)
    assert result.codes == ["BAD_USER_INPUT"]


async def test_listing_needs_a_caller_and_shows_their_own(shop: Shop) -> None:
    """Nobody lists the runs of others, or anonymous ones."""
    await shop.start('placeOrder(orderId: "0")')
    shop.act_as("ann")
    own = await shop.start('placeOrder(orderId: "1")')
    shop.act_as("bob")
    assert (await shop.client.run(PAGE, {"first": 9}))["workflowRuns"]["edges"] == []
    shop.act_as("ann")
    assert [edge["node"]["id"] for edge in (await shop.client.run(PAGE, {"first": 9}))["workflowRuns"]["edges"]] == [
        own
    ]
    shop.act_as(None)
    assert (await shop.client.execute(PAGE, {"first": 9})).codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("field", ["workflowRun", "resumeWorkflowRun", "cancelWorkflowRun"])
async def test_a_run_of_another_caller_does_not_exist(shop: Shop, field: str) -> None:
    """A refused ID, an unknown one and what isn't one are answered alike."""
    shop.act_as("ann")
    run_id = await shop.start("takeStock")
    await shop.finished(run_id)
    operation = "query" if field == "workflowRun" else "mutation"
    answers = set()
    for caller in ("bob", None):
        shop.act_as(caller)
        for id_ in (run_id, str(uuid.uuid4()), "nonsense", "", run_id.upper(), "{" + run_id + "}"):
            result = await shop.client.execute(f"{operation} ($id: ID!) {{ {field}(id: $id) {{ id }} }}", {"id": id_})
            answers.add(json.dumps(result.errors))
    assert len(answers) == 1
    assert json.loads(answers.pop())[0]["extensions"] == {"code": "NOT_FOUND"}


class PickyPlatform(MemoryPlatform):
    """Refuses what isn't a UUID, as the Tailor Platform does."""

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        try:
            uuid.UUID(run_id)
        except ValueError:
            raise InvalidInputError("That is not a UUID.") from None
        return await super().get_execution(run_id)


async def test_what_is_no_id_does_not_exist_on_any_platform() -> None:
    """The answer does not depend on how a platform reads IDs."""
    async with serve(create_asgi(define_shop(), PickyPlatform(), schema=shop_schema())) as client:
        assert (await client.execute(RUN, {"id": "nonsense"})).codes == ["NOT_FOUND"]


async def test_an_anonymous_run_belongs_to_whoever_holds_its_id(shop: Shop) -> None:
    """Without authentication the ID is the key."""
    run_id = await shop.start('placeOrder(orderId: "1")')
    shop.act_as("bob")
    assert (await shop.client.run(RUN, {"id": run_id}))["workflowRun"]["id"] == run_id


async def test_a_failed_run_is_resumed_under_its_id(shop: Shop) -> None:
    """After the cause is mended, the same run succeeds."""
    run_id = await shop.start("takeStock")
    await shop.finished(run_id)
    stock["is_empty"] = False
    resume = "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id status __typename } }"
    resumed = (await shop.client.run(resume, {"id": run_id}))["resumeWorkflowRun"]
    assert resumed["id"] == run_id
    assert resumed["__typename"] == "StockTakingRun"
    assert resumed["status"] != "FAILED"
    assert (await shop.finished(run_id)).status == "SUCCESS"
    assert (await shop.client.execute(resume, {"id": run_id})).codes == ["FAILED_PRECONDITION"]


class TeamPolicy:
    """Members of the team see all runs of one workflow; only ann resumes. Asks asynchronously, as a database would."""

    async def may_see(self, user: User, run: WorkflowExecution) -> bool:
        return not user.is_anonymous and run.workflow_name == "stock-taking"

    def may_resume(self, user: User, run: WorkflowExecution) -> bool:
        return user.id == "ann"

    def may_cancel(self, user: User, run: WorkflowExecution) -> bool:
        return False

    def may_resolve(self, user: User, run: WorkflowExecution, wait_point: str) -> bool:
        return False

    async def listing(self, user: User) -> ExecutionFilter:
        return ExecutionFilter(workflow_name="stock-taking")

    def may_operate(self, user: User) -> bool:
        return False


async def test_a_policy_of_ones_own_decides() -> None:
    """Seeing, resuming and listing go by the policy that was given."""
    stock["is_empty"] = True
    asgi = create_asgi(define_shop(), MemoryPlatform(), authenticate=authenticate, policy=TeamPolicy())
    async with serve(asgi) as client:
        client.http.headers["x-user"] = "ann"
        data = await client.run('mutation { a: takeStock { runId } b: placeOrder(orderId: "1") { runId } }')
        run_id, other = data["a"]["runId"], data["b"]["runId"]
        client.http.headers["x-user"] = "bob"
        page = (await client.run(PAGE, {"first": 9}))["workflowRuns"]
        assert [edge["node"]["id"] for edge in page["edges"]] == [run_id]
        page = (await client.run(PAGE, {"first": 9, "name": "order-processing"}))["workflowRuns"]
        assert page["edges"] == []
        assert (await client.execute(RUN, {"id": other})).codes == ["NOT_FOUND"]
        assert (await client.run(RUN, {"id": run_id}))["workflowRun"]["id"] == run_id
        resume = "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id } }"
        assert (await client.execute(resume, {"id": run_id})).codes == ["FORBIDDEN"]
        cancel = "mutation ($id: ID!) { cancelWorkflowRun(id: $id) { id } }"
        assert (await client.execute(cancel, {"id": run_id})).codes == ["FORBIDDEN"]


def test_two_workflows_whose_types_would_have_one_name_are_refused() -> None:
    """Strawberry would merge them silently."""

    @create_workflow_job(name="some-job")
    async def some_job() -> None: ...

    workflows = [create_workflow(name=name, main_job=some_job) for name in ("order-2", "order2", "unknown-workflow")]
    with pytest.raises(DefinitionError) as caught:
        create_schema(define_app("shop", workflows=workflows))
    assert "'Order2Run'" in caught.value.problems[0]
    assert "'order-2'" in caught.value.problems[0]
    assert "'order2'" in caught.value.problems[0]
    assert "'UnknownWorkflowRun'" in caught.value.problems[1]


def test_an_app_without_workflows_has_no_run_fields() -> None:
    """What nobody needs is not in the schema."""
    shop = define_shop()
    bare = replace(shop, workflows={})
    assert "WorkflowRun" not in str(create_schema(bare))
