"""The fields of a pydantic model as GraphQL has them, and the names of the types."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from types import NoneType
from typing import Any, Protocol, get_args

from pydantic import AliasChoices, BaseModel, TypeAdapter
from pydantic.fields import ComputedFieldInfo, FieldInfo
from pydantic_core import PydanticUndefined, from_json
from strawberry.utils.str_converters import to_camel_case

from gqlplugin.checks import Source, is_graphql_name, pascal_case
from gqlplugin.errors import DefinitionError
from gqlplugin.models.annotations import (
    SECRETS,
    USE_COMPUTED_FIELD,
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
    complete,
    leaf_of,
    shape_of,
    show,
    strawberry_name,
    type_name,
)


class TypedResolver(Protocol):
    """A resolver as the check of its types sees it."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Source: ...
    @property
    def input(self) -> type[BaseModel] | None: ...
    @property
    def output(self) -> Any: ...


def output_shape(resolver: TypedResolver) -> Shape:
    """What GraphQL makes of the output of a resolver.

    Raises:
        DefinitionError: It has nothing for it.
    """
    if resolver.output in (None, NoneType):
        return Scalar("Void", NoneType)
    where = f"output of resolver {resolver.name!r} ({resolver.source})"
    return shape_of(resolver.output, Place("output", where, f"{pascal_case(resolver.name)}Output"))


def check_type_names(
    resolvers: Iterable[TypedResolver] = (), outputs: Iterable[Any] = (), *, reserved: Mapping[str, str] | None = None
) -> None:
    """Refuse two different things with one GraphQL type name, as Strawberry would merge or mistake them.

    Args:
        resolvers: Their inputs and outputs, with all that is nested in them.
        outputs: Annotations that the schema has besides, such as what a workflow returns.
        reserved: Names the schema uses for types of its own, with what to call those in a message.

    Raises:
        DefinitionError: With every clash, naming both, and every annotation that GraphQL has nothing for.
    """
    problems = type_problems(resolvers, outputs, reserved=reserved)
    if problems:
        raise DefinitionError(problems)


def type_problems(
    resolvers: Iterable[TypedResolver] = (), outputs: Iterable[Any] = (), *, reserved: Mapping[str, str] | None = None
) -> list[str]:
    """What `check_type_names` would raise, to be reported together with other problems."""
    walk = _Walk({name: (name, what) for name, what in {**_GRAPHQL_NAMES, **(reserved or {})}.items()})
    for resolver in resolvers:
        walk.fields(partial(arguments_of, resolver.input), "input")
        walk.output(partial(output_shape, resolver), f"output of resolver {resolver.name!r} ({resolver.source})")
    for output in outputs:
        where = f"output {show(output)}"
        walk.output(partial(shape_of, output, Place("output", where)), where)
    return list(dict.fromkeys(walk.problems))


_GRAPHQL_NAMES = (
    dict.fromkeys(("Query", "Mutation", "Subscription"), "GraphQL's root type")
    | dict.fromkeys(
        ("String", "Int", "Float", "Boolean", "ID", "Void", "JSON", "Date", "DateTime", "Time", "Decimal"), "a scalar"
    )
    | dict.fromkeys(("Duration", "BigInt"), "a scalar of gqlplugin")
)


@dataclass(slots=True)
class _Walk:
    """Goes through everything that is nested in inputs and outputs, and remembers who has which name."""

    names: dict[str, tuple[object, str]]
    problems: list[str] = field(default_factory=list)
    seen: set[tuple[type, Position]] = field(default_factory=set)

    def output(self, read: Callable[[], Shape], where: object) -> None:
        with self.noting():
            self.shape(read(), "output", where)

    def fields(self, read: Callable[[], list[ModelField]], position: Position) -> None:
        with self.noting():
            for one in read():
                self.shape(one.shape, position, one.where)

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except DefinitionError as error:
            self.problems += error.problems

    def shape(self, shape: Shape, position: Position, where: object) -> None:
        match shape:
            case Nullable(inner) | ListOf(inner) | RootOf(inner=inner):
                self.shape(inner, position, where)
            case ModelOf(model):
                if (model, position) not in self.seen:
                    self.seen.add((model, position))
                    self.name(model_name(model, position), (model, position), describe_class(model, position))
                    self.fields(partial(nested_fields_of, model, position), position)
            case EnumOf(type_) | Foreign(type_):
                self.name(strawberry_name(type_) or type_.__name__, type_, describe_class(type_))
            case LiteralOf(name, values):
                self.name(name, values, f"the Literal of {where}")
            case UnionOf(name, members):
                self.name(name, members, f"the union of {where}")
                for member in members:
                    self.shape(member, position, where)

    def name(self, name: str, key: object, what: str) -> None:
        if not is_graphql_name(name):
            self.problems.append(f"{what} would be type {name!r}, which is not a GraphQL name: rename it.")
        first_key, first = self.names.setdefault(name, (key, what))
        if first_key != key:
            self.problems.append(f"two types would be named {name!r}: {first} and {what}; rename one.")


