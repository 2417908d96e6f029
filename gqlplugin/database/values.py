"""The columns of a record as JSON, and back."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Optional, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError
from sqlalchemy import ARRAY, JSON, Column
from sqlalchemy.orm import Mapped, Mapper, configure_mappers
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import NullType, TypeEngine
from typing_extensions import TypedDict

from gqlplugin.errors import DefinitionError, InvalidInputError

# what a column may hold: bytes that are no text, and a float or a decimal that JSON has no number for
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings", allow_inf_nan=True)


class RecordCodec:
    """Reads and writes the records of one mapped class, by the names of its attributes.

    Only what is in a column is written: no relationships, no SQL expressions.

    Attributes:
        columns: By the names of their attributes.
    """

    def __init__(self, mapper: Mapper[Any]) -> None:
        self.mapper = mapper
        self.columns = _columns_of(mapper)

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any] | None]:
        configure_mappers()  # a process may rebuild records before it has a session
        fields = {key: Optional[python_type(self.mapper, key)] for key in self.columns}  # noqa: UP045 - of any form
        record: Any = TypedDict(self.mapper.class_.__name__, fields, total=False)  # type: ignore[misc]  # made here
        # the configuration of a TypedDict itself is not that of its serializer, and no other may be given for one
        optional: Any = Optional[record]  # noqa: UP045 - as above
        return TypeAdapter(optional, config=_CONFIG)

    def dump(self, values: Mapping[str, Any]) -> str:
        """Write the values of a record.

        Raises:
            InvalidInputError: A value has no form in JSON.
        """
        try:
            # a value may have any type that its column takes, such as a str for a date on PostgreSQL
            return self._adapter.dump_json({key: values[key] for key in self.columns}, warnings=False).decode()
        except PydanticSerializationError as error:
            name = self.mapper.class_.__name__
            raise InvalidInputError(f"A change of {name} can't be written as JSON: {error}.") from None

    def load(self, text: str) -> Any:
        """An instance that belongs to no session; what is not in the text is None.

        Raises:
            pydantic.ValidationError: The text doesn't fit the columns.
        """
        values = self._adapter.validate_json(text) or {}
        instance = self.mapper.class_manager.new_instance()
        for key, value in values.items():
            set_committed_value(instance, key, value)
        return instance


def _columns_of(mapper: Mapper[Any]) -> dict[str, Column[Any]]:
    found: Iterable[tuple[str, object]] = mapper.columns.items()  # with SQL expressions among them
    return {key: column for key, column in found if isinstance(column, Column)}


_codecs: WeakKeyDictionary[Mapper[Any], RecordCodec] = WeakKeyDictionary()


def codec_of(mapper: Mapper[Any]) -> RecordCodec:
    """The codec of a mapped class."""
    codec = _codecs.get(mapper)
    if codec is None:
        codec = _codecs[mapper] = RecordCodec(mapper)
    return codec


def column_problems(mapper: Mapper[Any]) -> list[str]:
    """What of a mapped class can't be written as JSON and read again, one sentence per column."""
    return [
        f"column {mapper.class_.__name__}.{key} can't be written as JSON: {reason}"
        for key in _columns_of(mapper)
        if (reason := _column_problem(mapper, key)) is not None
    ]


def _column_problem(mapper: Mapper[Any], key: str) -> str | None:
    try:
        type_ = python_type(mapper, key)
        adapter: TypeAdapter[Any] = TypeAdapter(type_)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
        return f"{str(error).partition(chr(10))[0].rstrip('.')}; annotate it with a type that pydantic knows"
    except DefinitionError as error:
        return str(error)
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return _enum_problem(type_, adapter)
    return None


def _enum_problem(type_: type[enum.Enum], adapter: TypeAdapter[Any]) -> str | None:
    for member in type_:
        try:
            same = adapter.validate_json(adapter.dump_json(member)) is member
        except ValueError:
            same = False
        if not same:
            return f"the value of {type_.__name__}.{member.name} is not JSON; give its members plain values"
    return None


def python_type(mapper: Mapper[Any], key: str) -> Any:
    """The type of a record's attribute in Python, for pydantic: its annotation's, else its column's.

    Raises:
        DefinitionError: The column's type doesn't say, and there is no annotation.
    """
    annotated = _annotated_type(mapper.class_, key)
    return _type_of(mapper.columns[key].type) if annotated is None else annotated


def _annotated_type(class_: type, key: str) -> Any:
    for owner in class_.__mro__:
        annotation = inspect.get_annotations(owner).get(key)
        if annotation is not None:
            break
    else:
        return None
    holder = type(owner.__name__, (), {"__annotations__": {key: annotation}, "__module__": owner.__module__})
    try:
        found = get_type_hints(holder, localns=dict(vars(owner)), include_extras=True)[key]
    except NameError:  # only known to type checkers, or local to a function: then the column says
        return None
    if isinstance(origin := get_origin(found), type) and issubclass(origin, Mapped):
        (found,) = get_args(found)
    return None if found is Any or isinstance(found, str) else found


def _type_of(column_type: TypeEngine[Any]) -> Any:
    if isinstance(column_type, ARRAY):
        item = _type_of(column_type.item_type)
        dimensions = column_type.dimensions
        if dimensions is None:  # mostly one, and as many as a value has
            either = list[item | None] | list[Any]  # type: ignore[valid-type]  # made here
            return Annotated[either, Field(union_mode="left_to_right")]
        for _ in range(dimensions):
            item = list[item | None]  # type: ignore[valid-type]  # made here
        return item
    if isinstance(column_type, (JSON, NullType)):  # a NullType becomes that of the column it refers to
        return Any
    try:
        found = column_type.python_type
    except NotImplementedError:
        found = object
    if found is object:
        raise DefinitionError(
            f"its type {type(column_type).__name__} doesn't tell its type in Python; annotate it, as in Mapped[str]"
        )
    return found
