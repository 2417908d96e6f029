"""Type annotations as GraphQL shapes, before any GraphQL type exists."""

from __future__ import annotations

import ipaddress
import re
from collections import abc, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeAlias, TypeVar, Union, cast, get_args, get_origin
from uuid import UUID

import pydantic
import pydantic_core
from pydantic import BaseModel, ConfigDict, RootModel
from strawberry.scalars import ID, JSON

from gqlplugin.checks import is_graphql_name
from gqlplugin.errors import DefinitionError

Position = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class BigIntMarker:
    """Tells an `int` that may need more than 32 bits."""


BigInt: TypeAlias = Annotated[int, BigIntMarker()]
"""An `int` of any size. A plain `int` is GraphQL's `Int`, which has 32 bits."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A GraphQL scalar.

    Attributes:
        name: Its GraphQL name.
        annotation: The Python type behind it, with its metadata.
        config: The configuration of the model around it.
        as_json: Whether an output value is first put into pydantic's JSON form.
    """

    name: str
    annotation: Any
    config: ConfigDict | None = None
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
class RootOf:
    """A `RootModel`, which GraphQL sees as what is inside it."""

    model: type[RootModel[Any]]
    inner: Shape


@dataclass(frozen=True, slots=True)
class Foreign:
    """A type the user made with Strawberry, `strawberry.pydantic` included."""

    type: type


@dataclass(frozen=True, slots=True)
class UnionOf:
    """A union of models, in an output."""

    name: str
    members: tuple[ModelOf | Foreign, ...]


Shape: TypeAlias = Scalar | ListOf | Nullable | ModelOf | EnumOf | LiteralOf | UnionOf | RootOf | Foreign


@dataclass(frozen=True, slots=True)
class Place:
    """Where an annotation stands.

    Attributes:
        position: Whether clients write it or read it.
        where: For messages, when it is turned into a string: finding the line of a class takes its time.
        type_name: What a `Literal` or a union that stands here is called; None where it can't have a name.
        config: The configuration of the model around it.
        around: The type aliases and root models around it.
        model: The model that has it as a field.
    """

    position: Position
    where: object
    type_name: str | None = None
    config: ConfigDict | None = None
    around: tuple[object, ...] = ()
    model: type[BaseModel] | None = None

    def inside(self, thing: object, name: str) -> Place:
        """The place inside a type alias or a root model, which names what is in it.

        Raises:
            DefinitionError: It is inside itself already.
        """
        if thing in self.around:
            raise self.refuse(thing, "use a model that refers to itself, or pydantic.JsonValue")
        return replace(self, type_name=name, around=(*self.around, thing))

    def refuse(self, annotation: object, instead: str) -> DefinitionError:
        """The error for an annotation that has no GraphQL type here."""
        return DefinitionError(
            f"{self.where}: {show(annotation)} has no GraphQL type as an {self.position}; {instead}."
        )


def leaf_of(shape: Shape) -> Scalar | ModelOf | EnumOf | LiteralOf | UnionOf | Foreign:
    """What is inside the lists and optionals of a shape."""
    while isinstance(shape, (Nullable, ListOf, RootOf)):
        shape = shape.item if isinstance(shape, ListOf) else shape.of if isinstance(shape, Nullable) else shape.inner
    return shape


def show(annotation: object) -> str:
    """An annotation for a message."""
    return annotation.__qualname__ if isinstance(annotation, type) else repr(annotation).replace("typing.", "")


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
    # to type checkers these are unions
    *cast(tuple[type, ...], (pydantic.IPvAnyAddress, pydantic.IPvAnyInterface, pydantic.IPvAnyNetwork)),
)
_SERIALIZERS = (pydantic.PlainSerializer, pydantic.WrapSerializer)
USE_COMPUTED_FIELD = "nobody can tell what its serializer makes of it: use a computed_field"
_USE_A_MODEL = "use a pydantic model, a scalar, an Enum, a Literal of strings, or dict for free-form JSON"


def shape_of(  # noqa: PLR0911 - one case per kind of annotation
    annotation: Any, place: Place, metadata: tuple[Any, ...] = ()
) -> Shape:
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
        return Nullable(Scalar("JSON", _annotated(annotation, metadata), place.config, as_json=True))
    if origin in _MAPPINGS:
        return Scalar("JSON", _annotated(annotation, metadata), place.config, as_json=True)
    _check_metadata(annotation, place, metadata)
    if hasattr(origin, "__value__"):
        return _alias_shape(origin, annotation, place, metadata)
    if origin in (Union, UnionType):
        return _union_shape(annotation, place, metadata)
    if origin is Literal:
        return _literal_shape(annotation, place)
    if origin in _LISTS:
        return ListOf(shape_of(_item_of(annotation, place), place))
    return _named_shape(annotation, place, metadata)


def _check_metadata(annotation: Any, place: Place, metadata: tuple[Any, ...]) -> None:
    if any(isinstance(item, pydantic.Json) for item in metadata):
        raise place.refuse(pydantic.Json, "use dict or pydantic.JsonValue, which are free-form JSON here")
    if place.position == "output" and any(isinstance(item, _SERIALIZERS) for item in metadata):
        raise place.refuse(annotation, USE_COMPUTED_FIELD)


def _named_shape(annotation: Any, place: Place, metadata: tuple[Any, ...]) -> Shape:
    if isinstance(annotation, TypeVar):
        raise place.refuse(annotation, "give the generic model its argument, such as Page[User]")
    if annotation is int and BigIntMarker() in metadata:
        return Scalar("BigInt", int)
    if isinstance(annotation, (type, NewType)) and annotation in _SCALARS:
        return Scalar(_SCALARS[annotation], _annotated(annotation, metadata))
    if isinstance(annotation, NewType):
        return shape_of(annotation.__supertype__, place, metadata)
    if hasattr(annotation, "type_ref"):
        annotation = _recursive_model(annotation, place)
    if isinstance(annotation, type):
        return _class_shape(annotation, place, metadata)
    raise place.refuse(annotation, _USE_A_MODEL)