def model_name(model: type[BaseModel], position: Position) -> str:
    """What a model is called in GraphQL: its name; as an input object with `Input` at the end."""
    name = type_name(model)
    return name if position == "output" or name.endswith("Input") else f"{name}Input"


def describe_class(class_: type, position: Position | None = None) -> str:
    """A class for a message: `shop.models.Order (shop/models.py:12) as an input`."""
    try:
        source = f" ({Source(inspect.getsourcefile(class_) or '', inspect.getsourcelines(class_)[1])})"
    except (OSError, TypeError):
        source = ""
    suffix = f" as an {position}" if position else ""
    return f"{class_.__module__}.{class_.__qualname__}{source}{suffix}"


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A field of a model, for messages."""

    model: type[BaseModel]
    name: str

    def __str__(self) -> str:
        return f"field {self.name!r} of model {describe_class(self.model)}"


@dataclass(frozen=True, slots=True)
class ModelField:
    """A field of a model, as an argument, a field of an input object or a field of an object.

    Attributes:
        name: Its Python name.
        graphql_name: Its alias, else its name in lowerCamelCase.
        shape: What GraphQL makes of it; nullable also where the client may leave it out for pydantic to fill in.
        where: For messages.
        default: What the schema says it is when it is left out; PydanticUndefined when it says nothing.
        filled_with_none: Pydantic wants a value, and null is one: left out means null.
        null_is_absent: Null is not one of its values: it means left out.
        computed: It is a property and not stored.
    """

    name: str
    graphql_name: str
    shape: Shape
    where: FieldOf
    description: str | None
    deprecation_reason: str | None
    default: Any = PydanticUndefined
    filled_with_none: bool = False
    null_is_absent: bool = False
    computed: bool = False

    @property
    def has_default(self) -> bool:
        """Whether the schema says what it is when it is left out."""
        return self.default is not PydanticUndefined


def fields_of(model: type[BaseModel], position: Position) -> list[ModelField]:
    """The fields of a model as clients write or read them.

    Raises:
        DefinitionError: With every field that GraphQL has nothing for.
    """
    complete(model)
    if position == "output" and model.__pydantic_decorators__.model_serializers:
        raise DefinitionError(
            f"model {describe_class(model)} has a model_serializer, and GraphQL can't know what that makes of it; "
            "return another model."
        )
    read = _input_field if position == "input" else _output_field
    infos: list[tuple[str, FieldInfo | ComputedFieldInfo]] = list(model.model_fields.items())
    if position == "output":
        infos = [(name, info) for name, info in infos if not (isinstance(info, FieldInfo) and info.exclude)]
        infos += model.model_computed_fields.items()
    fields: dict[str, ModelField] = {}
    problems: list[str] = []
    for name, info in infos:
        try:
            one = read(model, name, info)
        except DefinitionError as error:
            problems += error.problems
            continue
        other = fields.setdefault(one.graphql_name, one)
        if other is not one:
            problems.append(
                f"{FieldOf(model, name)} has the GraphQL name {one.graphql_name!r} of field {other.name!r}."
            )
    if problems:
        raise DefinitionError(problems)
    return list(fields.values())


def nested_fields_of(model: type[BaseModel], position: Position) -> list[ModelField]:
    """The fields of a model that becomes a GraphQL type.

    Raises:
        DefinitionError: As for `fields_of`, and when it has none.
    """
    fields = fields_of(model, position)
    if not fields:
        raise DefinitionError(f"model {describe_class(model, position)} has no fields, and a GraphQL type needs one.")
    return fields


_NO_ARGUMENT = ("info", "_source")
"""Names of GraphQL arguments that Strawberry passes over something else under."""


def arguments_of(model: type[BaseModel] | None) -> list[ModelField]:
    """The fields of the input of a resolver, as flat arguments.

    Raises:
        DefinitionError: As for `fields_of`, and for an argument that Strawberry can't take.
    """
    if model is None:
        return []
    fields = fields_of(model, "input")
    problems = [
        f"{one.where}: Strawberry can't take an argument named {one.graphql_name!r}; give the field an alias."
        for one in fields
        if one.graphql_name in _NO_ARGUMENT
    ]
    if problems:
        raise DefinitionError(problems)
    return fields


def _place(model: type[BaseModel], name: str, position: Position) -> Place:
    owner = _owner(model, name)
    return Place(position, FieldOf(model, name), type_name(owner) + pascal_case(name), model.model_config, model=model)


def reads_json_models(model: type[BaseModel]) -> bool:
    """Whether a model has, at any depth, models in free-form JSON, which clients write by alias."""
    leaves = (leaf_of(field.shape) for field in _all_input_fields(model))
    return any(isinstance(leaf, Scalar) and leaf.name == "JSON" and _mentions_model(leaf.annotation) for leaf in leaves)


def has_defaults(model: type[BaseModel]) -> bool:
    """Whether the schema says a default of a model's field, at any depth."""
    return any(field.has_default for field in _all_input_fields(model))


