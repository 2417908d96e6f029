"""Arguments of the wrong type are refused where they are written, with what to write instead."""

import functools
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from strawberry.permission import BasePermission

import gqlplugin
from gqlplugin.checks import hints_of, is_async, plain_function
from gqlplugin.errors import DefinitionError
from gqlplugin.platform.embedded import EmbeddedPlatform

# what is refused here is what type checkers refuse too
make: Any = gqlplugin


class Order(BaseModel):
    number: int = 0


@gqlplugin.create_workflow_job(name="place-order")
async def place_order(input: Order) -> int:
    return input.number


placing = gqlplugin.create_workflow(name="placing", main_job=place_order)
daily = gqlplugin.schedule_trigger("@daily")
place_one: Any = gqlplugin.workflow_operation(placing, args=Order())
secret = gqlplugin.secret("SHOP_SECRET")


class Permission(BasePermission):
    def has_permission(self, *_: Any, **__: Any) -> bool:
        return True


async def of_input(input: Order) -> int:
    return 1


async def of_context(ctx: gqlplugin.ResolverContext[Order]) -> int:
    return 1


async def may_start(user: object, invoker: object) -> bool:
    return True


async def may_start_alone(user: object) -> bool:
    return True


def two_values(args: int, count: int) -> int:
    return count


def yields(args: object) -> Iterator[int]:
    yield 1


