"""The fields of a model as flat arguments of a GraphQL field, and what clients send there as that model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cache, partial
from keyword import iskeyword
from typing import Annotated, Any

import strawberry
from pydantic import BaseModel, ValidationError
from strawberry.types.field import StrawberryField

from gqlplugin.errors import FieldProblem, InvalidInputError
from gqlplugin.graphql.types import Argument, annotation_of
from gqlplugin.models.fields import ModelField, fields_of, locate, reads_json_models

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

    def validate(self, given: Mapping[str, Any]) -> BaseModel:
        """The validated input.

        Raises:
            InvalidInputError: With one problem per field that is wrong, up to `MAX_PROBLEMS`.
        """
        data: dict[str, Any] = {}
        for name, argument in self._arguments:
            if name in given:
                argument.put(given[name], data)
            elif argument.filled_with_none:
                data[argument.name] = None
        try:
            # GraphQL has checked the types, and a strict model would want what JSON can't say, such as a UUID
            return self._model.model_validate(data, strict=False, by_name=True, by_alias=self._by_alias)
        except ValidationError as error:
            problems = self._problems(error)
        # outside of the handler: pydantic's error shows the values
        raise InvalidInputError(problems=problems)

    def _problems(self, error: ValidationError) -> list[FieldProblem]:
        found = error.errors(include_url=False, include_input=False)
        problems = [
            FieldProblem(locate(self._model, item["loc"], self._fields), _message(item))
            for item in found[:MAX_PROBLEMS]
        ]
        if len(found) > MAX_PROBLEMS:
            problems.append(FieldProblem((), f"There are {len(found) - MAX_PROBLEMS} more problems."))
        return problems


def _message(item: Mapping[str, Any]) -> str:
    """What pydantic says; for a validator's own error, what the validator says."""
    raised = item.get("ctx", {}).get("error")
    return str(raised) if isinstance(raised, ValueError) else str(item["msg"])
