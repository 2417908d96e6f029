"""Typed resolvers: GraphQL fields whose input and output are pydantic models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, get_args, get_type_hints, overload

import strawberry
from pydantic import BaseModel, create_model
from strawberry.permission import BasePermission

from gqlplugin.errors import DefinitionError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.names import pascal_case
from gqlplugin.platform.base import EnvValue
from gqlplugin.source import Source, caller_source, function_source

if TYPE_CHECKING:
    from strawberry.types.field import StrawberryField

__all__ = ["Operation", "Resolver", "ResolverContext", "create_resolver"]

I = TypeVar("I")  # noqa: E741 - the input, as O is the output
O = TypeVar("O")  # noqa: E741
M = TypeVar("M")
IM = TypeVar("IM", bound=BaseModel)

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

    def field(self) -> StrawberryField:
        """This resolver as a field of your own `@strawberry.type`: `trigger = trigger_order_processing.field()`."""
        from gqlplugin.graphql.fields import resolver_field  # noqa: PLC0415 - the one upward import, at call time

        return resolver_field(self)


@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: ModelType[M],
    body: Callable[[ResolverContext[IM]], Coroutine[Any, Any, M]] | Callable[[ResolverContext[IM]], M],
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AuthInvoker | str | None = None,
) -> Resolver[IM, M]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: ModelType[M],
    body: Callable[[ResolverContext[None]], Coroutine[Any, Any, M]] | Callable[[ResolverContext[None]], M],
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AuthInvoker | str | None = None,
) -> Resolver[None, M]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    input: type[IM],
    output: Any,
    body: Callable[[ResolverContext[IM]], Any],
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AuthInvoker | str | None = None,
) -> Resolver[IM, Any]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    output: Any,
    body: Callable[[ResolverContext[None]], Any],
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AuthInvoker | str | None = None,
) -> Resolver[None, Any]: ...
@overload
def create_resolver(
    *,
    name: str,
    operation: Operation,
    description: str | None = None,
    permission_classes: Sequence[type[BasePermission]] = (),
    deprecation_reason: str | None = None,
    auth_invoker: AuthInvoker | str | None = None,
) -> ResolverDecorator: ...
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
    auth_invoker: AuthInvoker | str | None = None,
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
        body: An async function of a `ResolverContext`, or a plain one, which runs in a thread.
        description: `<name> resolver` by default.
        permission_classes: Strawberry's own.
        deprecation_reason: Marks the field as deprecated.
        auth_invoker: The machine user that the body runs as: its `ctx.invoker`.

    Raises:
        DefinitionError: The annotations don't tell input and output.
    """
    source = caller_source()

    def make(body: Callable[..., Any], input: type[BaseModel] | None, output: Any) -> Resolver[Any, Any]:
        return Resolver(
            name=name,
            operation=operation,
            description=description or f"{name} resolver",
            input=input,
            output=_model_of_fields(name, output) if isinstance(output, Mapping) else output,
            body=body,
            source=function_source(body) or source,
            permission_classes=tuple(permission_classes),
            deprecation_reason=deprecation_reason,
            auth_invoker=auth_invoker,
        )

    if body is not None:
        return make(body, input, output)
    return lambda function: make(function, *_annotations_of(name, function))


class ResolverDecorator(Protocol):
    """Makes a resolver of an annotated function of a `ResolverContext`, async or plain."""

    @overload
    def __call__(self, body: Callable[[ResolverContext[I]], Coroutine[Any, Any, O]], /) -> Resolver[I, O]: ...
    @overload
    def __call__(self, body: Callable[[ResolverContext[I]], O], /) -> Resolver[I, O]: ...


def _model_of_fields(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    definitions: dict[str, Any] = {field: (type_, ...) for field, type_ in fields.items()}
    return create_model(f"{pascal_case(name)}Output", **definitions)


def _annotations_of(name: str, body: Callable[..., Any]) -> tuple[type[BaseModel] | None, Any]:
    where = f"Resolver {name!r} at {function_source(body)}"
    try:
        hints = get_type_hints(body, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"{where} has an annotation that can't be resolved: {error}.") from error
    parameters = list(inspect.signature(body).parameters)
    if len(parameters) != 1 or parameters[0] not in hints or "return" not in hints:
        raise DefinitionError(f"{where} must be annotated as (ctx: ResolverContext[Input]) -> Output.")
    arguments = get_args(hints[parameters[0]])
    taken = arguments[0] if arguments else None
    if taken is None or taken is type(None):
        return None, hints["return"]
    if not (isinstance(taken, type) and issubclass(taken, BaseModel)):
        raise DefinitionError(f"{where} takes {taken!r}; the input of a resolver must be a pydantic model, or None.")
    return taken, hints["return"]
