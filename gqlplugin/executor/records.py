"""Changes of records as triggers."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from gqlplugin.errors import DefinitionError
from gqlplugin.executor.arguments import RecordCreatedArgs, RecordDeletedArgs, RecordUpdatedArgs
from gqlplugin.executor.registry import Registry
from gqlplugin.executor.trigger import Trigger
from gqlplugin.identity import NIL_UUID
from gqlplugin.source import Source, caller_source

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper

    from gqlplugin.database.events import Subscription

A = TypeVar("A")
R = TypeVar("R")


class RecordTrigger(Trigger[A]):
    """A change of a record. Made by `record_created_trigger` and its like.

    Attributes:
        model: The mapped class; its subclasses count.
    """

    event: ClassVar[Literal["created", "updated", "deleted"]]

    def __init__(self, model: type[Any], source: Source) -> None:
        self.model = model
        self._mapper = _mapper_of(model, f"record_{self.event}_trigger", source)
        if problems := self._column_problems():
            raise DefinitionError([f"{problem} ({source})" for problem in problems])

    @property
    def detail(self) -> str:
        return self.model.__name__

    def subscription(self, executor_name: str) -> Subscription:
        """What a database is to listen for."""
        from gqlplugin.database.events import Subscription  # noqa: PLC0415 - only where there is SQLAlchemy

        return Subscription(self.model, self.event, executor_name)

    def problems(self, app: Registry) -> Sequence[str]:
        if not app.databases:
            wants = "define_app(databases=[define_database(...)])"
            return [f"waits for changes of {self.model.__name__}, and the app has no database: {wants}"]
        return [f"waits for changes of a record that can't be told of: {one}" for one in self._column_problems()]

    def _column_problems(self) -> list[str]:
        from gqlplugin.database.values import column_problems  # noqa: PLC0415 - only where there is SQLAlchemy

        return [problem for mapper in self._mapper.self_and_descendants for problem in column_problems(mapper)]

    def _records(self, change: _Change) -> dict[str, Any]:
        """Instances of the class that the change names, and what else it says."""
        from gqlplugin.database.values import codec_of  # noqa: PLC0415 - only where there is SQLAlchemy

        codec = codec_of(self._mapper_named(change.type_name))
        records = {name: codec.load(json.dumps(values)) for name, values in change.records().items()}
        return {**records, **change.about()}

    def _mapper_named(self, name: str) -> Mapper[Any]:
        for mapper in self._mapper.self_and_descendants:
            if mapper.class_.__name__ == name:
                return mapper
        problem = PydanticCustomError("model_unknown", "There is no such model among {known}", {"known": self.detail})
        raise ValidationError.from_exception_data(
            self.detail, [InitErrorDetails(type=problem, loc=("type_name",), input=name)]
        )

    @abstractmethod
    def read(self, text: str, *, accepted: bool = False) -> A:
        """The arguments in a JSON text, with records that belong to no session."""


class _Change(BaseModel):
    """A change as it is kept, whatever is in its records."""

    type_name: str
    app_namespace: str = ""
    workspace_id: str = NIL_UUID

    def records(self) -> Mapping[str, JsonValue]:
        return {name: getattr(self, name) for name in type(self).model_fields if name.endswith("_record")}

    def about(self) -> Mapping[str, str]:
        return {name: getattr(self, name) for name in _Change.model_fields}


class _Created(_Change):
    new_record: dict[str, JsonValue]


class _Updated(_Change):
    new_record: dict[str, JsonValue]
    old_record: dict[str, JsonValue]


class _Deleted(_Change):
    old_record: dict[str, JsonValue]


class _RecordCreatedTrigger(RecordTrigger[RecordCreatedArgs[R]], Generic[R]):
    kind = "record-created"
    event = "created"

    def read(self, text: str, *, accepted: bool = False) -> RecordCreatedArgs[R]:
        del accepted
        return RecordCreatedArgs(**self._records(_Created.model_validate_json(text)))


class _RecordUpdatedTrigger(RecordTrigger[RecordUpdatedArgs[R]], Generic[R]):
    kind = "record-updated"
    event = "updated"

    def read(self, text: str, *, accepted: bool = False) -> RecordUpdatedArgs[R]:
        del accepted
        return RecordUpdatedArgs(**self._records(_Updated.model_validate_json(text)))


class _RecordDeletedTrigger(RecordTrigger[RecordDeletedArgs[R]], Generic[R]):
    kind = "record-deleted"
    event = "deleted"

    def read(self, text: str, *, accepted: bool = False) -> RecordDeletedArgs[R]:
        del accepted
        return RecordDeletedArgs(**self._records(_Deleted.model_validate_json(text)))


def record_created_trigger(model: type[R]) -> Trigger[RecordCreatedArgs[R]]:
    """Wait for new records of a model, and of its subclasses.

    ```python
    create_executor("order-created", trigger=record_created_trigger(Order), operation=...)
    ```

    The event is kept in the transaction that makes the change: it fires if and only if that commits, and the events of
    one record fire in their order. It is noticed in any SQLAlchemy session, on a database of the app, in a process in
    which the app runs. Bulk statements, SQL as text and other programs are not seen: `publish` tells of those.

    Args:
        model: A class that SQLAlchemy maps. All its columns are written as JSON: by the type in `Mapped[...]`, else by
            that of the column.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordCreatedTrigger(model, caller_source())


def record_updated_trigger(model: type[R]) -> Trigger[RecordUpdatedArgs[R]]:
    """Wait for records of a model, and of its subclasses, of which a column gets another value.

    `old_record` is what the session had loaded, completed from the database. The rest is as for
    `record_created_trigger`.

    Args:
        model: A class that SQLAlchemy maps.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordUpdatedTrigger(model, caller_source())


def record_deleted_trigger(model: type[R]) -> Trigger[RecordDeletedArgs[R]]:
    """Wait for records of a model, and of its subclasses, that are deleted.

    What the database deletes by itself (`ON DELETE CASCADE`) is not seen: `publish` tells of it. The rest is as for
    `record_created_trigger`.

    Args:
        model: A class that SQLAlchemy maps.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordDeletedTrigger(model, caller_source())


def _mapper_of(model: Any, trigger: str, source: Source) -> Mapper[Any]:
    try:
        import gqlplugin.database  # noqa: F401, PLC0415 - says what is missing without SQLAlchemy
    except ImportError as error:
        raise DefinitionError(f"The {trigger} at {source} can't be made: {error}") from error
    from sqlalchemy import inspect  # noqa: PLC0415 - as above
    from sqlalchemy.orm import Mapper  # noqa: PLC0415

    name = getattr(model, "__name__", repr(model))
    mapper: object = inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, Mapper):
        raise DefinitionError(
            f"The {trigger} at {source} takes a class that SQLAlchemy maps to a table with a primary key, such as one "
            f"with __tablename__, and {name} is none{' (it is abstract)' if _is_base(model) else ''}."
        )
    return mapper


def _is_base(model: object) -> bool:
    return hasattr(model, "metadata") and not hasattr(model, "__table__")
