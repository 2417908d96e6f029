"""A resolver as a Strawberry field: flat arguments, one validation, the body, its output."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import strawberry
from anyio import to_thread
from pydantic import BaseModel, TypeAdapter, ValidationError
from strawberry.types.field import StrawberryField

from gqlplugin.checks import is_async
from gqlplugin.codec import describe
from gqlplugin.errors import PlatformNotBoundError, contained
from gqlplugin.graphql.arguments import InputReader, parameter_of, set_defaults
from gqlplugin.graphql.events import ResolverEvents
from gqlplugin.graphql.idempotent import OWN_KEY, enter_field, leave_field
from gqlplugin.graphql.types import Converter, annotation_of, converter_of
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.models.fields import ModelField, arguments_of
from gqlplugin.models.names import output_shape
from gqlplugin.models.shapes import Foreign, Scalar, Shape, leaf_of
from gqlplugin.platform.base import Definitions, EnvValue, find_binding
from gqlplugin.resolver import Resolver, ResolverContext
from gqlplugin.scope import Scope, enter_scope

_NO_ENV: Mapping[str, EnvValue] = MappingProxyType({})
_ANONYMOUS = User()


def resolver_field(resolver: Resolver[Any, Any]) -> StrawberryField:
    """A new Strawberry field for a resolver.

    The fields of its input are the arguments, validated all at once by the input model before the body runs.

    Raises:
        DefinitionError: GraphQL has nothing for an annotation of its input or output.
    """
    arguments = arguments_of(resolver.input)
    shape = output_shape(resolver)
    function = _function(resolver, arguments, shape)
    function.__name__ = function.__qualname__ = resolver.name
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("info", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=strawberry.Info),
            *map(parameter_of, arguments),
        ],
        return_annotation=annotation_of(shape, "output"),
    )
    made = strawberry.field(
        resolver=function,
        name=resolver.name,
        description=resolver.description,
        permission_classes=list(resolver.permission_classes),
        deprecation_reason=resolver.deprecation_reason,
        metadata={OWN_KEY: True},
    )
    field = cast(StrawberryField, made)  # Strawberry's own annotation is that of the result, for type checkers
    set_defaults(field, arguments)
    return field


def _function(
    resolver: Resolver[Any, Any], arguments: list[ModelField], shape: Shape
) -> Callable[..., Awaitable[object]]:
    """What Strawberry calls."""
    body, output, events = resolver.body, _Output(resolver, shape), ResolverEvents(resolver)
    validate = InputReader(resolver.input, arguments).validate if resolver.input is not None else None
    invoker_in = _Invoker(resolver).find
    runs_in_loop = is_async(body)

    async def resolve(info: strawberry.Info, **given: Any) -> object:
        value = None if validate is None else validate(given, info)
        binding = find_binding()
        if binding is None:
            definitions, user = None, _ANONYMOUS
        else:
            definitions, user = binding.definitions, binding.user
        env = _NO_ENV if definitions is None else definitions.env
        context = ResolverContext(value, user, invoker_in(definitions), env, info)
        scope = Scope()
        keyed = enter_field(info)
        try:
            try:
                with enter_scope(scope):
                    if runs_in_loop:
                        returned = await body(context)
                    else:
                        returned = await to_thread.run_sync(partial(_in_thread, body, context), abandon_on_cancel=True)
                    if inspect.isawaitable(returned):  # of a plain wrapper around an async function
                        returned = await returned
                result = output.coerced(returned)
                if not scope.is_empty:
                    await scope.commit()
            except BaseException as raised:
                error = contained(raised)
                await scope.close()
                await events.failed(binding, error)
                raise error from error.__cause__
            finally:
                if not scope.close_if_empty():
                    await scope.close()
            await events.succeeded(binding, result)
        finally:
            if keyed is not None:
                leave_field(keyed)
        return output.shown(result)

    return resolve


def _in_thread(body: Callable[..., Any], context: ResolverContext[Any]) -> object:
    try:
        return body(context)
    except Exception:
        raise
    except BaseException as error:  # asyncio would close the task that waits for a GeneratorExit
        raise contained(error) from error


class _Invoker:
    """Finds out as whom a body runs, once per app."""

    def __init__(self, resolver: Resolver[Any, Any]) -> None:
        self._resolver = resolver
        self._found: tuple[Definitions, AuthInvoker | None] | None = None

    def find(self, definitions: Definitions | None) -> AuthInvoker | None:
        """The machine user that the resolver's `auth_invoker` means in an app.

        Raises:
            InvalidInputError: The app does not define it.
            PlatformNotBoundError: It is a bare name, and no app is bound.
        """
        given = self._resolver.auth_invoker
        if given is None:
            return None
        if definitions is None:
            if isinstance(given, str):
                raise PlatformNotBoundError(f"Resolver {self._resolver.name!r} runs as {given!r}, and no app is bound.")
            return given
        if self._found is None or self._found[0] is not definitions:
            self._found = definitions, definitions.resolve_invoker(given)
        return self._found[1]


def _is_checked_by_strawberry(leaf: Shape) -> bool:
    if isinstance(leaf, Foreign):
        return not issubclass(leaf.type, BaseModel)
    return isinstance(leaf, Scalar) and leaf.name == "Void"


class _Output:
    """Makes what a body returned fit the resolver's output."""

    def __init__(self, resolver: Resolver[Any, Any], shape: Shape) -> None:
        self._where = f"Resolver {resolver.name!r} ({resolver.source})"
        self._type = resolver.output
        self._convert: Converter | None = converter_of(shape)
        self._is_checked = not _is_checked_by_strawberry(leaf_of(shape))
        self._adapter: TypeAdapter[Any] | None = None

    def shown(self, result: object) -> object:
        """A result that fits, as Strawberry wants it."""
        return result if self._convert is None else self._convert(result)

    def coerced(self, result: object) -> object:
        """What a body returned, as a value of the output's type.

        Raises:
            TypeError: It doesn't fit.
        """
        if not self._is_checked:
            return result
        if self._adapter is None:
            self._adapter = TypeAdapter(self._type)
        try:
            return self._adapter.validate_python(result, strict=False, by_alias=True, by_name=True)
        except ValidationError as error:
            raise TypeError(
                f"{self._where} returned a value of type {type(result).__name__} that is not a {self._type}: "
                f"{describe(error)}"
            ) from error
