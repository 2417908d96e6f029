"""Jobs as definitions: what a job function may take, and where a job may be triggered."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, TypeAdapter

from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.job import JobContext, WorkflowJob, create_workflow_job

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

pytestmark = pytest.mark.anyio


class Order(BaseModel):
    order_id: str


@create_workflow_job(name="ship-order")
async def ship_order(input: Order, ctx: JobContext) -> list[Order]:
    return [input]


@create_workflow_job(name="count-orders")
def count_orders() -> int:
    return 3


def test_a_job_knows_its_types_and_its_place() -> None:
    """Input and output come from the annotations, the source from the function."""
    assert (ship_order.name, ship_order.input.type, ship_order.output.type) == ("ship-order", Order, list[Order])
    assert (count_orders.input.type, count_orders.output.type) == (type(None), int)
    assert (ship_order.source.file, ship_order.source.line) == (__file__, ship_order.body.__code__.co_firstlineno)
    assert repr(ship_order) == "<WorkflowJob 'ship-order'>"


def test_a_body_can_be_called_to_test_it() -> None:
    """`job.body` is the function itself."""
    assert count_orders.body() == 3
    assert inspect.iscoroutinefunction(ship_order.body)


def test_a_job_without_annotations_takes_and_returns_any_json() -> None:
    """Annotations are optional; then any JSON value goes in and comes out."""

    @create_workflow_job(name="echo-job")
    def echo(input):  # type: ignore[no-untyped-def]  # the point
        return input

    assert (echo.input.type, echo.output.type) == (Any, Any)
    assert isinstance(echo.input.adapter, TypeAdapter)


async def three(input: Order, ctx: JobContext, more: int) -> None: ...
async def keyword_only(*, input: Order) -> None: ...
async def starred(*args: Order) -> None: ...
async def double_starred(input: Order, **more: int) -> None: ...


@pytest.mark.parametrize("body", [three, keyword_only, starred, double_starred])
def test_a_function_that_takes_something_else_is_refused(body: Callable[..., Any]) -> None:
    """A job takes (), (input) or (input, ctx); the error shows the place and the parameters there are."""
    make: Any = create_workflow_job(name="odd-job")
    with pytest.raises(DefinitionError) as caught:
        make(body)
    assert f"{__file__}:{body.__code__.co_firstlineno}" in caught.value.message
    assert "must take (), (input) or (input, ctx), not (" in caught.value.message


def swapped(ctx: JobContext, input: Order) -> None: ...
def second_value(input: Order, count: int) -> None: ...
def second_default(input: Order, count=3) -> None: ...  # type: ignore[no-untyped-def]  # as people write it
def two_contexts(ctx: JobContext, other: JobContext) -> None: ...


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (swapped, "takes the JobContext first: write (input, ctx: JobContext)"),
        (two_contexts, "takes the JobContext first: write (input, ctx: JobContext)"),
        (second_value, "the second one would get the JobContext: write one input"),
        (second_default, "the second one would get the JobContext: write one input"),
    ],
)
def test_a_parameter_that_would_get_something_else_is_refused(body: Callable[..., Any], says: str) -> None:
    """The second parameter gets the `JobContext`, whatever it is annotated as; the error says what to write."""
    make: Any = create_workflow_job(name="odd-job")
    with pytest.raises(DefinitionError) as caught:
        make(body)
    assert f"Job 'odd-job' at {__file__}:{body.__code__.co_firstlineno} takes" in caught.value.message
    assert says in caught.value.message


def yields(n: int) -> Iterator[int]:
    yield n


async def yields_async(n: int) -> AsyncIterator[int]:
    yield n


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (yields, "a function that yields: write `return`"),
        (yields_async, "a function that yields: write `return`"),
        (Order, "made of the class Order: make it of a function"),
        (ship_order, "made of <WorkflowJob 'ship-order'>: make it of a function"),
        (5, "made of 5: make it of a function"),
        (lambda *args: args, "A decorator around it shows its parameters with @functools.wraps"),
    ],
)
def test_what_is_no_body_of_a_job_is_refused(body: Any, says: str) -> None:
    """What is decorated is a function that returns; the error names the job and the place."""
    with pytest.raises(DefinitionError, match=rf"^Job 'odd-job' at {re.escape(__file__)}:\d+ ") as caught:
        create_workflow_job(name="odd-job")(body)
    assert says in caught.value.message


def alone(ctx: JobContext) -> int:
    return 1


def named_ctx(ctx) -> int:  # type: ignore[no-untyped-def]  # as people write it
    return 1


def late_context(ctx: "JobContext") -> int:
    return 1


def optional(ctx: JobContext | None = None) -> int:
    return 1


@pytest.mark.parametrize("body", [alone, named_ctx, late_context, optional])
def test_a_context_alone_is_no_input(body: Any) -> None:
    """A job may take its `JobContext` and no input."""
    job: WorkflowJob[None, int] = create_workflow_job(name="odd-job")(body)
    assert (job.input.type, job.output.type) == (type(None), int)


def test_a_partial_and_an_object_know_their_types() -> None:
    """Annotations are those of the function that is called in the end, and so is the place."""

    class Ship:
        count: int = 0  # not an annotation of the call

        async def __call__(self, input: Order) -> int:
            return self.count

    def ship(count: int, input: Order) -> Awaitable[int]:
        raise NotImplementedError

    make: Any = create_workflow_job
    by_object = make(name="by-object")(Ship())
    by_partial = make(name="by-partial")(partial(ship, 1))
    for job, body in ((by_object, Ship.__call__), (by_partial, ship)):
        assert (job.input.type, job.output.type) == (Order, int)
        assert (job.source.file, job.source.line) == (__file__, body.__code__.co_firstlineno)


def test_an_annotation_that_does_not_exist_at_run_time() -> None:
    """A type imported only for type checkers can't be read from JSON; the error says so with the place."""

    @create_workflow_job(name="odd-job")
    def odd(input: "OnlyForTypeCheckers") -> None: ...

    with pytest.raises(DefinitionError, match=r"test_job.py:\d+ can't be resolved: .*OnlyForTypeCheckers"):
        _ = odd.input


@create_workflow_job(name="early-job")
def early(input: "Late") -> "Late":
    return input


class Late(BaseModel):
    x: int


def test_a_job_may_be_defined_above_its_models() -> None:
    """Annotations are read on first use, so that the order of definitions in a module is free."""
    assert early.input.type is Late


async def test_a_job_can_only_be_triggered_by_a_job() -> None:
    """Outside a run there is nothing to record in; the error says what to call instead."""
    with pytest.raises(
        FailedPreconditionError, match=r"'count-orders' can only be triggered by a job; .* workflow\.trigger"
    ):
        await count_orders.trigger()


def test_the_generic_alias_is_the_class() -> None:
    """`WorkflowJob[I, O]` can be written in an annotation at run time."""
    assert isinstance(ship_order, WorkflowJob)
    assert WorkflowJob[Order, int].__origin__ is WorkflowJob  # type: ignore[attr-defined]  # typing's own attribute
