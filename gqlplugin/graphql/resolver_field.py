"""A resolver as a Strawberry field: arguments, validation, the body, its output, and its executors."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from keyword import iskeyword
from types import MappingProxyType
from typing import Annotated, Any, cast

import strawberry
from anyio import to_thread
from graphql import GraphQLError, OperationDefinitionNode, Undefined, value_from_ast_untyped
from pydantic import BaseModel, TypeAdapter, ValidationError
from strawberry.types import ExecutionContext
from strawberry.types.field import StrawberryField

from gqlplugin.checks import executor_of, is_async
from gqlplugin.codec import JsonCodec, NotJsonError, describe
from gqlplugin.errors import (
    DefinitionError,
    FieldProblem,
    GqlpluginError,
    InvalidInputError,
    PlatformNotBoundError,
    contained,
    plain_text,
)
from gqlplugin.executor import ResolverError, ResolverExecutedArgs
from gqlplugin.graphql.errors import INTERNAL
from gqlplugin.graphql.idempotency_keys import OWN_KEY, enter_field, leave_field
from gqlplugin.graphql.types import Argument, Converter, annotation_of, converter_of
from gqlplugin.idempotency import keyed_field
from gqlplugin.identity import AuthInvoker, User, executor_user
from gqlplugin.models.annotations import Foreign, ListOf, ModelOf, Nullable, RootOf, Scalar, Shape, leaf_of
from gqlplugin.models.fields import (
    ModelField,
    arguments_of,
    fields_of,
    has_defaults,
    locate,
    output_shape,
    reads_json_models,
)
from gqlplugin.platform.base import Binding, Definitions, EnvValue, Platform, find_binding
from gqlplugin.resolver import Resolver, ResolverContext
from gqlplugin.scope import Scope, enter_scope
from gqlplugin.telemetry import starting

MAX_PROBLEMS = 100
"""Most wrong fields that are told of one by one: a long list of bad items is not to become a longer answer."""

_TAKEN = ("info", "source", "root", "self", "_source")
"""Names that Strawberry, or a permission class, calls something else by."""


def parameter_of(field: ModelField) -> inspect.Parameter:
    """The parameter that Strawberry makes an argument of."""
    return inspect.Parameter(
        _parameter_name(field.name),
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[
            annotation_of(field.shape, "input"),
            strawberry.argument(
                name=field.graphql_name, description=field.description, deprecation_reason=field.deprecation_reason
            ),
        ],
    )


def set_defaults(field: StrawberryField, arguments: Iterable[ModelField]) -> None:
    """Let the schema say the defaults, which can't be in the signature, as Strawberry hashes those.

    Args:
        field: Made of a function whose last parameters are those of the arguments.
        arguments: The fields of its model.
    """
    arguments = list(arguments)
    own = field.arguments[len(field.arguments) - len(arguments) :]
    for argument, one in zip(own, arguments, strict=True):
        if one.has_default:
            argument.default = one.default


def _parameter_name(name: str) -> str:
    return f"{name}_" if name in _TAKEN or iskeyword(name) else name


class InputReader:
    """Makes a model, such as the input of a resolver, from arguments."""

    def __init__(self, model: type[BaseModel], fields: list[ModelField]) -> None:
        self._model = model
        self._arguments = [(_parameter_name(field.name), Argument.of(field)) for field in fields]
        self._fields = cache(partial(fields_of, position="input"))
        self._by_alias = reads_json_models(model)
        self._has_defaults = has_defaults(model)

    def validate(self, given: Mapping[str, Any], info: strawberry.Info) -> BaseModel:
        """The validated input.

        Args:
            given: The arguments as Strawberry passes them, with the defaults of the schema.
            info: Of the field, for what the request holds of them.

        Raises:
            InvalidInputError: With one problem per field that is wrong, up to `MAX_PROBLEMS`.
        """
        data: dict[str, Any] = {}
        for name, argument in self._arguments:
            if name in given:
                argument.put(given[name], data)
            elif argument.filled_with_none:
                data[argument.name] = None
        if self._has_defaults:
            self._leave_out(ModelOf(self._model), data, _sent(info))
        try:
            # GraphQL has checked the types, and a strict model would want what JSON can't say, such as a UUID
            return self._model.model_validate(data, strict=False, by_name=True, by_alias=self._by_alias)
        except ValidationError as error:
            problems = self._problems(error)
        # outside of the handler: pydantic's error shows the values
        raise InvalidInputError(problems=problems)

    def _leave_out(self, shape: Shape, value: Any, sent: Any) -> None:
        """Take the defaults that GraphQL put in out of a value: pydantic has them, and a copy for each call.

        They can't be told from what the client wrote by comparing: a client may write what is the default too, which
        counts as set and is validated, and to Python 1 and true are equal.
        """
        while isinstance(shape, (Nullable, RootOf)):
            shape = shape.of if isinstance(shape, Nullable) else shape.inner
        if isinstance(shape, ListOf) and isinstance(value, list):
            items = sent if isinstance(sent, list) else [sent]  # GraphQL takes an item for a list of one
            for one, sent_one in zip(value, items, strict=False):
                self._leave_out(shape.item, one, sent_one)
        elif isinstance(shape, ModelOf) and isinstance(value, dict) and isinstance(sent, Mapping):
            for field in self._fields(shape.model):
                if sent.get(field.graphql_name, Undefined) is not Undefined:
                    if field.name in value:
                        self._leave_out(field.shape, value[field.name], sent[field.graphql_name])
                elif field.has_default:
                    value.pop(field.name, None)

    def _problems(self, error: ValidationError) -> list[FieldProblem]:
        found = error.errors(include_url=False, include_input=False)
        problems = [
            FieldProblem(locate(self._model, item["loc"], self._fields), _message(item))
            for item in found[:MAX_PROBLEMS]
        ]
        if len(found) > MAX_PROBLEMS:
            problems.append(FieldProblem((), f"There are {len(found) - MAX_PROBLEMS} more problems."))
        return problems


_request: ContextVar[ExecutionContext | None] = ContextVar("gqlplugin_request", default=None)


@contextmanager
def reading(request: ExecutionContext) -> Iterator[None]:
    """Let readers of input see the variables of an operation as its client sent them, while it runs."""
    previous = _request.get()
    _request.set(request)
    try:
        yield
    finally:
        _request.set(previous)  # not a reset: a stream may end in another context than it began in


def _sent(info: strawberry.Info) -> dict[str, Any]:
    """What the request holds of the arguments of a field, by their GraphQL names and as the client wrote it."""
    raw = info._raw_info  # noqa: SLF001 - not public
    arguments = raw.field_nodes[0].arguments
    if not arguments:
        return {}
    variables = _variables_of(raw.operation)
    if variables is None:  # without our extension: as GraphQL read them, with the defaults of nested inputs
        variables = info.variable_values
    return {one.name.value: value_from_ast_untyped(one.value, variables) for one in arguments}


def _variables_of(operation: OperationDefinitionNode) -> dict[str, Any] | None:
    request = _request.get()
    document = None if request is None else request.graphql_document
    if request is None or document is None or not any(one is operation for one in document.definitions):
        return None
    defaults = {
        one.variable.name.value: value_from_ast_untyped(one.default_value)
        for one in operation.variable_definitions or ()
        if one.default_value is not None
    }
    return {**defaults, **(request.variables or {})}


def _message(item: Mapping[str, Any]) -> str:
    """What pydantic says; for a validator's own error, what the validator says."""
    raised = item.get("ctx", {}).get("error")
    return str(raised) if isinstance(raised, ValueError) else str(item["msg"])