REFUSED: list[tuple[Callable[[], object], str]] = [
    # workflows
    (
        lambda: make.create_workflow(name="a-b-c", main_job=of_input),
        "main_job=the function of_input: write a job, which @create_workflow_job(name=...) makes of a function.",
    ),
    (lambda: make.create_workflow(name="a-b-c", main_job=placing), "main_job=<Workflow 'placing'>: write a job"),
    (
        lambda: make.create_workflow(name="a-b-c", main_job=place_order, retry_policy=3),
        "Workflow 'a-b-c' at HERE has retry_policy=3: write RetryPolicy(max_retries=3).",
    ),
    (
        lambda: make.create_workflow(name="a-b-c", main_job=place_order, concurrency_policy=3),
        "concurrency_policy=3: write ConcurrencyPolicy(max_concurrent_executions=10).",
    ),
    (
        lambda: make.create_workflow(name="a-b-c", main_job=place_order, permission=lambda user: True),
        "which takes (user): write a function (user, invoker) that returns a bool.",
    ),
    (lambda: make.create_workflow(name="a-b-c", main_job=place_order, permission=True), "permission=True: write a fun"),
    (lambda: make.create_workflow(name="a-b-c", main_job=place_order, permission=may_start), "is async: write a plain"),
    (lambda: make.create_workflow(name=3, main_job=place_order), "Workflow 3 at HERE has name=3: write name="),
    (lambda: make.create_workflow(name="a-b-c", input=Order()), "input=Order(number=0): write the class, input=Order."),
    (lambda: make.create_workflow_job(name=3), "create_workflow_job at HERE has name=3: write name="),
    # policies
    (
        lambda: make.RetryPolicy(max_retries=3, initial_backoff=5),
        "RetryPolicy at HERE has initial_backoff=5: write timedelta(seconds=5).",
    ),
    (lambda: make.RetryPolicy(max_retries=3, max_backoff=0.5), "max_backoff=0.5: write timedelta(seconds=0.5)."),
    (lambda: make.RetryPolicy(max_retries="3"), "RetryPolicy at HERE has max_retries='3': write max_retries=3."),
    (lambda: make.RetryPolicy(max_retries=True), "max_retries=True: write max_retries=3."),
    (lambda: make.RetryPolicy(max_retries=1, backoff_multiplier="2"), "backoff_multiplier='2': write backoff_multipl"),
    (lambda: make.ConcurrencyPolicy("3"), "ConcurrencyPolicy at HERE has max_concurrent_executions='3': write max"),
    (lambda: make.Limits(max_depth="5"), "Limits at HERE has max_depth='5': write max_depth=12."),
    (
        lambda: make.CallerPolicy(operators=["bob"]),
        "CallerPolicy at HERE has operators=['bob']: write a function (user)",
    ),
    # resolvers
    (
        lambda: make.create_resolver(name="a", operation="query")(of_input),
        "and gets a ResolverContext: write (ctx: ResolverContext[Order]), and read ctx.input.",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", input=Order, output=int, body=of_input),
        "Resolver 'a' at HERE has a body that takes (input: Order), and gets a ResolverContext: write (ctx: Resolver",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", output=int, body=of_context),
        "a body that takes a ResolverContext[Order] and no input=: pass input=Order.",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", output=int, body=5),
        "body=5: write a function of a Res",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", output=int, body=yields),
        "a function that yields: write",
    ),
    (lambda: make.create_resolver(name="a", operation="query")(Order), "is made of the class Order: make it of a func"),
    (
        lambda: make.create_resolver(name="a", operation="query", permission_classes=Permission),
        "permission_classes=the class Permission: write permission_classes=[...]",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", permission_classes=[Permission()]),
        "write the class its",
    ),
    (lambda: make.create_resolver(name="a", operation="query", description=3), "description=3: write description="),
    (lambda: make.create_resolver(name=3, operation="query"), "name=3: write name="),
    (lambda: make.create_resolver(name="a", operation=None), 'operation=None: write operation="query"'),
    # executors
    (
        lambda: make.create_executor("e-e-e", trigger="@daily", operation=place_one),
        "Executor 'e-e-e' at HERE has trigger='@daily': write a trigger, such as schedule_trigger(",
    ),
    (
        lambda: make.create_executor("e-e-e", trigger=daily, operation=placing),
        "operation=<Workflow 'placing'>: write an operation, such as workflow_operation(...).",
    ),
    (
        lambda: make.create_executor("e-e-e", trigger=daily, operation=place_one, condition=True),
        "condition=True: write",
    ),
    (
        lambda: make.create_executor("e-e-e", trigger=daily, operation=place_one, condition=lambda: True),
        "which takes (): write a function of the trigger's arguments that returns a bool.",
    ),
    (lambda: make.function_operation(place_order), "The function_operation at HERE is made of <WorkflowJob"),
    (lambda: make.function_operation(yields), "a function that yields"),
    (lambda: make.function_operation(lambda: 1), "which takes (): write a function (args) or (args, ctx: JobContext)."),
    (lambda: make.function_operation(two_values), "the second one would get the JobContext: write (args, ctx: JobC"),
    (lambda: make.function_operation(print, retry_policy=3), "retry_policy=3: write RetryPolicy(max_retries=3)."),
    (lambda: make.graphql_operation(5), "The graphql_operation at HERE has query=5: write "),
    (
        lambda: make.graphql_operation("{ a }", variables=lambda: {"a": 1}),
        "which takes (): write a function of the trigger's",
    ),
    (lambda: make.webhook_operation("https://example.com", timeout=30), "timeout=30: write timedelta(seconds=30)."),
    (
        lambda: make.webhook_operation("https://example.com", headers={"a": 1}),
        "the header 'a' must be text, with text or",
    ),
    (lambda: make.webhook_operation("https://example.com", headers=["a"]), "headers=['a']: write headers="),
    (
        lambda: make.webhook_operation(lambda: "https://example.com"),
        "which takes (): write a function of the trigger's",
    ),
    (lambda: make.webhook_operation("https://example.com", allow_networks=5), "takes allow_networks= such as"),
    (lambda: make.incoming_webhook_trigger(path_secrets=secret), 'as a list of secrets: path_secrets=[secret("'),
    (lambda: make.incoming_webhook_trigger(signing_secrets=5), 'as a list of secrets: signing_secrets=[secret("'),
    (
        lambda: make.incoming_webhook_trigger(signing_secrets=[secret], max_body_bytes="1"),
        "max_body_bytes='1': write max",
    ),
    (lambda: make.incoming_webhook_trigger(signing_secrets=[secret], body=Order()), "write the class, body=Order."),
    (
        lambda: make.resolver_executed_trigger(of_input),
        "resolver=the function of_input: write what create_resolver(...)",
    ),
    # the rest
    (lambda: make.define_auth(5, Literal["manager"]), "define_auth at HERE has namespace=5: write define_auth("),
    (lambda: make.define_auth("a-a-a", Literal["manager"], attributes=["manager"]), "attributes=['manager']: write "),
    (
        lambda: make.define_auth("a-a-a", Literal["manager"], attributes={"manager": None}),
        "attributes['manager']=None: wr",
    ),
    (lambda: make.define_auth("a-a-a", Literal["manager"], secrets={"manager": 5}), 'is a int: write secret("NAME").'),
    (lambda: make.define_wait_point(5, payload=Order, result=Order), "define_wait_point at HERE has name=5: write "),
    (lambda: make.define_wait_point("a-a-a", payload=Order(), result=Order), "write the class, payload=Order."),
    (lambda: make.define_database(5, "sqlite+aiosqlite:///a"), "define_database at HERE has name=5: write "),
    (lambda: make.secret(5), 'name=5: write secret("HOOK_SECRET").'),
    (
        lambda: make.RunTokens("x" * 32, lifetime=900),
        "RunTokens at HERE has lifetime=900: write timedelta(seconds=900).",
    ),
    (
        lambda: make.JWTAuthenticator(secret="x" * 32, issuer="i", audience="a", leeway=5),
        "leeway=5: write timedelta(sec",
    ),
    (lambda: EmbeddedPlatform("a", retention=30), "retention=30: write timedelta(seconds=30)."),  # type: ignore[arg-type]
    (lambda: EmbeddedPlatform("a", threads="5"), "threads='5': write threads=100."),  # type: ignore[arg-type]
    (
        lambda: make.CallerPolicy(operators=may_start_alone),
        "operators=the function may_start_alone, which is async: wr",
    ),
    (
        lambda: make.define_wait_points(5),
        "define_wait_points at HERE has namespace=5: write a class with the wait points",
    ),
    (
        lambda: make.create_resolver(name="a", operation="query", auth_invoker=3),
        "HERE: auth_invoker=3 is not an invoker: w",
    ),
    # what an app takes
    (
        lambda: make.define_app("a", workflows=[place_order]),
        "define_app at HERE has <WorkflowJob 'place-order'> in workflows=: write what create_workflow(...) makes.",
    ),
    (
        lambda: make.define_app("a", jobs=[make.create_workflow_job(name="a-b-c")(of_context)]),
        "job 'a-b-c': it takes a ResolverContext, which only resolvers get: write (input, ctx: JobContext)",
    ),
    (lambda: make.define_app("a", workflows=placing), "workflows=<Workflow 'placing'>: write workflows=[...]"),
    (
        lambda: make.define_app("a", resolvers=[of_context]),
        "the function of_context in resolvers=: write what create_r",
    ),
    (lambda: make.define_app("a", jobs=[of_input]), "the function of_input in jobs=: write what create_workflow_job"),
    (lambda: make.define_app("a", executors=["a"]), "'a' in executors=: write what create_executor"),
    (lambda: make.define_app("a", databases=["main"]), "'main' in databases=: write what define_database"),
    (
        lambda: make.define_app("a", wait_points=["approval"]),
        "'approval' in wait_points=: write what define_wait_point",
    ),
    (lambda: make.define_app("a", auth="my-auth"), "auth='my-auth': write what define_auth(...) makes."),
    (lambda: make.define_app("a", env=["a"]), "env=['a']: write env="),
    (lambda: make.define_app(None), "define_app at HERE has name=None: write define_app("),
    (lambda: make.create_schema(placing), "app=<Workflow 'placing'>: write what define_app(...) makes."),
]


