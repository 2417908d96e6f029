"""Workflows as definitions: what they take, who may start them, and what is refused before anything starts."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from gqlplugin.auth import AuthInvoker, User, define_auth
from gqlplugin.errors import DefinitionError, ForbiddenError, InvalidInputError, PlatformNotBoundError
from gqlplugin.job import create_workflow_job
from gqlplugin.runs import ConcurrencyPolicy, RetryPolicy
from gqlplugin.workflow import create_workflow, trigger_workflow

pytestmark = pytest.mark.anyio


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    order_id: str
    amount: float = 0


@create_workflow_job(name="process-order")
async def process_order(input: Order) -> None: ...


order_processing = create_workflow(name="order-processing", main_job=process_order)
elsewhere = create_workflow(name="elsewhere", input=Order)


def test_a_workflow_takes_what_its_main_job_takes() -> None:
    """The argument goes out by alias, from a model or anything that fits one."""
    assert order_processing.input is process_order.input
    for args in (Order(order_id="1"), {"order_id": "1"}, {"orderId": "1"}):
        assert order_processing.encode_args(args) == '{"orderId":"1","amount":0.0}'
    assert repr(order_processing) == "<Workflow 'order-processing'>"


def test_json_text_becomes_our_own_form() -> None:
    """Text from another language is checked, and defaults are filled in."""
    assert order_processing.encode_json(' {"amount": 2, "orderId": "1"} ') == '{"orderId":"1","amount":2.0}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{orderId: 1}", "Invalid JSON"),
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"amount": 1}', "orderId: Field required"),
        ('{"orderId": "1", "amount": NaN}', "NaN"),
        ('{"orderId": "1", "amount": 1e999}', "NaN or an infinity"),
    ],
)
def test_json_text_that_does_not_fit_is_refused(text: str, reason: str) -> None:
    """The error names the workflow and says what is wrong."""
    with pytest.raises(InvalidInputError, match="argument of workflow 'order-processing' is not valid") as caught:
        order_processing.encode_json(text)
    assert reason in caught.value.message


@pytest.mark.parametrize("args", [None, [], {"amount": 1}, {"order_id": "1", "amount": float("nan")}, process_order])
async def test_arguments_that_do_not_fit_are_refused_before_anything_else(args: Any) -> None:
    """Wrong arguments are refused first, even where no platform is bound."""
    with pytest.raises(InvalidInputError, match="argument of workflow 'order-processing' is not valid"):
        await order_processing.trigger(args)


async def test_without_a_platform_nothing_can_start() -> None:
    """The error says how to bind one."""
    with pytest.raises(PlatformNotBoundError, match=r"create_asgi\(app, platform\)"):
        await order_processing.trigger(Order(order_id="1"))
    with pytest.raises(PlatformNotBoundError):
        await trigger_workflow("order-processing", {"orderId": "1"})


def test_a_workflow_defined_elsewhere_can_be_triggered_and_not_run() -> None:
    """It has an input and no main job."""
    assert elsewhere.main_job is None
    assert elsewhere.has_input
    assert elsewhere.encode_args({"order_id": "1"}) == '{"orderId":"1","amount":0.0}'


def test_a_workflow_with_neither_is_no_workflow() -> None:
    """Without a main job or an input there is nothing to give it; `define_app` reports it, and so does its use."""
    make: Any = create_workflow
    empty = make(name="empty-workflow")
    assert not empty.has_input
    with pytest.raises(DefinitionError, match=r"'empty-workflow' has neither .*test_workflow.py:\d+"):
        _ = empty.input


def test_main_job_and_input_together_are_refused() -> None:
    """The main job says what the input is; a second answer could only differ."""
    make: Any = create_workflow
    with pytest.raises(DefinitionError, match=r"'both' at .*test_workflow.py:\d+ has main_job= and input="):
        make(name="both", main_job=process_order, input=Order)


def test_policies_are_kept() -> None:
    """Retry and concurrency policies are for the platform."""
    retry, concurrency = RetryPolicy(max_retries=3), ConcurrencyPolicy(max_concurrent_executions=2)
    workflow = create_workflow(
        name="careful", main_job=process_order, retry_policy=retry, concurrency_policy=concurrency
    )
    assert (workflow.retry_policy, workflow.concurrency_policy) == (retry, concurrency)


def test_permission_sees_caller_and_invoker_the_anonymous_included() -> None:
    """A workflow states who may start it; anonymous is a case like any other."""
    auth = define_auth("my-auth", Literal["manager"])
    guarded = create_workflow(
        name="guarded",
        main_job=process_order,
        permission=lambda user, invoker: invoker == auth.invoker("manager") and not user.is_anonymous,
    )
    caller, manager = User(id="alice", type="user"), auth.invoker("manager")
    guarded.check_permission(caller, manager)
    refused: list[tuple[User, AuthInvoker | None]] = [(caller, None), (User(), manager), (User(), None)]
    for user, invoker in refused:
        with pytest.raises(ForbiddenError, match="may not start workflow 'guarded'"):
            guarded.check_permission(user, invoker)
    order_processing.check_permission(User(), None)
