"""Pydantic models as GraphQL types.

`strawberry.pydantic` makes types of models that it may mark, each as an input or as a type. Ours stay as they are and
may be both, so the types are made beside them: one Strawberry definition per model and position, on a small class of
its own. A model the user has decorated with `strawberry.pydantic` keeps that type.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Optional, Union
from weakref import WeakKeyDictionary, ref

import strawberry
from pydantic import BaseModel
from strawberry.annotation import StrawberryAnnotation
from strawberry.scalars import ID, JSON
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.enum import EnumValue, StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

from gqlplugin.graphql.scalars import SCALAR_MAP, BigIntScalar, DurationScalar, widened
from gqlplugin.models.annotations import shape_of
from gqlplugin.models.fields import ModelField, as_json, model_name, nested_fields_of
from gqlplugin.models.names import check_type_names
from gqlplugin.models.shapes import (
    EnumOf,
    Foreign,
    ListOf,
    LiteralOf,
    ModelOf,
    Nullable,
    Place,
    Position,
    RootOf,
    Scalar,
    Shape,
    UnionOf,
    show,
)

__all__ = ["SCALAR_MAP", "check_type_names", "input_annotation", "output_annotation", "output_converter"]

Converter = Callable[[Any], Any]

_SCALARS: dict[str, Any] = {
    "String": str,
    "Boolean": bool,
    "Int": int,
    "Float": float,
    "ID": ID,
    "JSON": JSON,
    "Date": date,
    "DateTime": datetime,
    "Time": time,
    "Decimal": Decimal,
    "Duration": DurationScalar,
    "BigInt": BigIntScalar,
    "Void": type(None),
}


def output_annotation(annotation: Any, *, place: Place | None = None) -> Any:
    """An annotation that Strawberry understands, for values of an annotation as pydantic takes it.

    Args:
        annotation: A model, a scalar, a list, an optional, ...
        place: Where it stands, for messages and for the name of a `Literal` or a union.

    Raises:
        DefinitionError: GraphQL has nothing for it.
    """
    return annotation_of(shape_of(annotation, place or Place("output", f"output {show(annotation)}")), "output")


def input_annotation(annotation: Any, *, place: Place | None = None) -> Any:
    """The same for an argument. Strawberry's value for it has dicts in place of models, by the names of the fields.

    Raises:
        DefinitionError: GraphQL has nothing for it.
    """
    return annotation_of(shape_of(annotation, place or Place("input", f"input {show(annotation)}")), "input")


def annotation_of(shape: Shape, position: Position) -> Any:  # noqa: PLR0911 - one case per shape
    """An annotation that Strawberry understands, for a shape."""
    match shape:
        case Scalar(name):
            return _SCALARS[name]
        case Nullable(inner):
            return Optional[annotation_of(inner, position)]  # noqa: UP045 - Strawberry's own objects have no `|`
        case ListOf(item):
            return list[annotation_of(item, position)]  # type: ignore[misc]
        case RootOf(inner=inner):
            return annotation_of(inner, position)
        case ModelOf(model):
            return _type_of(model, position)
        case UnionOf(name, members):
            types = tuple(annotation_of(member, position) for member in members)
            return Annotated[Union[types], strawberry.union(name)]  # noqa: UP007 - a union of a tuple
        case EnumOf(enum):
            return enum
        case Foreign(type_):
            return type_
        case LiteralOf(name, values):
            return _literal_type(name, values)


def output_converter(annotation: Any, *, place: Place | None = None) -> Converter | None:
    """What a validated value of an annotation goes through before Strawberry gets it; None for nothing."""
    return converter_of(shape_of(annotation, place or Place("output", f"output {show(annotation)}")))


def converter_of(shape: Shape, *, is_part: bool = False) -> Converter | None:
    """What a validated value of a shape goes through before Strawberry gets it; None for nothing.

    Args:
        shape: What GraphQL makes of the value.
        is_part: Whether it is within an object or a list; see `WideInt`.
    """
    match shape:
        case Scalar("Int"):
            return widened if is_part else None
        case Scalar(as_json=True):
            return as_json(shape)
        case RootOf(inner=inner):
            convert = converter_of(inner, is_part=is_part) or _same
            return lambda root: convert(root.root)
        case Nullable(inner) | ListOf(inner):
            inside = converter_of(inner, is_part=is_part or isinstance(shape, ListOf))
            return None if inside is None else _for_each(inside) if isinstance(shape, ListOf) else _unless_none(inside)
    return None


def _same(value: Any) -> Any:
    return value


def _for_each(convert: Converter) -> Converter:
    return lambda values: [convert(value) for value in values]


def _unless_none(convert: Converter) -> Converter:
    return lambda value: None if value is None else convert(value)


_types: Mapping[Position, WeakKeyDictionary[type[BaseModel], type]] = {
    "input": WeakKeyDictionary(),
    "output": WeakKeyDictionary(),
}
_making = threading.RLock()
_numbers = itertools.count(1)


def _type_of(model: type[BaseModel], position: Position) -> type:
    """The class that Strawberry knows a model by, the same one at every call."""
    known = _types[position]
    with _making:
        if model not in known:
            try:
                _make_type(model, position)
            except BaseException:
                known.pop(model, None)
                raise
        return known[model]


def _make_type(model: type[BaseModel], position: Position) -> None:
    name = model_name(model, position)
    # Strawberry takes two classes with one qualified name for the same type, and local models often share theirs
    qualified = f"{model.__qualname__}@{next(_numbers)}"
    made = type(name, (), {"__module__": model.__module__, "__qualname__": qualified})
    _types[position][model] = made  # before its fields, which may lead back here
    fields = nested_fields_of(model, position)
    made_fields = [_input_field(made, one) if position == "input" else _output_field(made, one) for one in fields]
    weak = ref(model)
    definition = StrawberryObjectDefinition(
        name=name,
        is_input=position == "input",
        is_interface=False,
        origin=made,
        description=description_of(model),
        interfaces=[],
        extend=False,
        directives=(),
        is_type_of=None if position == "input" else lambda value, _: _is_instance(value, weak()),
        resolve_type=None,
        fields=list(made_fields),
        from_input=_reader([Argument.of(one) for one in fields]) if position == "input" else None,
    )
    made.__strawberry_definition__ = definition  # type: ignore[attr-defined]


def _is_instance(value: object, model: type[BaseModel] | None) -> bool:
    return model is not None and isinstance(value, model)


def description_of(model: type[BaseModel]) -> str | None:
    """The model's own docstring."""
    generic = model.__pydantic_generic_metadata__["origin"]
    text = vars(generic or model).get("__doc__")
    return inspect.cleandoc(text) if text else None