def _all_input_fields(model: type[BaseModel]) -> Iterator[ModelField]:
    seen, waiting = set[type](), [model]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        fields = fields_of(one, "input")
        yield from fields
        waiting += [leaf.model for leaf in (leaf_of(field.shape) for field in fields) if isinstance(leaf, ModelOf)]


def _mentions_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_mentions_model(argument) for argument in get_args(annotation))


def _owner(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The class whose own annotation the field has: a `Literal` it declares is one enum for all its subclasses."""
    if model.__pydantic_generic_metadata__["origin"] is not None:
        return model
    bases = (base for base in model.__mro__ if name in inspect.get_annotations(base) and issubclass(base, BaseModel))
    return next(bases, model)


def _output_field(model: type[BaseModel], name: str, info: FieldInfo | ComputedFieldInfo) -> ModelField:
    place = _place(model, name, "output")
    alias = (info.serialization_alias if isinstance(info, FieldInfo) else None) or info.alias
    annotation, metadata = _annotation_of(info)
    if any(name in one.info.fields for one in model.__pydantic_decorators__.field_serializers.values()):
        raise place.refuse(annotation, USE_COMPUTED_FIELD)
    if annotation is PydanticUndefined:
        raise place.refuse(Any, "annotate what the property returns")
    return ModelField(
        name=name,
        graphql_name=_graphql_name(alias, name, place),
        shape=shape_of(annotation, place, metadata),
        where=FieldOf(model, name),
        description=info.description,
        deprecation_reason=info.deprecation_message,
        computed=isinstance(info, ComputedFieldInfo),
    )


def _annotation_of(info: FieldInfo | ComputedFieldInfo) -> tuple[Any, tuple[Any, ...]]:
    if isinstance(info, FieldInfo):
        return info.annotation, tuple(info.metadata)
    return info.return_type, ()


def _input_field(model: type[BaseModel], name: str, info: FieldInfo | ComputedFieldInfo) -> ModelField:
    assert isinstance(info, FieldInfo)  # noqa: S101 - computed fields are read in outputs only
    place = _place(model, name, "input")
    shape = shape_of(info.annotation, place, tuple(info.metadata))
    default = _shown_default(shape, info.default)
    optional = not info.is_required() and default is PydanticUndefined
    if info.deprecated and info.is_required() and not isinstance(shape, Nullable):
        raise place.refuse("a deprecated argument without a default", "give it a default, or make it `| None`")
    return ModelField(
        name=name,
        graphql_name=_graphql_name(_input_alias(info), name, place),
        shape=Nullable(shape) if optional and not isinstance(shape, Nullable) else shape,
        where=FieldOf(model, name),
        description=info.description,
        deprecation_reason=info.deprecation_message,
        default=default,
        filled_with_none=info.is_required() and isinstance(shape, Nullable),
        null_is_absent=optional and not isinstance(shape, Nullable),
    )


def _input_alias(info: FieldInfo) -> str | None:
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else info.alias


def _graphql_name(alias: str | None, name: str, place: Place) -> str:
    graphql_name = alias or to_camel_case(name)
    if not is_graphql_name(graphql_name):
        raise DefinitionError(f"{place.where}: {graphql_name!r} is not a GraphQL name; give it an alias that is one.")
    return graphql_name


class _CantShowError(Exception):
    """A default that a schema can't say."""


def _shown_default(shape: Shape, default: object) -> Any:
    """A default as the schema says it; PydanticUndefined where it can't, or need not, as for null."""
    if default is PydanticUndefined or default is None:
        return PydanticUndefined
    try:
        return _shown(shape, default)
    except _CantShowError:
        return PydanticUndefined


_SHOWN_TYPES: dict[str, type | tuple[type, ...]] = {
    "String": str,
    "Boolean": bool,
    "BigInt": int,
    "ID": str,
    "DateTime": datetime,
    "Date": date,
    "Time": time,
    "Duration": timedelta,
    "Decimal": Decimal,
}


def _shown(shape: Shape, value: Any) -> Any:  # noqa: PLR0911 - one case per shape
    match shape:
        case Nullable(of):
            return None if value is None else _shown(of, value)
        case ListOf(item) if isinstance(value, (list, tuple, set, frozenset)):
            return [_shown(item, one) for one in value]
        case ModelOf(model) if isinstance(value, model):
            given = {one.name: one.shape for one in fields_of(model, "input")}
            return {name: _shown(given[name], value.__dict__[name]) for name in value.model_fields_set if name in given}
        case EnumOf(enum) if isinstance(value, enum):
            return value
        case LiteralOf(values=values) if value in dict(values).values():
            return value
        case RootOf(model, inner) if isinstance(value, model):
            return _shown(inner, value.root)
        case Scalar():
            return _shown_scalar(shape, value)
    raise _CantShowError


def _shown_scalar(scalar: Scalar, value: Any) -> Any:
    if isinstance(value, SECRETS):
        raise _CantShowError
    if scalar.as_json and not isinstance(value, str):
        value = as_json(scalar)(value)
    elif scalar.name == "ID":
        value = str(value)
    fits = {
        "Int": type(value) is int and -(2**31) <= value < 2**31,
        "Float": type(value) in (int, float) and math.isfinite(value),
        "JSON": _is_flat(value),
    }
    if not fits.get(scalar.name, isinstance(value, _SHOWN_TYPES.get(scalar.name, ()))):
        raise _CantShowError
    return value


def _is_flat(value: object) -> bool:
    """Whether Strawberry can print a JSON value: not a list, nor an object whose keys are no GraphQL names."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_graphql_name(key) and _is_flat(one) for key, one in value.items())
    return isinstance(value, (str, bool, int))


def as_json(scalar: Scalar) -> Callable[[Any], Any]:
    """A function that puts a value of a scalar into pydantic's JSON form."""
    # a default that was given as a string for a URL is not worth a warning at every read
    dump = partial(TypeAdapter[Any](scalar.annotation, config=scalar.config).dump_json, by_alias=True, warnings="none")
    return lambda value: from_json(dump(value))  # by way of text, where NaN is null


InputFields = Callable[[type[BaseModel]], Sequence[ModelField]]


def locate(model: type[BaseModel], loc: Sequence[str | int], fields: InputFields) -> tuple[str | int, ...]:
    """Where in the arguments a pydantic error is, in the names the client used.

    The path ends where GraphQL's view of the value ends: at a JSON value, before a union's tag.

    Args:
        model: The input of the resolver.
        loc: The `loc` of the error, by the names of the fields or their aliases.
        fields: The input fields of a model.
    """
    path: list[str | int] = []
    shape: Shape = ModelOf(model)
    for step in loc:
        while isinstance(shape, (Nullable, RootOf)):
            shape = shape.of if isinstance(shape, Nullable) else shape.inner
        if isinstance(shape, ListOf) and isinstance(step, int):
            path.append(step)
            shape = shape.item
            continue
        found = _field_at(shape, step, fields)
        if found is None:
            break
        path.append(found.graphql_name)
        shape = found.shape
    return tuple(path)


def _field_at(shape: Shape, step: str | int, fields: InputFields) -> ModelField | None:
    if not isinstance(shape, ModelOf):
        return None
    given = fields(shape.model)
    return next((one for key in ("name", "graphql_name") for one in given if getattr(one, key) == step), None)
