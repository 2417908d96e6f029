"""Wait points as GraphQL: typed answers, and the list of what waits."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from gqlplugin.app import define_app
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.platform.base import uuid7
from gqlplugin.runs import ExecutionFilter, ExecutionStatus
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.graphql.waiting_shop import CANCEL, RESOLVE, Shop, served

pytestmark = pytest.mark.anyio

PENDING = """query ($name: String, $first: Int! = 20, $after: String) {
  pendingWaitPoints(name: $name, first: $first, after: $after) {
    edges { cursor node { __typename id runId name workflowName payload since expiresAt mayResolve
      run { id status jobs { id name isWaitPoint } }
      ... on PendingApproval { request { orderId cents } }
      ... on PendingRating { question: request }
      ... on PendingEither { anything: request } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with served() as made:
        yield made


async def pending(shop: Shop, caller: str | None, **variables: Any) -> list[dict[str, Any]]:
    """The nodes that a caller is shown."""
    page = (await shop.data(caller, PENDING, **variables))["pendingWaitPoints"]
    return [edge["node"] for edge in page["edges"]]


async def test_a_run_is_answered_by_the_fields_of_the_result(shop: Shop) -> None:
    """The mutation has the model's fields, by alias and with their defaults; the job gets the model."""
    run_id = await shop.waiting()
    mutation = """mutation ($id: ID!) {
      resolveApproval(runId: $id, approved: true, limitCents: 9, reasons: ["a", "b"]) {
        __typename status ... on OrderingRun { input { orderId } } } }"""
    run = (await shop.data("olga", mutation, id=run_id))["resolveApproval"]
    assert (run["__typename"], run["input"]) == ("OrderingRun", {"orderId": "7"})
    assert run["status"] != "WAITING"
    assert json.loads(await shop.output(run_id) or "") == {
        "approved": True,
        "note": "",
        "limitCents": 9,
        "reasons": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("of", "arguments", "output"),
    [
        ("rating", "result: 5", "5"),
        ("colour", "result: dark_green", '"dark-green"'),
        ("signal", "", "null"),
        ("labels", 'result: ["x", "y"]', '["x","y"]'),
        ("either", "result: 7", "7"),
        ("either", 'result: {orderId: "1", cents: 2}', '{"orderId":"1","cents":2}'),
        (
            "references",
            'result: ["01a2002e-b2c9-79af-a70d-707a1cf158dc"]',
            '["01a2002e-b2c9-79af-a70d-707a1cf158dc"]',
        ),
    ],
)
async def test_a_result_that_is_no_model_is_one_argument(shop: Shop, of: str, arguments: str, output: str) -> None:
    """It has GraphQL's type where there is one, else it is JSON; no result is no argument."""
    run_id = await shop.waiting(json.dumps(of), of="asking")
    field = {"colour": "resolveColourOfIt"}.get(of, f"resolve{of.capitalize()}")
    await shop.data("olga", f'mutation {{ {field}(runId: "{run_id}" {arguments}) {{ id }} }}')
    assert await shop.output(run_id) == output


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        ('approved: true, note: "?", limitCents: -1', [["it", "note"], ["it", "limitCents"]]),
        ('approved: true, note: "much too long for this field"', [["it", "note"]]),
    ],
)
async def test_each_wrong_field_of_an_answer_has_an_error(shop: Shop, arguments: str, paths: list[list[str]]) -> None:
    """With its path, and without the value; the run waits on."""
    run_id = await shop.waiting()
    result = await shop.call("olga", f'mutation {{ it: resolveApproval(runId: "{run_id}", {arguments}) {{ id }} }}')
    assert [error["path"] for error in result.errors] == paths
    assert set(result.codes) == {"BAD_USER_INPUT"}
    assert "much too" not in json.dumps(result.errors)
    assert (await shop.platform.get_execution(run_id)).status is ExecutionStatus.WAITING


async def test_free_form_json_that_does_not_fit_is_the_clients_error(shop: Shop) -> None:
    """What GraphQL has no type for is checked by pydantic, and the error tells where, not what, it was."""
    run_id = await shop.waiting('"either"', of="asking")
    result = await shop.call("olga", f'mutation {{ resolveEither(runId: "{run_id}", result: "hunter2") {{ id }} }}')
    assert result.codes == ["BAD_USER_INPUT"]
    assert result.errors[0]["path"] == ["resolveEither", "result"]
    assert "hunter2" not in json.dumps(result.errors)
    assert (await shop.call("olga", f'mutation {{ resolveEither(runId: "{run_id}") {{ id }} }}')).codes == [
        "BAD_USER_INPUT"
    ]


async def test_who_asks_for_an_approval_can_not_give_it(shop: Shop) -> None:
    """The owner sees the run and is told that this is not for them; for others there is no such run."""
    run_id = await shop.waiting()
    assert (await shop.call("ann", RESOLVE, id=run_id)).codes == ["FORBIDDEN"]
    for caller in ("bob", None):
        answers = [await shop.call(caller, RESOLVE, id=one) for one in (run_id, uuid7(), str(uuid4()), "nonsense", "")]
        assert {json.dumps(answer.errors) for answer in answers} == {json.dumps(answers[0].errors)}
        assert answers[0].codes == ["NOT_FOUND"]
    assert (await shop.platform.get_execution(run_id)).status is ExecutionStatus.WAITING


async def test_a_run_in_the_wrong_state_is_not_answered(shop: Shop) -> None:
    """Another wait point, a second answer, a canceled run: the platform's own words say which."""
    run_id, other = await shop.waiting(), await shop.waiting('"rating"', of="asking")
    wrong = await shop.call("olga", RESOLVE, id=other)
    assert wrong.codes == ["FAILED_PRECONDITION"]
    assert "waits at 'rating', not at 'approval'" in wrong.errors[0]["message"]
    await shop.data("olga", RESOLVE, id=run_id)
    second = await shop.call("olga", RESOLVE, id=run_id)
    assert second.codes == ["FAILED_PRECONDITION"]
    assert "resolved already" in second.errors[0]["message"]
    await shop.data("ann", CANCEL, id=other)
    canceled = await shop.call("olga", f'mutation {{ resolveRating(runId: "{other}", result: 1) {{ id }} }}')
    assert canceled.codes == ["FAILED_PRECONDITION"]


async def test_of_fifty_answers_at_once_exactly_one_wins(shop: Shop) -> None:
    """By HTTP; the run goes on with the answer of the one who was told that it was taken."""
    run_id = await shop.waiting()
    mutation = "mutation ($id: ID!, $note: String!) { resolveApproval(runId: $id, approved: true, note: $note) { id } }"
    answers = await asyncio.gather(*(shop.call("olga", mutation, id=run_id, note=str(one)) for one in range(50)))
    won = [number for number, answer in enumerate(answers) if not answer.errors]
    assert len(won) == 1
    assert [answer.codes for answer in answers if answer.errors] == [["FAILED_PRECONDITION"]] * 49
    assert json.loads(await shop.output(run_id) or "")["note"] == str(won[0])


async def test_an_answer_is_for_the_wait_that_was_looked_at(shop: Shop) -> None:
    """With `waitId` a run that waits there once more, with another payload, is not answered by mistake."""
    run_id = await shop.waiting("5", of="asking-twice")
    [first] = await pending(shop, "olga")
    mutation = "mutation ($id: ID!, $wait: ID) { resolveApproval(runId: $id, waitId: $wait, approved: true) { id } }"
    await shop.data("otto", mutation, id=run_id, wait=first["id"])
    await shop.reached(run_id, ExecutionStatus.WAITING)
    assert (await shop.call("olga", mutation, id=run_id, wait=first["id"])).codes == ["FAILED_PRECONDITION"]
    [second] = await pending(shop, "olga")
    assert [first["request"]["orderId"], second["request"]["orderId"]] == ["0", "1"]
    await shop.data("olga", mutation, id=run_id, wait=second["id"])
    assert await shop.output(run_id) == "[true,true]"


async def test_what_waits_is_listed_with_what_was_asked(shop: Shop) -> None:
    """The longest wait first, each with its own type, and as JSON for clients that know no types."""
    approval, rating, either = (
        await shop.waiting(),
        await shop.waiting('"rating"', of="asking"),
        await shop.waiting('"either"', of="asking"),
    )
    one, two, three = await pending(shop, "olga")
    assert [node["runId"] for node in (one, two, three)] == [approval, rating, either]
    assert (one["__typename"], one["name"], one["workflowName"]) == ("PendingApproval", "approval", "ordering")
    assert one["payload"] == one["request"] == {"orderId": "7", "cents": 500}
    assert two["payload"] == two["question"] == "How was it?"
    assert three["payload"] == three["anything"] == "this or that?"
    assert (one["expiresAt"], one["run"]["status"]) == (None, "WAITING")
    assert one["since"] <= two["since"]
    assert one["id"] in [job["id"] for job in one["run"]["jobs"] if job["isWaitPoint"]]
    assert [node["runId"] for node in await pending(shop, "olga", name="rating")] == [rating]
    assert await pending(shop, "olga", name="nonsense") == []
    await shop.data("olga", RESOLVE, id=approval)
    assert [node["runId"] for node in await pending(shop, "olga")] == [rating, either]


async def test_who_may_list_which_waits(shop: Shop) -> None:
    """Callers see their own and can't answer them; operators see and may answer all; nobody known sees nothing."""
    run_id = await shop.waiting()
    assert [(node["runId"], node["mayResolve"]) for node in await pending(shop, "ann")] == [(run_id, False)]
    assert [(node["runId"], node["mayResolve"]) for node in await pending(shop, "olga")] == [(run_id, True)]
    assert await pending(shop, "bob") == []
    assert (await shop.call(None, PENDING)).codes == ["UNAUTHENTICATED"]
    assert (await shop.call("executor/x", PENDING)).codes == ["FORBIDDEN"]


async def test_pages_of_waits_end_where_the_list_ends(shop: Shop) -> None:
    """Going from cursor to cursor shows every wait once."""
    waiting = [await shop.waiting() for _ in range(3)]
    seen: list[str] = []
    after, more = None, True
    while more:
        page = (await shop.data("olga", PENDING, first=2, after=after))["pendingWaitPoints"]
        seen += [edge["node"]["runId"] for edge in page["edges"]]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert seen == waiting
    for variables in ({"first": 0}, {"first": 101}, {"first": -1}, {"after": "nonsense"}):
        assert (await shop.call("olga", PENDING, **variables)).codes == ["BAD_USER_INPUT"]


async def test_a_page_of_waits_costs_one_read_of_waits_and_one_of_jobs(shop: Shop) -> None:
    """However many runs are shown with their jobs; no job is read that nobody asks for."""
    for _ in range(4):
        await shop.waiting()
    shop.platform.reads.clear()
    assert len(await pending(shop, "olga")) == 4
    assert sorted(shop.platform.reads) == ["jobs", "waits"]
    shop.platform.reads.clear()
    await shop.data("olga", "{ pendingWaitPoints { edges { node { runId mayResolve run { id } } } } }")
    assert shop.platform.reads == ["waits"]


class DeskPolicy(CallerPolicy):
    """A desk lists what waits in one workflow, and answers ratings alone; asks asynchronously, as a database would."""

    def __init__(self, status: ExecutionStatus | None = None) -> None:
        super().__init__(operators=lambda user: user.id == "desk")
        self._status = status

    async def may_resolve(self, user: User, run: Any, wait_point: str) -> Any:  # type: ignore[override]  # may be async
        return wait_point == "rating"

    async def listing(self, user: User) -> Any:  # type: ignore[override]  # as above
        return ExecutionFilter(workflow_name="asking", status=self._status)


async def test_a_policy_of_ones_own_decides_by_wait_point() -> None:
    """What it lists, what it shows as answerable, and what it lets through are the same."""
    async with served(DeskPolicy()) as shop:
        ordered = await shop.waiting()
        rated, signalled = [await shop.waiting(json.dumps(of), of="asking") for of in ("rating", "signal")]
        nodes = await pending(shop, "desk")
        assert [(node["runId"], node["mayResolve"]) for node in nodes] == [(rated, True), (signalled, False)]
        assert (await shop.call("desk", RESOLVE, id=ordered)).codes == ["FORBIDDEN"]
        assert (await shop.call("desk", f'mutation {{ resolveSignal(runId: "{signalled}") {{ id }} }}')).codes == [
            "FORBIDDEN"
        ]
        await shop.data("desk", f'mutation {{ resolveRating(runId: "{rated}", result: 4) {{ id }} }}')


@pytest.mark.parametrize(("status", "count"), [(ExecutionStatus.WAITING, 1), (ExecutionStatus.SUCCESS, 0)])
async def test_a_policy_that_lists_by_status_lists_waits_if_it_lists_what_waits(
    status: ExecutionStatus, count: int
) -> None:
    """A filter that leaves out what is WAITING leaves out all of them."""
    async with served(DeskPolicy(status)) as shop:
        await shop.waiting('"rating"', of="asking")
        assert len(await pending(shop, "desk")) == count


async def test_a_wait_point_that_is_gone_has_a_type_too() -> None:
    """A payload is shown as JSON by an app that dropped the wait point, where nobody can answer it."""
    async with served() as shop:
        run_id = await shop.waiting('"rating"', of="asking")
        other = define_wait_point("other", payload=str, result=str)
        smaller = define_app("shop", workflows=[create_workflow(name="other", input=str)], wait_points=[other])
        policy = CallerPolicy(operators=lambda _: True)
        schema = create_schema(smaller, policy=policy, platform=shop.platform)
        query = "{ pendingWaitPoints { edges { node { __typename runId payload mayResolve } } } }"
        result = await schema.execute(query)
        assert result.data == {
            "pendingWaitPoints": {
                "edges": [
                    {
                        "node": {
                            "__typename": "UnknownPendingWaitPoint",
                            "runId": run_id,
                            "payload": "How was it?",
                            "mayResolve": False,
                        }
                    }
                ]
            }
        }


async def test_a_payload_that_no_longer_fits_is_null_with_an_error(shop: Shop) -> None:
    """After the model has changed, what waits can still be listed and answered."""
    await shop.waiting()
    changed = define_app(
        "shop",
        workflows=[create_workflow(name="ordering", input=str)],
        wait_points=[define_wait_point("approval", payload=int, result=bool)],
    )
    policy = CallerPolicy(operators=lambda _: True)
    schema = create_schema(changed, policy=policy, platform=shop.platform)
    query = "{ pendingWaitPoints { edges { node { payload ... on PendingApproval { request } } } } }"
    result = await schema.execute(query)
    assert result.data is not None
    [edge] = result.data["pendingWaitPoints"]["edges"]
    assert edge["node"] == {"payload": {"orderId": "7", "cents": 500}, "request": None}
    assert result.errors is not None
    assert "wait point 'approval'" in result.errors[0].message


async def test_an_anonymous_run_is_answered_by_operators_alone(shop: Shop) -> None:
    """Whoever holds its ID sees it; that is not enough to approve."""
    run_id = await shop.platform.start_workflow("asking", '"signal"', caller=User())
    await shop.reached(run_id, ExecutionStatus.WAITING)
    mutation = f'mutation {{ resolveSignal(runId: "{run_id}") {{ id }} }}'
    assert (await shop.call(None, mutation)).codes == ["FORBIDDEN"]
    assert (await shop.call("bob", mutation)).codes == ["FORBIDDEN"]
    await shop.data("olga", mutation)
