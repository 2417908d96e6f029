"""What GraphQL makes of pydantic models and annotations, before any GraphQL type exists.

An annotation is read into a shape once, with every complaint about it; `gqlplugin.graphql.types` turns shapes into
Strawberry types, and `gqlplugin.type_names` looks for names that are used twice.
"""

from __future__ import annotations

import ipaddress
import re
from collections import abc, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeAlias, TypeVar, Union, get_args, get_origin
from uuid import UUID

import pydantic
import pydantic_core
from pydantic import BaseModel, RootModel
from strawberry.scalars import ID, JSON

from gqlplugin.errors import DefinitionError
from gqlplugin.names import is_graphql_name

Position = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class BigIntMarker:
    """Tells an `int` that may need more than 32 bits."""


BigInt: TypeAlias = Annotated[int, BigIntMarker()]  # noqa: UP040 - mypy takes a TypeAliasType for another type
"""An `int` of any size. A plain `int` is GraphQL's `Int`, which has 32 bits."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A GraphQL scalar.

    Attributes:
        name: Its GraphQL name.
        annotation: The Python type behind it, with its metadata.
        as_json: Whether an output value is first put into pydantic's JSON form.
    """

    name: str
    annotation: Any
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, whatever collection Python makes of it."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value that may be null."""

    of: Shape


@dataclass(frozen=True, slots=True)
class ModelOf:
    """A model as an object or an input object."""

    model: type[BaseModel]


@dataclass(frozen=True, slots=True)
class EnumOf:
    """A Python enum."""

    enum: type[Enum]


@dataclass(frozen=True, slots=True)
class LiteralOf:
    """A `Literal` as an enum: GraphQL names to the strings they stand for."""

    name: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UnionOf:
    """A union of models, in an output."""

    name: str
    members: tuple[type[BaseModel], ...]


@dataclass(frozen=True, slots=True)
class RootOf:
    """A `RootModel`, which GraphQL sees as what is inside it."""

    inner: Shape


@dataclass(frozen=True, slots=True)
class Foreign:
    """A type the user made with Strawberry."""

    type: type


Shape: TypeAlias = Scalar | ListOf | Nullable | ModelOf | EnumOf | LiteralOf | UnionOf | RootOf | Foreign  # noqa: UP040


@dataclass(frozen=True, slots=True)
class Place:
    """Where an annotation stands.

    Attributes:
        position: Whether clients write it or read it.
        where: For messages: "field 'priority' of model shop.Order (shop.py:3)".
        type_name: What a `Literal` or a union that stands here is called; None where it can't have a name.
        config: The configuration of the model around it.
    """

    position: Position
    where: str
    type_name: str | None = None
    config: Mapping[str, Any] | None = None

    def refuse(self, annotation: object, instead: str) -> DefinitionError:
        """The error for an annotation that has no GraphQL type here."""
        return DefinitionError(f"{self.where}: {_show(annotation)} has no GraphQL type as an {self.position}; {instead}.")


_LISTS = (list, set, frozenset, tuple, deque, abc.Sequence, abc.Set, abc.Collection, abc.MutableSequence)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_SCALARS: dict[object, str] = {
    str: "String",
    bool: "Boolean",
    int: "Int",
    float: "Float",
    ID: "ID",
    UUID: "ID",
    datetime: "DateTime",
    pydantic.AwareDatetime: "DateTime",
    pydantic.NaiveDatetime: "DateTime",
    pydantic.PastDatetime: "DateTime",
    pydantic.FutureDatetime: "DateTime",
    date: "Date",
    pydantic.PastDate: "Date",
    pydantic.FutureDate: "Date",
    time: "Time",
    timedelta: "Duration",
    Decimal: "Decimal",
}
SECRETS = (pydantic.SecretStr, pydantic.SecretBytes)
"""Types whose JSON form hides the value."""
_STRINGS: tuple[type, ...] = (
    *SECRETS,
    bytes,
    bytearray,
    PurePath,
    re.Pattern,
    pydantic.AnyUrl,
    pydantic_core.Url,
    pydantic_core.MultiHostUrl,
    *pydantic.PostgresDsn.__mro__[:-1],  # the base of the URLs with several hosts is private to pydantic
    pydantic.EmailStr,
    pydantic.NameEmail,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    *(pydantic.IPvAnyAddress, pydantic.IPvAnyInterface, pydantic.IPvAnyNetwork),  # type: ignore[list-item, unused-ignore] - unions to type checkers
)
_USE_A_MODEL = "use a pydantic model, a scalar, an Enum, a Literal of strings, or dict for free-form JSON"


def shape_of(annotation: Any, place: Place, metadata: tuple[Any, ...] = ()) -> Shape:
    """What GraphQL makes of an annotation.

    Args:
        annotation: An annotation as pydantic takes it.
        place: Where it stands.
        metadata: What stood beside it in an `Annotated`, or in a model's field.

    Raises:
        DefinitionError: GraphQL has nothing for it; the message says what to write instead.
    """
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return shape_of(inner, place, (*more, *metadata))
    if annotation in (Any, object, JSON, pydantic.JsonValue):
        return Nullable(Scalar("JSON", _annotated(annotation, metadata), as_json=True))
    if hasattr(origin, "__value__"):
        return _alias_shape(origin, annotation, place, metadata)
    if origin in (Union, UnionType):
        return _union_shape(annotation, place, metadata)
    if origin is Literal:
        return _literal_shape(annotation, place)
    if origin in _LISTS:
        return ListOf(shape_of(_item_of(annotation, place), place))
    if origin in _MAPPINGS:
        return Scalar("JSON", _annotated(annotation, metadata), as_json=True)
    return _named_shape(annotation, place, metadata)


