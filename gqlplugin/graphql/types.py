"""Pydantic models as GraphQL types, with the scalars that Strawberry lacks."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Optional, Union
from weakref import WeakKeyDictionary, ref

import strawberry
from graphql import GraphQLError, GraphQLInt, GraphQLNamedType, GraphQLScalarType
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from strawberry.annotation import StrawberryAnnotation
from strawberry.scalars import ID, JSON
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.enum import EnumValue, StrawberryEnumDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.scalar import ScalarDefinition

from gqlplugin.codec import JsonCodec, describe
from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.graphql.response_limits import parse_for_answer
from gqlplugin.models.annotations import (
    BigInt,
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
    shape_of,
    show,
)
from gqlplugin.models.fields import ModelField, as_json, check_type_names, model_name, nested_fields_of

__all__ = [
    "SCALAR_MAP",
    "BigInt",
    "BigIntScalar",
    "DurationScalar",
    "check_type_names",
    "input_annotation",
    "output_annotation",
    "output_converter",
]

_DURATIONS = TypeAdapter(timedelta)


def _serialize_duration(value: object) -> str:
    return str(_DURATIONS.dump_python(_DURATIONS.validate_python(value), mode="json"))


def _parse_duration(value: object) -> object:
    # the text goes to the model as it is: pydantic parses it, and reports it with the other fields
    if not isinstance(value, str):
        raise GraphQLError('Duration must be a string such as "PT1H30M".')
    return value


def _parse_big_int(value: object) -> int:
    if type(value) is int and value.bit_length() <= _MAX_BITS:
        return value
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    raise GraphQLError("BigInt must be an integer, or a string of decimal digits.")


_MAX_DIGITS = 4300  # where Python itself stops, as reading and writing take quadratic time
_MAX_BITS = 14_284  # as many


class WideInt(int):
    """An `int` beyond 32 bits that is part of an answer.

    GraphQL's `Int` has 32 bits, and a server should raise an error for more (GraphQL specification, section 3.5.1). As
    most fields can't be null, that error would take the whole object or list with it: one field, and nothing of what a
    run recorded could be read. JSON has such numbers, and clients read them as far as JavaScript does. An `int` that is
    a whole result is refused as the specification says, which costs nothing but itself.
    """


def widened(value: object) -> object:
    """A value of an `Int` field as the part of an answer."""
    return WideInt(value) if type(value) is int and value.bit_length() > _INT_BITS else value


def _serialize_int(value: object) -> object:
    if not isinstance(value, WideInt):
        return GraphQLInt.coerce_output_value(value)
    if value.bit_length() > _EXACT_BITS:
        raise GraphQLError("Int has no more than 53 bits: annotate the field as gqlplugin.BigInt.")
    return int(value)


_INT_BITS = 31  # and one for the sign
_EXACT_BITS = 53  # beyond which JavaScript loses digits without a word


class _Int(GraphQLScalarType):
    reserved_types: Mapping[str, GraphQLNamedType] = {}  # graphql-core keeps the name for its own


_INT = _Int(
    "Int",
    description=GraphQLInt.description,
    coerce_output_value=_serialize_int,
    coerce_input_value=GraphQLInt.coerce_input_value,
    coerce_input_literal=GraphQLInt.coerce_input_literal,
    value_to_literal=GraphQLInt.value_to_literal,
)


class DurationScalar:
    """Strawberry's key for the scalar `Duration`."""

    _scalar_definition: ClassVar[ScalarDefinition] = strawberry.scalar(
        name="Duration",
        description='A length of time in the format of ISO 8601, such as "PT1H30M".',
        specified_by_url="https://www.iso.org/iso-8601-date-and-time-format.html",
        serialize=_serialize_duration,
        parse_value=_parse_duration,
    )


class BigIntScalar:
    """Strawberry's key for the scalar `BigInt`."""

    _scalar_definition: ClassVar[ScalarDefinition] = strawberry.scalar(
        name="BigInt",
        description=(
            "An integer of any size. It is a string in responses, as JavaScript loses digits beyond 2^53; "
            "arguments take strings and integers."
        ),
        serialize=str,
        parse_value=_parse_big_int,
    )


SCALAR_MAP: dict[object, ScalarDefinition] = {
    scalar: scalar._scalar_definition  # noqa: SLF001 - where Strawberry looks when a schema was made without this map
    for scalar in (DurationScalar, BigIntScalar)
} | {
    int: ScalarDefinition(
        name=_INT.name,
        description=_INT.description,
        specified_by_url=None,
        serialize=_INT.serialize,
        parse_value=_INT.parse_value,
        parse_literal=_INT.parse_literal,
        implementation=_INT,
        origin=_INT,
    )
}
"""For `StrawberryConfig(scalar_map=...)`."""


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


def stored_field(
    codec: JsonCodec[Any], text_of: Callable[[Any], str | None], *, misfit: str, description: str
) -> StrawberryField | None:
    """A nullable field for a kept value, or None when there is nothing in it but null.

    Args:
        codec: Reads the value.
        text_of: Tells the text from the object that has the field.
        misfit: What to tell the client when the value can't be read, as after a change of its type.
        description: Of the field.
    """
    if codec.type in (None, type(None)):
        return None
    annotation, convert = _as_graphql(codec)

    def value(self: Any) -> Any:
        text = text_of(self)
        try:
            return None if text is None else convert(parse_for_answer(text))
        except ValidationError as error:
            raise FailedPreconditionError(f"{misfit}: {describe(error)}.") from None

    return strawberry.field(value, graphql_type=Optional[annotation], description=description)  # noqa: UP045 - no `|`


def typed(codecs: Iterable[JsonCodec[Any]]) -> list[Any]:
    """The annotations of kept values that have a GraphQL type, for `check_type_names`."""
    return [one.type for one in codecs if one.type not in (None, type(None)) and _as_graphql(one)[0] is not JSON]


def _as_graphql(codec: JsonCodec[Any]) -> tuple[Any, Callable[[str], Any]]:
    """The GraphQL type of kept values, and how they are read; what GraphQL has no type for is shown as JSON."""
    try:
        annotation = output_annotation(codec.type)
        convert = output_converter(codec.type)
    except DefinitionError:
        return JSON, from_json
    read = codec.load_accepted
    return annotation, read if convert is None else lambda text: convert(read(text))
