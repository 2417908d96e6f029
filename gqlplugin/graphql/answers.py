"""What a run is answered at a wait point, as the arguments of a GraphQL field."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import strawberry
from pydantic import BaseModel, RootModel, ValidationError, create_model
from pydantic_core import to_json

from gqlplugin.codec import describe, encode
from gqlplugin.errors import DefinitionError, FieldProblem, InvalidInputError
from gqlplugin.graphql.arguments import InputReader, parameter_of
from gqlplugin.models.fields import ModelField, arguments_of
from gqlplugin.names import pascal_case
from gqlplugin.source import Source
from gqlplugin.wait_point import WaitPoint

_RESULT = "result"


@dataclass(frozen=True, slots=True)
class AnswerInput:
    """The arguments of an answer, for the check of type names."""

    name: str
    source: Source
    input: type[BaseModel] | None
    output: None = None


class Answer:
    """How a wait point is answered: by the fields of its result, or by one argument `result` when that is no model.

    A result that GraphQL has no input for, such as a union, is one argument of free-form JSON. None has no argument.

    Raises:
        DefinitionError: The model of the result has a field that GraphQL has nothing for.
    """

    def __init__(self, point: WaitPoint[Any, Any]) -> None:
        self._point = point
        self._name = f"resolve{pascal_case(point.name)}"
        self._is_json = False
        self._is_flat = _is_model(point.result.type)
        self._model = self._model_of_arguments()
        self.arguments: list[ModelField] = arguments_of(self._model)
        self._reader = InputReader(self._model, self.arguments) if self._model is not None else None

    @property
    def typed(self) -> AnswerInput:
        """What is typed of it."""
        return AnswerInput(self._name, self._point.source, self._model)

    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that Strawberry makes the arguments of."""
        return [parameter_of(one) for one in self.arguments]

    def text(self, given: Mapping[str, Any], info: strawberry.Info) -> str:
        """The answer as JSON text.

        Args:
            given: The arguments as Strawberry passes them.
            info: Of the field.

        Raises:
            InvalidInputError: It doesn't fit, with one problem per field that is wrong.
        """
        if self._reader is None:
            return "null"
        value: Any = self._reader.validate(given, info)
        if not self._is_flat:
            value = value.result
        if self._is_json:
            value = self._read(value)
        return encode(f"The result of wait point {self._point.name!r}", self._point.result, value)

    def _model_of_arguments(self) -> type[BaseModel] | None:
        type_: Any = self._point.result.type
        if type_ in (None, type(None)):
            return None
        if self._is_flat:
            model: type[BaseModel] = type_
            return model
        model = self._model_of_one(type_)
        try:
            arguments_of(model)
        except DefinitionError:
            self._is_json = True
            return self._model_of_one(Any)
        return model

    def _model_of_one(self, type_: Any) -> type[BaseModel]:
        fields: dict[str, Any] = {_RESULT: (type_, ...)}
        return create_model(pascal_case(self._name), __module__=__name__, **fields)

    def _read(self, value: object) -> object:
        try:
            return self._point.result.load(to_json(value))
        except ValidationError as error:
            problem = FieldProblem((_RESULT,), f"{describe(error)}.")
        raise InvalidInputError(problems=[problem])  # outside of the handler: pydantic's error shows the values


def _is_model(type_: object) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel) and not issubclass(type_, RootModel)
