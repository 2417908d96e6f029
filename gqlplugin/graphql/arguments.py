"""The fields of a model as flat arguments of a GraphQL field, and what clients send there as that model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from keyword import iskeyword
from typing import Annotated, Any

import strawberry
from graphql import OperationDefinitionNode, Undefined, value_from_ast_untyped
from pydantic import BaseModel, ValidationError
from strawberry.types import ExecutionContext
from strawberry.types.field import StrawberryField

from gqlplugin.errors import FieldProblem, InvalidInputError
from gqlplugin.graphql.types import Argument, annotation_of
from gqlplugin.models.fields import ModelField, fields_of, has_defaults, locate, reads_json_models
from gqlplugin.models.shapes import ListOf, ModelOf, Nullable, RootOf, Shape

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
