"""Resolvers as definitions: the two ways to make one, and what each refuses."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import strawberry
from pydantic import BaseModel, Field, ValidationError
from strawberry.permission import BasePermission

from gqlplugin.errors import DefinitionError
from gqlplugin.resolver import ResolverContext, create_resolver

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers


class TriggerOrder(BaseModel):
    order_id: str = Field(description="Order ID to process")


class TriggerOrderOutput(BaseModel):
    workflow_run_id: str


class Nobody(BasePermission):
    def has_permission(self, source: Any, info: strawberry.Info, **kwargs: Any) -> bool:
        return False


async def trigger(_ctx: ResolverContext[TriggerOrder]) -> TriggerOrderOutput:
    return TriggerOrderOutput(workflow_run_id="1")


OPTIONS: dict[str, Any] = {
    "name": "triggerOrder",
    "operation": "mutation",
    "description": "Trigger it",
    "permission_classes": [Nobody],
    "deprecation_reason": "Use another.",
    "auth_invoker": "manager",
}


def test_both_forms_make_the_same_resolver() -> None:
    """The decorator is the call with types read from the annotations; nothing else differs."""
    called = create_resolver(**OPTIONS, input=TriggerOrder, output=TriggerOrderOutput, body=trigger)
    decorated = create_resolver(**OPTIONS)(trigger)
    assert vars(called) == vars(decorated)
    assert (called.input, called.output, called.body) == (TriggerOrder, TriggerOrderOutput, trigger)
    assert (called.description, called.deprecation_reason) == ("Trigger it", "Use another.")
    assert (called.permission_classes, called.auth_invoker) == ((Nobody,), "manager")


def test_the_default_description() -> None:
    """Without one, the description is `<name> resolver` (TAILOR.md section 4)."""
    assert create_resolver(name="triggerOrder", operation="mutation")(trigger).description == "triggerOrder resolver"


def test_a_resolver_knows_where_it_is_defined() -> None:
    """Errors about a resolver lead to its body."""
    resolver = create_resolver(name="triggerOrder", operation="mutation")(trigger)
    assert (resolver.source.file, resolver.source.line) == (__file__, trigger.__code__.co_firstlineno)


@pytest.mark.parametrize("output", [str, list[TriggerOrderOutput], TriggerOrderOutput | None, dict[str, int]])
def test_outputs_that_are_no_models(output: Any) -> None:
    """A scalar, a list, an optional and a dict are outputs, and a resolver may have no input."""

    def body(ctx: Any) -> Any: ...

    resolver = create_resolver(name="get", operation="query", output=output, body=body)
    assert (resolver.input, resolver.output) == (None, output)


def test_a_mapping_of_fields_makes_a_named_model() -> None:
    """Field names and types become a model named `<Name>Output` (TAILOR.md section 4)."""

    def body(_ctx: ResolverContext[None]) -> Mapping[str, Any]:
        return {}

    resolver = create_resolver(
        name="triggerOrder", operation="mutation", output={"workflow_run_id": str, "note": str | None}, body=body
    )
    assert resolver.output.__name__ == "TriggerOrderOutput"
    assert resolver.output.model_validate({"workflow_run_id": "1", "note": None}).workflow_run_id == "1"
    with pytest.raises(ValidationError):
        resolver.output.model_validate({"workflow_run_id": "1"})


@pytest.mark.parametrize("annotation", [None, type(None)])
def test_no_input_is_none(annotation: Any) -> None:
    """`ResolverContext[None]` says that there are no arguments."""

    def body(ctx: ResolverContext[annotation]) -> str:
        return ""

    assert create_resolver(name="get", operation="query")(body).input is None


def no_context() -> str:
    return ""


def two(ctx: ResolverContext[None], more: int) -> str:
    return ""


def unannotated(ctx):  # type: ignore[no-untyped-def]  # what is being refused
    return ""


def no_output(ctx: ResolverContext[None]):  # type: ignore[no-untyped-def]  # what is being refused
    return ""


@pytest.mark.parametrize("body", [no_context, two, unannotated, no_output])
def test_a_decorated_function_must_say_what_it_takes_and_returns(body: Any) -> None:
    """The error names the resolver, the function's place, and the annotation it needs."""
    where = f"{re.escape(__file__)}:{body.__code__.co_firstlineno}"
    with pytest.raises(
        DefinitionError, match=rf"'get' at {where} must be annotated as \(ctx: ResolverContext\[Input\]\) -> Output"
    ):
        create_resolver(name="get", operation="query")(body)


def test_an_annotation_that_does_not_exist_at_run_time() -> None:
    """A type imported only for type checkers can't become a GraphQL type; the error says so with the place."""

    def body(ctx: ResolverContext[None]) -> "OnlyForTypeCheckers": ...  # type: ignore[empty-body]  # never called

    with pytest.raises(
        DefinitionError, match=r"test_resolver.py:\d+ has an annotation that can't be resolved: .*OnlyFor"
    ):
        create_resolver(name="get", operation="query")(body)


@pytest.mark.parametrize("input", [int, dict, TriggerOrder | None, TriggerOrder(order_id="1")])
def test_an_input_that_is_no_model_is_refused_in_both_forms(input: Any) -> None:
    """Arguments have names, so only a model can be the input."""

    def body(ctx: ResolverContext[input]) -> str:
        return ""

    with pytest.raises(DefinitionError, match="must be a pydantic model"):
        create_resolver(name="get", operation="query", input=input, output=str, body=body)
    with pytest.raises(DefinitionError, match="must be a pydantic model"):
        create_resolver(name="get", operation="query")(body)


def test_half_a_call_is_refused() -> None:
    """A body without an output, and types without a body, are mistakes that would show much later."""
    make: Any = create_resolver
    with pytest.raises(DefinitionError, match="has a body= and no output="):
        make(name="get", operation="query", body=trigger)
    with pytest.raises(DefinitionError, match="and no body="):
        make(name="get", operation="query", input=TriggerOrder)
    with pytest.raises(DefinitionError, match="and no body="):
        make(name="get", operation="query", output=str)


def test_a_body_that_may_return_none_needs_an_optional_output() -> None:
    """`output=Model` promises a value; a body annotated with `| None` can't keep that, and type checkers miss it."""

    async def body(ctx: ResolverContext[None]) -> TriggerOrderOutput | None:
        return None

    with pytest.raises(DefinitionError, match=r"may return None: pass output=\.\.\. \| None"):
        create_resolver(name="get", operation="query", output=TriggerOrderOutput, body=body)
    assert create_resolver(name="get", operation="query", output=TriggerOrderOutput | None, body=body).body is body


def test_a_body_with_annotations_only_for_type_checkers_can_be_called() -> None:
    """The call form does not depend on the annotations of the body."""

    def body(ctx: ResolverContext[None]) -> "OnlyForTypeCheckers":
        raise NotImplementedError

    assert create_resolver(name="get", operation="query", output=Decimal, body=body).output is Decimal
