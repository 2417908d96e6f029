"""`define_app`: everything is checked at once, and each problem leads to the lines that make it."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest
from pydantic import AliasChoices, BaseModel, Field, FutureDatetime, SecretStr

from gqlplugin.app import App, define_app
from gqlplugin.auth import AuthInvoker, define_auth
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.executor import create_executor, function_operation, resolver_executed_trigger
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.resolver import Operation, Resolver, ResolverContext, create_resolver
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.sample_shop.jobs.fetch_customer import fetch_customer
from tests.sample_shop.order_processing import order_processing, process_order
from tests.sample_shop.resolvers import order_now

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

auth = define_auth("my-auth", Literal["manager", "auditor"])


class Order(BaseModel):
    order_id: str


def new_job(name: str, body: Callable[..., Any] | None = None) -> WorkflowJob[Any, Any]:
    def nothing() -> None: ...

    make: Any = create_workflow_job(name=name)
    job: WorkflowJob[Any, Any] = make(body or nothing)
    return job


def new_resolver(name: str, operation: Operation = "query", **options: Any) -> Resolver[Any, Any]:
    def body(_ctx: ResolverContext[None]) -> str:
        return ""

    return create_resolver(name=name, operation=operation, output=str, body=body, **options)


def problems_with(**definitions: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        define_app("shop", **definitions)
    return list(caught.value.problems)


def places_in(problem: str) -> list[str]:
    return re.findall(rf"{re.escape(__file__)}:\d+", problem)


def test_an_app_knows_its_definitions_by_name() -> None:
    """Workflows, resolvers, and the jobs that the workflows reach; none of it can be changed."""
    env: dict[str, str | float] = {"currency": "EUR", "retries": 3, "rate": 0.5, "debug": False}
    app = define_app("shop", auth=auth, workflows=[order_processing], resolvers=[order_now], env=env)
    assert isinstance(app, App)
    assert dict(app.workflows) == {"order-processing": order_processing}
    assert dict(app.resolvers) == {"orderNow": order_now}
    assert sorted(app.jobs) == ["charge-card", "fetch-customer", "print-label", "process-order", "send-notification"]
    assert (app.jobs["process-order"], app.env) == (process_order, env)
    env["currency"] = "USD"
    assert app.env["currency"] == "EUR"
    with pytest.raises(TypeError):
        app.jobs["other"] = process_order  # type: ignore[index]  # it is read-only


def test_the_same_definition_given_twice_is_one() -> None:
    """What `discover` finds in two modules, or a job both found and given, is no duplicate."""
    app = define_app(
        "shop", workflows=[order_processing] * 2, resolvers=[order_now] * 2, jobs=[fetch_customer, process_order]
    )
    assert (len(app.workflows), len(app.resolvers), len(app.jobs)) == (1, 1, 5)


def test_jobs_that_cannot_be_found_are_given() -> None:
    """`jobs=` takes what is chosen at run time, and what those jobs reach comes along."""
    inner = new_job("inner-job")
    outer = new_job("outer-job", lambda: inner.trigger())  # noqa: PLW0108 - a function of its own
    assert list(define_app("shop", jobs=[outer]).jobs) == ["outer-job", "inner-job"]


def test_generators_are_taken() -> None:
    """Definitions come as any iterable, read once."""
    workflows = (one for one in [order_processing])
    assert list(define_app("shop", workflows=workflows).workflows) == ["order-processing"]


def test_every_problem_is_reported_at_once() -> None:
    """One error lists them all, so that they are mended in one go."""
    job = new_job("Bad_Job")
    problems = problems_with(
        auth=define_auth("x", Literal["Manager", "ok-user"]),
        workflows=[create_workflow(name="-bad", main_job=job), create_workflow(name="-bad", main_job=job)],
        resolvers=[new_resolver("a-b"), new_resolver("a-b"), new_resolver("ok", auth_invoker="nobody")],
        env={"list": ["not plain"]},
    )
    subjects = [
        "auth namespace name 'x'",
        "machine user name 'Manager'",
        "workflow name '-bad'",
        "workflow name '-bad'",
        "job name 'Bad_Job'",
        "resolver name 'a-b'",
        "resolver name 'a-b'",
        "two workflows are named '-bad'",
        "two resolvers are named 'a-b'",
        "resolver 'ok': Machine user 'nobody'",
        "env value 'list'",
    ]
    assert len(problems) == len(subjects)
    assert [subject for subject in subjects if not any(problem.startswith(subject) for problem in problems)] == []
    with pytest.raises(DefinitionError, match=r"^3 problems in the definitions:\n- .*\n- .*\n- .*$"):
        define_app("", resolvers=[new_resolver("a-b")], env={"x": None})  # type: ignore[dict-item]  # refused


@pytest.mark.parametrize(
    ("kind", "definitions"),
    [
        ("workflows", lambda: {"workflows": [create_workflow(name="same", input=Order) for _ in (1, 2)]}),
        ("jobs", lambda: {"jobs": [new_job("same"), new_job("same", lambda: None)]}),
        ("resolvers", lambda: {"resolvers": [new_resolver("same"), new_resolver("same")]}),
        ("resolvers", lambda: {"resolvers": [new_resolver("same", "query"), new_resolver("same", "mutation")]}),
    ],
)
def test_duplicate_names_lead_to_both_places(kind: str, definitions: Callable[[], dict[str, Any]]) -> None:
    """Names are unique in the app, a query's and a mutation's too; the error shows file and line of both."""
    (problem,) = problems_with(**definitions())
    assert problem.startswith(f"two {kind} are named 'same': ")
    assert len(places_in(problem)) == 2


def test_a_job_reached_twice_under_one_name_is_a_duplicate() -> None:
    """Two jobs of one name are refused wherever they are triggered, as a record could not tell them apart."""
    first, second = new_job("same-job"), new_job("same-job")
    outer = new_job("outer-job", lambda: (first.trigger(), second.trigger()))
    (problem,) = problems_with(workflows=[create_workflow(name="outer", main_job=outer)])
    assert problem.startswith("two jobs are named 'same-job'")


@pytest.mark.parametrize("name", ["ab", "Order-Processing", "order_processing", "order-", "a" * 64])
def test_malformed_names(name: str) -> None:
    """Workflows, jobs and machine users are named as on the Tailor Platform (TAILOR.md section 2)."""
    problems = problems_with(
        auth=define_auth("my-auth", Literal[name]),  # type: ignore[arg-type]  # a name from a variable
        workflows=[create_workflow(name=name, input=Order)],
        jobs=[new_job(name)],
    )
    assert [problem.partition(" name ")[0] for problem in problems] == ["machine user", "workflow", "job"]
    assert all(repr(name) in problem and len(places_in(problem)) == 1 for problem in problems)


@pytest.mark.parametrize("name", ["trigger-order", "2nd", "__order", "", "täg"])
def test_resolvers_have_graphql_names(name: str) -> None:
    """A resolver's name is its field's, so it must be one in GraphQL."""
    (problem,) = problems_with(resolvers=[new_resolver(name)])
    assert problem.startswith(f"resolver name {name!r} is not a GraphQL name")
    assert places_in(problem)


def test_an_operation_is_a_query_or_a_mutation() -> None:
    """Anything else, which only the editor would see, is refused."""
    (problem,) = problems_with(resolvers=[new_resolver("order", "subscription")])  # type: ignore[arg-type]  # refused
    assert """'order' has operation 'subscription': use "query" or "mutation" """ in problem


def test_a_workflow_needs_a_main_job() -> None:
    """A workflow without one is refused, unless it has an input and is defined elsewhere (TAILOR.md section 5)."""
    make: Any = create_workflow
    (problem,) = problems_with(workflows=[make(name="empty-workflow"), create_workflow(name="elsewhere", input=Order)])
    assert problem.startswith("workflow 'empty-workflow' has no main job: pass main_job=, or input=")
    assert len(places_in(problem)) == 1


@pytest.mark.parametrize("invoker", ["nobody", AuthInvoker("my-auth", "nobody"), AuthInvoker("other", "manager")])
def test_an_unknown_invoker_of_a_resolver(invoker: AuthInvoker | str) -> None:
    """What can be seen when the app is defined is refused then, with the places of resolver and auth."""
    (problem,) = problems_with(auth=auth, resolvers=[new_resolver("order", auth_invoker=invoker)])
    assert problem.startswith("resolver 'order': ")
    assert len(places_in(problem)) == 2


def test_an_invoker_without_auth() -> None:
    """An app without auth has no machine users, for resolvers as for calls."""
    (problem,) = problems_with(resolvers=[new_resolver("order", auth_invoker="manager")])
    assert "the app has no auth" in problem
    with pytest.raises(InvalidInputError, match=r"has no auth, .* define_app\(auth="):
        define_app("shop").resolve_invoker("manager")


def test_invokers_are_resolved_by_name() -> None:
    """A bare name and an invoker mean the same; no invoker stays none."""
    app = define_app("shop", auth=auth)
    assert app.resolve_invoker("manager") == app.resolve_invoker(auth.invoker("manager")) == auth.invoker("manager")
    assert app.resolve_invoker(None) is None
    with pytest.raises(InvalidInputError, match="'nobody' is not defined"):
        app.resolve_invoker("nobody")


def test_two_models_of_one_name_are_reported_with_both_places() -> None:
    """Strawberry would merge two types of one name silently; the app refuses them."""

    def first() -> Resolver[Any, Any]:
        class Receipt(BaseModel):
            total: int

        return create_resolver(name="first", operation="query", output=Receipt, body=lambda _ctx: Receipt(total=1))

    def second() -> Resolver[Any, Any]:
        class Receipt(BaseModel):
            sum: int

        return create_resolver(name="second", operation="query", output=Receipt, body=lambda _ctx: Receipt(sum=1))

    (problem,) = problems_with(resolvers=[first(), second()])
    assert problem.startswith("two types would be named 'Receipt'")
    assert len(places_in(problem)) == 2


class NotJson:
    """A class that pydantic knows nothing of."""


def test_types_that_are_not_json_are_found_before_anything_runs() -> None:
    """The input and the output of every job, and the input of a workflow defined elsewhere, can be read and written."""

    def takes(input: NotJson) -> None: ...
    def returns() -> NotJson:
        return NotJson()

    def late(input: "OnlyForTypeCheckers") -> None: ...

    problems = problems_with(
        jobs=[new_job("takes-it", takes), new_job("returns-it", returns), new_job("late-one", late)],
        workflows=[create_workflow(name="elsewhere", input=NotJson)],
    )
    assert [problem.partition(" can't be")[0] for problem in problems[:2] + problems[3:]] == [
        "the input of job 'takes-it'",
        "the output of job 'returns-it'",
        "the input of workflow 'elsewhere'",
    ]
    assert all(places_in(problem) for problem in problems)
    assert problems[2].startswith("job 'late-one': An annotation of the function at")
    assert "'OnlyForTypeCheckers' is not defined" in problems[2]


@pytest.mark.parametrize("value", [None, ["a"], {"a": 1}, Order(order_id="1"), b"a"])
def test_env_values_are_plain(value: object) -> None:
    """Strings, numbers and booleans, as in the Tailor Platform's own config (TAILOR.md section 4)."""
    (problem,) = problems_with(env={"it": value})
    assert problem == f"env value 'it' is of type {type(value).__name__}: use str, int, float or bool"