_logger = logging.getLogger("gqlplugin.graphql")


class ResolverEvents:
    """Fires the executors that wait for one resolver."""

    def __init__(self, resolver: Resolver[Any, Any]) -> None:
        self._resolver = resolver
        self._codec: JsonCodec[ResolverExecutedArgs[Any]] | None = None

    async def succeeded(self, binding: Binding | None, result: object) -> None:
        """The body returned, and what it did is committed."""
        if binding is not None and (firings := self._firings(binding)):
            await self._publish(binding, firings, success=True, result=result)

    async def failed(self, binding: Binding | None, error: Exception) -> None:
        """The body raised, or what it did could not be committed."""
        if binding is not None and (firings := self._firings(binding)):
            await self._publish(binding, firings, success=False, error=_public(error))

    def _firings(self, binding: Binding) -> list[str]:
        definitions = binding.definitions
        return [] if definitions is None else list(definitions.resolver_listeners.get(self._resolver.name, ()))

    async def _publish(self, binding: Binding, firings: list[str], **outcome: Any) -> None:
        """Start the firings, durably. What the resolver did stands, so that an event that is lost is only logged."""
        if self._codec is None:
            self._codec = JsonCodec(ResolverExecutedArgs[self._resolver.output])  # type: ignore[name-defined]  # chosen at run time
        definitions = binding.definitions
        app_name = "" if definitions is None else definitions.name
        given = {"resolver_name": self._resolver.name, "app_namespace": app_name, **outcome}
        try:
            arg = self._codec.dump(self._codec.coerce(given))
        except (ValueError, NotJsonError):
            _logger.exception("The result of resolver %r can't be handed to executors", self._resolver.name)
            return
        keyed = keyed_field.get()
        starts = [
            _fire(
                binding.platform, name, arg, None if keyed is None else keyed.key_of_event(binding.user.id, name, arg)
            )
            for name in firings
        ]
        for name, answer in zip(firings, await asyncio.gather(*starts, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                _logger.error("%r was not fired by resolver %r", name, self._resolver.name, exc_info=answer)


async def _fire(platform: Platform, name: str, arg: str, idempotency_key: str | None) -> None:
    caller = executor_user(executor_of(name) or name)
    with starting(name) as start:
        start.began(await platform.start_workflow(name, arg, caller=caller, idempotency_key=idempotency_key))


def _public(error: Exception) -> ResolverError:
    """What the client is told of an error, without the ID under which an unexpected one is logged."""
    if isinstance(error, GqlpluginError) and not isinstance(error, DefinitionError):
        return ResolverError(code=error.code, message=error.message)
    if isinstance(error, GraphQLError):
        return ResolverError(code=str((error.extensions or {}).get("code", "")), message=plain_text(error.message))
    return ResolverError(code=INTERNAL, message="Internal error")


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