def _recursive_model(reference: Any, place: Place) -> type:
    """The model that pydantic puts a reference for into the fields of a generic model that refers to itself.

    Raises:
        DefinitionError: The model doesn't have it.
    """
    with suppress(pydantic.PydanticUserError):  # of generic models that refer to each other, which it can't complete
        schema: Any = {} if place.model is None else place.model.__pydantic_core_schema__
        for definition in schema.get("definitions", ()):
            if definition.get("ref") == reference.type_ref and isinstance(definition.get("cls"), type):
                found: type = definition["cls"]
                return found
    name = reference.type_ref.partition(":")[0].rpartition(".")[2]
    raise DefinitionError(
        f"{place.where}: pydantic does not resolve the generic model {name}, which refers to itself through another "
        "one; write models without type variables in place of both."
    )


def _class_shape(class_: type, place: Place, metadata: tuple[Any, ...]) -> Shape:
    if issubclass(class_, Enum):
        return EnumOf(_checked_enum(class_, place))
    if _is_strawberrys(class_, place.position):
        return Foreign(class_)
    if issubclass(class_, RootModel):
        return _root_shape(class_, place)
    if issubclass(class_, BaseModel):
        return ModelOf(class_)
    if issubclass(class_, _STRINGS):
        return Scalar("String", _annotated(class_, metadata), place.config, as_json=True)
    for base, name in _SCALARS.items():
        if isinstance(base, type) and issubclass(class_, base):
            return Scalar(name, _annotated(class_, metadata))
    raise place.refuse(class_, _USE_A_MODEL)


def strawberry_name(class_: type) -> str | None:
    """The GraphQL name of a class that the user, or Strawberry, has made a type."""
    return getattr(getattr(class_, "__strawberry_definition__", None), "name", None)


def _is_strawberrys(class_: type, position: Position) -> bool:
    """Whether the user has made this very class a type: subclasses only inherit the mark."""
    definition = getattr(class_, "__strawberry_definition__", None)
    return definition is not None and definition.origin is class_ and definition.is_input == (position == "input")


def _alias_shape(alias: Any, annotation: Any, place: Place, metadata: tuple[Any, ...]) -> Shape:
    arguments = get_args(annotation)
    value = alias.__value__[arguments] if arguments else alias.__value__
    return shape_of(value, place.inside(alias, alias.__name__), metadata)


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
    objects = tuple(shape for shape in shapes if isinstance(shape, (ModelOf, Foreign)))
    if len(objects) < len(shapes):
        raise place.refuse(annotation, "use one type, or Any for free-form JSON")
    if place.position == "input":
        raise place.refuse(annotation, "GraphQL has no unions of inputs: use one model with optional fields")
    if place.type_name is None:
        raise place.refuse(annotation, "a union needs a name: make it the field of a model")
    return UnionOf(place.type_name, tuple(_most_specific_first(objects)))


def _most_specific_first(members: tuple[ModelOf | Foreign, ...]) -> list[ModelOf | Foreign]:
    """A value's type is the first that it is an instance of."""
    classes = {member: member.model if isinstance(member, ModelOf) else member.type for member in members}
    return sorted(members, key=lambda one: sum(issubclass(other, classes[one]) for other in classes.values()))


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
        if not value.isascii() or not is_graphql_name(name) or not name.strip("_") or name in named:
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
    inside = replace(place.inside(model, type_name(model)), config=model.model_config)
    return RootOf(model, shape_of(info.annotation, inside, tuple(info.metadata)))


def _item_of(annotation: Any, place: Place) -> Any:
    items = [item for item in get_args(annotation) if item is not Ellipsis]
    if any(item != items[0] for item in items):
        raise place.refuse(annotation, "the items of a GraphQL list have one type: use a model with one field per item")
    return items[0] if items else Any


def _annotated(annotation: Any, metadata: tuple[Any, ...]) -> Any:
    return Annotated[(annotation, *metadata)] if metadata else annotation


def complete(model: type[BaseModel]) -> None:
    """Let pydantic resolve the annotations that named models from further down the module.

    Raises:
        DefinitionError: They are not there.
    """
    if model.__pydantic_complete__:
        return
    try:
        model.model_rebuild()
    except pydantic.PydanticUndefinedAnnotation as error:
        name = f"{model.__module__}.{model.__qualname__}"
        raise DefinitionError(f"model {name} has an annotation that can't be resolved: {error.message}.") from error


def type_name(model: type) -> str:
    """What a class is called in GraphQL as an output: its name; `Page[User]` is `UserPage`, as Strawberry has it."""
    generic = getattr(model, "__pydantic_generic_metadata__", None)
    if not generic or generic["origin"] is None:
        return model.__name__
    return "".join(map(_argument_name, generic["args"])) + str(generic["origin"].__name__)


def _argument_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _argument_name(get_args(annotation)[0])
    if origin in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        suffix = "Optional" if len(members) < len(get_args(annotation)) else ""
        return "".join(map(_argument_name, members)) + suffix
    if origin in _LISTS:
        return "".join(_argument_name(item) for item in get_args(annotation) if item is not Ellipsis) + "List"
    if isinstance(annotation, (type, NewType)) and annotation in _SCALARS:
        return _SCALARS[annotation]
    name = type_name(annotation) if isinstance(annotation, type) else getattr(annotation, "__name__", "JSON")
    return name[:1].upper() + name[1:]
