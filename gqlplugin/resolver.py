"""Typed resolvers: GraphQL fields whose input and output are pydantic models."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
    cast,
    get_args,
    get_origin,
    overload,
)
from uuid import UUID

import strawberry
from pydantic import BaseModel, create_model
from strawberry.permission import BasePermission

from gqlplugin.checks import (
    Source,
    UnresolvedAnnotationError,
    caller_source,
    check_function,
    check_type,
    checked_invoker,
    checked_items,
    function_source,
    hints_of,
    parameters_of,
    pascal_case,
)
from gqlplugin.errors import DefinitionError
from gqlplugin.identity import AnyInvoker, AuthInvoker, User
from gqlplugin.platform.base import EnvValue

if TYPE_CHECKING:
    from strawberry.types.field import StrawberryField

__all__ = ["Operation", "Resolver", "ResolverContext", "create_resolver"]

I = TypeVar("I")  # noqa: E741 - the input, as O is the output
O = TypeVar("O")  # noqa: E741
M = TypeVar("M")
IM = TypeVar("IM", bound=BaseModel)
IN = TypeVar("IN", bound=BaseModel | None)
E = TypeVar("E")
S = TypeVar("S", str, bool, int, float, UUID, datetime, date, time, timedelta, Decimal)

Operation = Literal["query", "mutation"]


@dataclass(frozen=True, slots=True)
class ResolverContext(Generic[I]):
    """What the body of a resolver gets.

    Attributes:
        input: The validated arguments; None for a resolver without input.
        user: The caller.
        invoker: The machine user the body runs as, from `auth_invoker=`; None when anonymous.
        env: The values of the app's `env`.
        info: Strawberry's own.
    """

    input: I
    user: User
    invoker: AuthInvoker | None
    env: Mapping[str, EnvValue]
    info: strawberry.Info


class ModelType(Protocol[M]):
    """The class of a pydantic model, invariant in the model, so that a body that returns another one is refused."""

    def model_validate(self, obj: Any, /) -> M: ...
    def model_dump_json(self, obj: M, /) -> str: ...


Body = Callable[[ResolverContext[I]], Coroutine[Any, Any, O]] | Callable[[ResolverContext[I]], O]
"""The function of a resolver, async or plain."""

UncheckedType = UnionType | type[dict[Any, Any]] | type[Enum]
"""An output that type checkers don't compare with what the body returns."""


class Options(TypedDict, total=False):
    """What a resolver may have besides its name, operation, types and body."""

    description: str | None
    permission_classes: Sequence[type[BasePermission]]
    deprecation_reason: str | None
    auth_invoker: AnyInvoker | None
    publish_events: bool | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Resolver(Generic[I, O]):
    """A GraphQL field. Made by `create_resolver`; call `body` to test it."""

    name: str
    operation: Operation
    description: str
    input: type[BaseModel] | None
    output: Any
    body: Callable[..., Any]
    source: Source
    permission_classes: Sequence[type[BasePermission]] = ()
    deprecation_reason: str | None = None
    auth_invoker: AuthInvoker | str | None = None
    publish_events: bool | None = None

    def field(self) -> StrawberryField:
        """This resolver as a field of your own `@strawberry.type`: `trigger = trigger_order_processing.field()`."""
        from gqlplugin.graphql.resolver_field import resolver_field  # noqa: PLC0415 - the one upward import, at call time

        return resolver_field(self)


