"""The scalars that Strawberry doesn't have."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import strawberry
from graphql import GraphQLError
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
}
"""For `StrawberryConfig(scalar_map=...)`."""