def _input_field(made: type, one: ModelField) -> StrawberryField:
    return StrawberryField(
        python_name=one.name,
        graphql_name=one.graphql_name,
        type_annotation=StrawberryAnnotation(annotation_of(one.shape, "input")),
        origin=made,
        description=one.description,
        deprecation_reason=one.deprecation_reason,
        default=one.default if one.has_default else MISSING,
    )


class OutputField(StrawberryField):
    """A field that is read from a model."""

    computed = False
    convert: Converter | None = None

    def get_result(self, source: Any, info: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - Strawberry's signature
        """The field's value, as Strawberry wants it."""
        # reading a deprecated field as an attribute would warn
        value = getattr(source, self.name) if self.computed else source.__dict__[self.name]
        return value if self.convert is None else self.convert(value)

    def __copy__(self) -> OutputField:
        copy = super().__copy__()
        copy.computed, copy.convert = self.computed, self.convert
        return copy


def _output_field(made: type, one: ModelField) -> StrawberryField:
    field = OutputField(
        python_name=one.name,
        graphql_name=one.graphql_name,
        type_annotation=StrawberryAnnotation(annotation_of(one.shape, "output")),
        origin=made,
        description=one.description,
        deprecation_reason=one.deprecation_reason,
    )
    field.computed, field.convert = one.computed, converter_of(one.shape, is_part=True)
    return field


@dataclass(frozen=True, slots=True)
class Argument:
    """How the value of an input field, or of an argument, gets to pydantic."""

    name: str
    graphql_name: str
    type: Any
    filled_with_none: bool
    null_is_absent: bool

    @classmethod
    def of(cls, one: ModelField) -> Argument:
        """From a field of a model."""
        return cls(
            name=one.name,
            graphql_name=one.graphql_name,
            type=StrawberryAnnotation(annotation_of(one.shape, "input")).resolve(),
            filled_with_none=one.filled_with_none,
            null_is_absent=one.null_is_absent,
        )

    def put(self, value: object, data: dict[str, Any]) -> None:
        """Add a value to what pydantic will validate, unless it means that it was left out."""
        if not (value is None and self.null_is_absent):
            data[self.name] = value


def _reader(arguments: list[Argument]) -> Callable[[type, Mapping[str, Any], InputContext], dict[str, Any]]:
    """Strawberry's hook that makes a value of an input object: here a dict, as pydantic validates the whole at once."""

    def read(_: type, given: Mapping[str, Any], context: InputContext) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for one in arguments:
            if one.graphql_name in given:
                one.put(context.convert(given[one.graphql_name], one.type, one.graphql_name), data)
            elif one.filled_with_none:
                data[one.name] = None
        return data

    return read


class _Verbatim:
    """What Strawberry takes for the class of a `Literal`'s enum: its values are plain strings, on both ways."""

    def __new__(cls, value: str) -> str:  # type: ignore[misc]
        return value


def _literal_type(name: str, values: tuple[tuple[str, str], ...]) -> type:
    definition = StrawberryEnumDefinition(
        wrapped_cls=_Verbatim,  # type: ignore[arg-type]
        name=name,
        values=[
            EnumValue(graphql_name, value, description=None if graphql_name == value else f'"{value}"')
            for graphql_name, value in values
        ],
        description=None,
    )
    return type(name, (), {"__strawberry_definition__": definition})