@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: ModelType[M],
    body: Body[IM, M | None],
    **options: Unpack[Options],
) -> Resolver[IM, M]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: ModelType[M],
    body: Body[None, M | None],
    **options: Unpack[Options],
) -> Resolver[None, M]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: type[S],
    body: Body[IM, S | None],
    **options: Unpack[Options],
) -> Resolver[IM, S]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: type[S],
    body: Body[None, S | None],
    **options: Unpack[Options],
) -> Resolver[None, S]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: type[list[E]],
    body: Body[IM, list[E] | None],
    **options: Unpack[Options],
) -> Resolver[IM, list[E]]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: type[list[E]],
    body: Body[None, list[E] | None],
    **options: Unpack[Options],
) -> Resolver[None, list[E]]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: Mapping[str, Any],
    body: Body[IM, Mapping[str, Any]],
    **options: Unpack[Options],
) -> Resolver[IM, Any]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: Mapping[str, Any],
    body: Body[None, Mapping[str, Any]],
    **options: Unpack[Options],
) -> Resolver[None, Any]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: UncheckedType,
    body: Body[IM, Any],
    **options: Unpack[Options],
) -> Resolver[IM, Any]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: UncheckedType,
    body: Body[None, Any],
    **options: Unpack[Options],
) -> Resolver[None, Any]: ...
@overload
def create_resolver(*, name: str, operation: Operation, **options: Unpack[Options]) -> ResolverDecorator: ...
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[BaseModel] | None = None,
    output: Any = None,
    body: Callable[[ResolverContext[Any]], Any] | None = None,
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AnyInvoker | None = None,
    publish_events: bool | None = None,
) -> Any:
    """Define a GraphQL field whose input is validated before its body runs.

    As a decorator it reads the annotations:

    ```python
    @create_resolver(name="triggerOrderProcessing", operation="mutation")
    async def trigger_order_processing(ctx: ResolverContext[TriggerOrder]) -> TriggerOrderOutput: ...
    ```

    Args:
        name: The GraphQL name of the field.
        operation: "query" or "mutation".
        input: A model; its fields are the arguments of the field.
        output: A model, a scalar, a list, an optional, or a mapping of field names to types, whose type is then named
            `<Name>Output`.
        body: An async function of a `ResolverContext`, or a plain one, which runs in a thread. What it returns is
            awaited where that can be awaited, as that of a plain decorator around an async function.
        description: `<name> resolver` by default.
        permission_classes: Strawberry's own.
        deprecation_reason: Marks the field as deprecated.
        auth_invoker: The machine user that the body runs as, its `ctx.invoker`; given as to `Workflow.trigger`.
        publish_events: Whether executors may wait for it; by default they may. With False, one that does is an error.

    Raises:
        DefinitionError: The annotations don't tell input and output, or an argument is missing, contradicts them, or is
            of another type.
    """
    source = caller_source()
    where = f"Resolver {name!r} at {source}"
    check_type(where, "name", name, str, 'name="placeOrder"')
    check_type(where, "operation", operation, str, 'operation="query" or operation="mutation"')
    check_type(where, "description", description, (str, NoneType), 'description="..."')
    check_type(where, "deprecation_reason", deprecation_reason, (str, NoneType), 'deprecation_reason="..."')
    check_type(where, "publish_events", publish_events, (bool, NoneType), "publish_events=False")
    permission_classes = checked_items(where, "permission_classes", permission_classes, type, "the class itself")
    invoker = checked_invoker(where, auth_invoker)

    def make(body: Callable[..., Any], input: type[BaseModel] | None, output: Any) -> Resolver[Any, Any]:
        return Resolver(
            name=name,
            operation=operation,
            description=description or f"{name} resolver",
            input=input,
            output=_model_of_fields(name, output) if isinstance(output, Mapping) else output,
            body=body,
            source=function_source(body) or source,
            permission_classes=permission_classes,
            deprecation_reason=deprecation_reason,
            auth_invoker=invoker,
            publish_events=publish_events,
        )

    if body is not None:
        _check_call(where, input, output, body)
        return make(body, input, output)
    if input is not None or output is not None:
        raise DefinitionError(
            f"{where} has input= or output= and no body=: pass the body, or decorate a function "
            "and leave both to its annotations."
        )

    def decorate(function: Callable[..., Any]) -> Resolver[Any, Any]:
        return make(function, *_annotations_of(f"Resolver {name!r} at {function_source(function) or source}", function))

    return decorate


class ResolverDecorator(Protocol):
    """Makes a resolver of an annotated function of a `ResolverContext`, async or plain."""

    @overload
    def __call__(self, body: Callable[[ResolverContext[IN]], Coroutine[Any, Any, O]], /) -> Resolver[IN, O]: ...
    @overload
    def __call__(self, body: Callable[[ResolverContext[IN]], O], /) -> Resolver[IN, O]: ...


