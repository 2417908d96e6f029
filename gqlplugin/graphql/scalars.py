"""The scalars that Strawberry doesn't have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

import strawberry
from graphql import GraphQLError, GraphQLInt, GraphQLNamedType, GraphQLScalarType
from pydantic import TypeAdapter
from strawberry.types.scalar import ScalarDefinition

from gqlplugin.models.shapes import BigInt

__all__ = ["SCALAR_MAP", "BigInt", "BigIntScalar", "DurationScalar"]

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