def test_a_nameless_app() -> None:
    """An app needs a name."""
    with pytest.raises(DefinitionError, match="the app needs a name"):
        define_app("")


def test_a_field_that_cannot_be_read_back_is_refused() -> None:
    """A job's model whose field is written under one name and read under another is a problem that names the field."""

    class Lost(BaseModel):
        order_id: str = Field(serialization_alias="orderId")

    class Kept(BaseModel):
        order_id: str = Field(alias="orderId")
        customer_id: str = Field(
            validation_alias=AliasChoices("customerId", "customer"), serialization_alias="customer"
        )

    @create_workflow_job(name="loses-it")
    async def loses_it(input: list[Lost | None]) -> Kept:
        raise NotImplementedError

    with pytest.raises(DefinitionError) as raised:
        define_app("shop", jobs=[loses_it])
    assert len(raised.value.problems) == 1
    assert "Lost.order_id, in the input of job 'loses-it'" in raised.value.problems[0]


def test_a_type_whose_values_are_lost_is_refused() -> None:
    """Secrets, excluded fields and what looks at the clock are found in all that is stored, with the line to write."""

    class Login(BaseModel):
        password: SecretStr

    class Plan(BaseModel):
        deliver_at: FutureDatetime

    @create_workflow_job(name="loses-it")
    async def loses_it(plan: Plan) -> SecretStr:
        raise NotImplementedError

    @create_resolver(name="login", operation="query")
    async def login(_ctx: ResolverContext[None]) -> Login:
        raise NotImplementedError

    told = create_executor(
        name="told-of-it",
        trigger=resolver_executed_trigger(login),
        operation=function_operation(lambda args: None),
    )
    problems = problems_with(
        jobs=[loses_it],
        wait_points=[define_wait_point("approval", payload=list[Login], result=bool)],
        workflows=[create_workflow(name="elsewhere", input=Login)],
        resolvers=[login],
        executors=[told],
    )
    assert [problem.partition(" is a ")[0] for problem in problems] == [
        "Plan.deliver_at, in the input of job 'loses-it',",
        "the output of job 'loses-it'",
        "Login.password, in the payload of wait point 'approval',",
        "Login.password, in the input of workflow 'elsewhere',",
        "executor 'told-of-it' waits for resolver 'login', whose result is lost: Login.password",
    ]
    assert all("use " in problem and places_in(problem) for problem in problems)