def _model_of_fields(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    definitions: dict[str, Any] = {field: (type_, ...) for field, type_ in fields.items()}
    return create_model(f"{pascal_case(name)}Output", **definitions)


def _check_call(where: str, input: object, output: object, body: Callable[..., Any]) -> None:
    if output is None:
        raise DefinitionError(f"{where} has a body= and no output=: pass the type that the body returns.")
    if input is not None:
        _check_input(where, input)
    check_function(where, "body", body, 1, "a function of a ResolverContext")
    taken, returned = _taken_and_returned_by(where, body)
    # Type checkers can't tell `output=Model | None` from `output=Model`, so the missing `| None` is looked for here.
    if _is_optional(returned) and not _is_optional(output):
        raise DefinitionError(f"{where} has a body that may return None: pass output=... | None.")
    if taken is _UNKNOWN:
        return
    if taken is _NO_CONTEXT:
        raise _without_context(where, body)
    if input is None and isinstance(taken, type) and issubclass(taken, BaseModel):
        raise DefinitionError(
            f"{where} has a body that takes a ResolverContext[{taken.__name__}] and no input=: pass "
            f"input={taken.__name__}."
        )


def _check_input(where: str, input: object) -> None:
    if not (isinstance(input, type) and issubclass(input, BaseModel)):
        raise DefinitionError(f"{where} takes {input!r}; the input of a resolver must be a pydantic model, or None.")


def _hints_of(where: str, body: Callable[..., Any]) -> dict[str, Any]:
    return hints_of(f"{where} has an annotation that", body)


def _is_optional(type_: Any) -> bool:
    return get_origin(type_) in (Union, UnionType) and NoneType in get_args(type_)


_UNKNOWN, _NO_CONTEXT = object(), object()


def _taken_and_returned_by(where: str, body: Callable[..., Any]) -> tuple[object, Any]:
    """What a body takes as its context's input, and what it returns, as far as it is annotated."""
    try:
        hints = _hints_of(where, body)
        parameters = parameters_of(where, body)
    except UnresolvedAnnotationError:  # an annotation only for type checkers
        return _UNKNOWN, None
    hint = hints.get(parameters[0].name, Any) if parameters else Any
    return (_UNKNOWN if hint in (Any, object) else _input_in(hint)), hints.get("return")


def _input_in(hint: Any) -> object:
    """The argument of a `ResolverContext[...]`; `_NO_CONTEXT` when the annotation is something else."""
    origin = get_origin(hint) or hint
    if origin is Annotated:
        return _input_in(get_args(hint)[0])
    if hasattr(origin, "__value__"):  # a type alias
        return _input_in(origin.__value__[get_args(hint)] if get_args(hint) else origin.__value__)
    if origin is not ResolverContext:
        return _NO_CONTEXT
    return get_args(hint)[0] if get_args(hint) else None


def _without_context(where: str, body: Callable[..., Any]) -> DefinitionError:
    parameter, *_ = parameters_of(where, body)
    hint = _hints_of(where, body)[parameter.name]
    model = hint.__name__ if isinstance(hint, type) and issubclass(hint, BaseModel) else "Input"
    return DefinitionError(
        f"{where} has a body that takes ({parameter.name}: {getattr(hint, '__name__', hint)}), and gets a "
        f"ResolverContext: write (ctx: ResolverContext[{model}]), and read ctx.input."
    )


def _annotations_of(where: str, body: Callable[..., Any]) -> tuple[type[BaseModel] | None, Any]:
    parameters, hints = parameters_of(where, body), _hints_of(where, body)
    if len(parameters) != 1 or parameters[0].name not in hints or "return" not in hints:
        raise DefinitionError(f"{where} must be annotated as (ctx: ResolverContext[Input]) -> Output.")
    taken = _input_in(hints[parameters[0].name])
    if taken is _NO_CONTEXT:
        raise _without_context(where, body)
    if taken is None or taken is NoneType:
        return None, hints["return"]
    _check_input(where, taken)
    return cast(type[BaseModel], taken), hints["return"]