def _named_shape(annotation: Any, place: Place, metadata: tuple[Any, ...]) -> Shape:
    if isinstance(annotation, TypeVar):
        raise place.refuse(annotation, "give the generic model its argument, such as Page[User]")
    if any(isinstance(item, pydantic.Json) for item in metadata):
        raise place.refuse(pydantic.Json, "use dict or pydantic.JsonValue, which are free-form JSON here")
    if annotation is int and BigIntMarker() in metadata:
        return Scalar("BigInt", int)
    if annotation in _SCALARS:
        return Scalar(_SCALARS[annotation], _annotated(annotation, metadata))
    if isinstance(annotation, NewType):
        return shape_of(annotation.__supertype__, place, metadata)
    if isinstance(annotation, type):
        return _class_shape(annotation, place, metadata)
    raise place.refuse(annotation, _USE_A_MODEL)


def _class_shape(class_: type, place: Place, metadata: tuple[Any, ...]) -> Shape:
    if issubclass(class_, Enum):
        return EnumOf(_checked_enum(class_, place))
    if issubclass(class_, RootModel):
        return _root_shape(class_, place)
    if issubclass(class_, BaseModel):
        return ModelOf(class_)
    if hasattr(class_, "__strawberry_definition__") and place.position == "output":
        return Foreign(class_)
    if issubclass(class_, _STRINGS):
        return Scalar("String", _annotated(class_, metadata), as_json=True)
    for base, name in _SCALARS.items():
        if isinstance(base, type) and issubclass(class_, base):
            return Scalar(name, _annotated(class_, metadata))
    raise place.refuse(class_, _USE_A_MODEL)


def _alias_shape(alias: Any, annotation: Any, place: Place, metadata: tuple[Any, ...]) -> Shape:
    arguments = get_args(annotation)
    value = alias.__value__[arguments] if arguments else alias.__value__
    if f"{alias.__name__!r}, which is defined by itself" in place.where:
        raise place.refuse(alias, "use a model that refers to itself, or pydantic.JsonValue")
    inside = f"{place.where} (in {alias.__name__!r}, which is defined by itself)"
    shape = shape_of(value, replace(place, type_name=alias.__name__, where=inside), metadata)
    return shape


def _union_shape(annotation: Any, place: Place, metadata: tuple[Any, ...]) -> Shape:
    members = [member for member in get_args(annotation) if member is not NoneType]
    if len(members) < len(get_args(annotation)):
        inner = shape_of(Union[tuple(members)], place, metadata)  # noqa: UP007 - a union of a list
        return inner if isinstance(inner, Nullable) else Nullable(inner)
    if set(members) == {int, float}:
        return Scalar("Float", float)
    shapes = [shape_of(member, place) for member in members]
    if all(isinstance(shape, LiteralOf) for shape in shapes):
        values = tuple(value for member in members for value in get_args(member))
        return _literal_shape(Literal[values], place)
    if not all(isinstance(shape, ModelOf) for shape in shapes):
        raise place.refuse(annotation, "use one type, or Any for free-form JSON")
    if place.position == "input":
        raise place.refuse(annotation, "GraphQL has no unions of inputs: use one model with optional fields")
    if place.type_name is None:
        raise place.refuse(annotation, "a union needs a name: make it the field of a model")
    return UnionOf(place.type_name, tuple(shape.model for shape in shapes if isinstance(shape, ModelOf)))


def _literal_shape(annotation: Any, place: Place) -> Shape:
    values = get_args(annotation)
    if None in values:
        return Nullable(_literal_shape(Literal[tuple(value for value in values if value is not None)], place))
    if not all(type(value) is str for value in values):
        raise place.refuse(annotation, "use a Literal of strings, or an Enum")
    if place.type_name is None:
        raise place.refuse(annotation, "an enum needs a name: use an Enum, or make it the field of a model")
    named: dict[str, str] = {}
    for value in values:
        name = _enum_value_name(value)
        if not is_graphql_name(name) or name in named:
            raise place.refuse(annotation, f"{value!r} can't be told in a GraphQL name: use an Enum, whose names can")
        named[name] = value
    return LiteralOf(place.type_name, tuple(named.items()))


def _enum_value_name(value: str) -> str:
    """`in-progress` as `in_progress`, `2fa` as `_2fa`, and `true`, which GraphQL keeps for itself, as `true_`."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", value)
    if value in ("true", "false", "null"):
        return f"{value}_"
    return f"_{name}" if name[:1].isdigit() else name


def _checked_enum(enum: type[Enum], place: Place) -> type[Enum]:
    wrong = [name for name in enum.__members__ if not is_graphql_name(name) or name in ("true", "false", "null")]
    if wrong:
        raise place.refuse(enum, f"rename its member {wrong[0]!r}: GraphQL takes ASCII letters, digits and _")
    if not enum.__members__:
        raise place.refuse(enum, "give it members")
    return enum


def _root_shape(model: type[RootModel[Any]], place: Place) -> Shape:
    complete(model)
    info = model.model_fields["root"]
    if model in getattr(place, "config", None) or () if False else False:
        raise AssertionError
    inside = replace(place, type_name=model.__name__, config=model.model_config)
    return RootOf(shape_of(info.annotation, inside, tuple(info.metadata)))