@pytest.mark.parametrize(("define", "says"), REFUSED, ids=[says[:60] for _, says in REFUSED])
def test_a_wrong_argument_is_refused_where_it_is_written(define: Callable[[], object], says: str) -> None:
    """The error is a DefinitionError that names the definition, its line, the argument, and what to write."""
    with pytest.raises(DefinitionError) as caught:
        define()
    message = re.sub(rf"{re.escape(__file__)}:\d+", "HERE", caught.value.message)
    assert says in message


def test_a_secret_that_is_written_down_is_not_shown() -> None:
    """A text in place of a secret may be the secret."""
    for given in ("hunter2hunter2hunter2", ["hunter2hunter2hunter2"]):
        with pytest.raises(DefinitionError) as caught:
            make.incoming_webhook_trigger(signing_secrets=given)
        assert "hunter2" not in str(caught.value)


def test_the_time_of_a_retry_is_a_timedelta() -> None:
    """`JobFailedError` is raised in jobs: there a number is a TypeError that says what to write."""
    with pytest.raises(TypeError, match=r"such as timedelta\(seconds=30\), not 5"):
        make.JobFailedError("later", retry_after=5)


class Callee:
    """An object with an async `__call__`, and annotations of its own."""

    number: str

    async def __call__(self, number: int) -> int:
        return number

    def method(self, number: int) -> Awaitable[int]:
        return self(number)


@pytest.mark.parametrize(
    ("function", "awaits"),
    [
        (Callee(), True),
        (functools.partial(Callee()), True),
        (functools.partial(functools.partial(Callee())), True),
        (Callee().__call__, True),
        (Callee().method, False),
        (functools.wraps(Callee.__call__)(Callee.method), False),
    ],
)
def test_what_is_called_in_the_end_tells_the_types(function: Any, awaits: bool) -> None:
    """Annotations, and whether a call makes a coroutine, are those of the function behind partials and objects."""
    assert hints_of("It", function)["number"] is int
    assert is_async(function) is awaits


def test_what_is_no_function_is_itself() -> None:
    """A value that can't be called is returned as it is."""
    assert plain_function(5) == 5
    assert plain_function(Order) is Order
