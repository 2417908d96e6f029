"""Changes of records: what a flush changes, and how it becomes an event in the outbox."""

from __future__ import annotations

import enum
import inspect
import json
import os
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Optional, get_args, get_origin, get_type_hints, overload
from weakref import WeakKeyDictionary, WeakSet

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError
from sqlalchemy import ARRAY, JSON, URL, Column, Connection, Engine, and_, event, select
from sqlalchemy import inspect as inspect_instance
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    InstanceState,
    LoaderCallableStatus,
    Mapped,
    Mapper,
    Session,
    UOWTransaction,
    class_mapper,
    configure_mappers,
    object_session,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.types import NullType, TypeEngine
from typing_extensions import TypedDict

from gqlplugin.checks import firing_name
from gqlplugin.database.outbox import OutboxRow, Start, insert_starts
from gqlplugin.errors import DefinitionError, FailedPreconditionError, InvalidInputError, SetupError
from gqlplugin.identity import NIL_UUID, executor_user
from gqlplugin.platform.base import uuid7

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


_LOCAL = ("localhost", "127.0.0.1", "::1")
_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Location:
    """A database: two engines with the same one see the same rows."""

    backend: str
    host: str
    port: int | None
    database: str


_known: WeakKeyDictionary[Engine, Location | None] = WeakKeyDictionary()


def location_of_engine(engine: Engine) -> Location | None:
    """Where an engine is connected to; None when no other engine can be connected there."""
    try:
        return _known[engine]
    except KeyError:
        return _known.setdefault(engine, location_of_url(engine.url))


def location_of_url(url: URL) -> Location | None:
    """The database that a URL means; None for SQLite's databases in memory."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = sqlite_path(url)
        return None if path is None else Location(backend, "", None, os.path.realpath(path))
    given = url.query.get("host")
    host = url.host or (",".join(given) if isinstance(given, tuple) else given) or _LOCAL[0]
    port = url.port or _port(url.query.get("port")) or _POSTGRES_PORT
    return Location(backend, _LOCAL[0] if host in _LOCAL else host, port, url.database or url.username or "")


def sqlite_path(url: URL) -> str | None:
    """The file of a SQLite URL; None for a database in memory."""
    name = url.database or ""
    path, _, query = name.removeprefix("file:").partition("?") if name.startswith("file:") else (name, "", "")
    is_memory = path in ("", ":memory:") or "mode=memory" in query or url.query.get("mode") == "memory"
    return None if is_memory else path


def _port(given: str | tuple[str, ...] | None) -> int | None:
    return int(given) if isinstance(given, str) and given.isdecimal() else None


Values = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Change:
    """One record that a flush changes.

    Attributes:
        old: What it was, before an update or a delete.
        unloaded: The attributes that were not loaded before an update.
    """

    state: InstanceState[Any]
    mapper: Mapper[Any]
    connection: Connection
    old: Values | None = None
    unloaded: Collection[str] = ()

    @property
    def codec(self) -> RecordCodec:
        """Writes its values."""
        return codec_of(self.mapper)

    @property
    def record(self) -> str:
        """What stands for the record: its changes are told in their order."""
        identity = ",".join(map(str, identity_of(self.state, self.mapper)))
        return f"{self.mapper.class_.__name__}:{identity}"

    def new_values(self) -> Values:
        """What it is after the flush; what the database made is read in the same transaction."""
        state, columns = self.state, self.codec.columns
        values = {key: state.dict[key] for key in columns if key in state.dict}
        missing = [key for key in columns if key not in values]
        for key in missing:
            column = columns[key]
            if self.old is None:
                made = column.default is not None or column.server_default is not None
                if not made and key not in state.expired_attributes:
                    values[key] = None  # as it was inserted
            elif key in self.unloaded and column.onupdate is None and column.server_onupdate is None:
                values[key] = self.old[key]
        return complete(self.connection, state, self.mapper, values)


def is_changed(state: InstanceState[Any], mapper: Mapper[Any]) -> bool:
    """Whether a flush may change a column of a record: not when only a collection was changed."""
    if any(key in state.committed_state for key in codec_of(mapper).columns):
        return True
    return any(relationship.post_update for relationship in mapper.relationships)


def old_values(state: InstanceState[Any], mapper: Mapper[Any], connection: Connection) -> tuple[Values, list[str]]:
    """What a record was before the changes that are to be flushed, and which attributes had to be read for it."""
    values = {}
    for key in codec_of(mapper).columns:
        value = state.committed_state.get(key, LoaderCallableStatus.NO_VALUE)
        if key not in state.committed_state:
            value = state.dict.get(key, LoaderCallableStatus.NO_VALUE)
        if not isinstance(value, LoaderCallableStatus):
            values[key] = value
    unloaded = [key for key in codec_of(mapper).columns if key not in values]
    return complete(connection, state, mapper, values, use_old_identity=True), unloaded


def complete(
    connection: Connection,
    state: InstanceState[Any],
    mapper: Mapper[Any],
    values: dict[str, Any],
    *,
    use_old_identity: bool = False,
) -> Values:
    """Some values of a record, with those that are missing read from the database.

    Raises:
        FailedPreconditionError: The record is not in the database, as this transaction sees it.
    """
    missing = [key for key in codec_of(mapper).columns if key not in values]
    if missing:
        identity = state.key[1] if use_old_identity and state.key is not None else identity_of(state, mapper)
        values.update(_read(connection, mapper, identity, missing))
    return values


def _read(connection: Connection, mapper: Mapper[Any], identity: Sequence[Any], keys: Sequence[str]) -> Values:
    attributes = [getattr(mapper.class_, key) for key in keys]
    is_it = and_(*(column == value for column, value in zip(mapper.primary_key, identity, strict=True)))
    row = connection.execute(select(*attributes).where(is_it)).first()
    if row is None:
        raise FailedPreconditionError(
            f"A record of {mapper.class_.__name__} whose change is to be told of is not in the database."
        )
    return dict(zip(keys, row, strict=True))


def identity_of(state: InstanceState[Any], mapper: Mapper[Any]) -> Sequence[Any]:
    """The primary key that a record has now."""
    known: Sequence[Any] = (None,) * len(mapper.primary_key) if state.key is None else state.key[1]
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return [state.dict.get(key, before) for key, before in zip(keys, known, strict=True)]


RecordEvent = Literal["created", "updated", "deleted"]

_FLUSHING = "gqlplugin.flushing"
_WROTE = "gqlplugin.wrote"


@dataclass(frozen=True)
class Subscription:
    """An executor that waits for a change of a model's records, subclasses included."""

    model: type[Any]
    event: RecordEvent
    executor: str


@dataclass(frozen=True, slots=True)
class _Target:
    app: str
    executor: str


@dataclass(frozen=True, eq=False)
class _Listener:
    """An app that runs on a database here."""

    location: Location
    app: str
    subscriptions: Sequence[Subscription]
    wake: Callable[[], None]


@dataclass(slots=True)
class _Flush:
    """What is known so far of a flush."""

    # a hook is called once for each subscribed class that a record is an instance of
    changes: dict[tuple[RecordEvent, InstanceState[Any]], Change] = field(default_factory=dict)


class _Listeners:
    """Who listens now. Read by any thread while another changes it, so its parts are replaced, never changed."""

    def __init__(self) -> None:
        self.all: tuple[_Listener, ...] = ()
        self._changing = threading.Lock()
        self._hooked: WeakSet[type[Any]] = WeakSet()
        self._are_sessions_hooked = False
        self._targets: dict[tuple[Location, Mapper[Any], RecordEvent], tuple[_Target, ...]] = {}

    def add(self, listener: _Listener) -> None:
        with self._changing:
            self._hook(listener)
            self.all = (*self.all, listener)
            self._targets = {}

    def remove(self, listener: _Listener) -> None:
        with self._changing:
            self.all = tuple(one for one in self.all if one is not listener)
            self._targets = {}

    def _hook(self, listener: _Listener) -> None:
        # for as long as the process runs: SQLAlchemy can't take them away while another thread is being told
        if not self._are_sessions_hooked:
            self._are_sessions_hooked = True
            event.listen(OutboxRow, "after_insert", _outbox_written)
            event.listen(Session, "before_flush", _flush_begins)
            event.listen(Session, "after_flush", _flush_ends)
            event.listen(Session, "after_commit", _committed)
        for model in {one.model for one in listener.subscriptions} - set(self._hooked):
            self._hooked.add(model)
            for name, hook in _HOOKS.items():
                event.listen(model, name, hook, propagate=True)

    def targets(self, connection: Connection, mapper: Mapper[Any], name: RecordEvent) -> tuple[_Target, ...]:
        """Who waits for a change of a record on a connection: each once, however often its app runs here."""
        if not self.all:
            return ()
        location = location_of_engine(connection.engine)
        if location is None:
            return ()
        key = location, mapper, name
        targets = self._targets
        found = targets.get(key)
        if found is None:
            found = targets[key] = tuple(dict.fromkeys(self._find_targets(location, mapper, name)))
        return found

    def _find_targets(self, location: Location, mapper: Mapper[Any], name: RecordEvent) -> Iterator[_Target]:
        for listener in self.all:
            if listener.location == location:
                for one in listener.subscriptions:
                    if one.event == name and mapper.isa(class_mapper(one.model)):
                        yield _Target(listener.app, one.executor)

    def is_open(self, location: Location | None) -> bool:
        return any(one.location == location for one in self.all)

    def wake(self, locations: Iterable[Location]) -> None:
        for listener in self.all:
            if listener.location in locations:
                listener.wake()


_listeners = _Listeners()


@contextmanager
def listening(
    location: Location, app: str, subscriptions: Sequence[Subscription], wake: Callable[[], None]
) -> Iterator[None]:
    """Write what changes in a database to its outbox, while entered.

    Args:
        location: The database.
        app: The name of the app whose relay starts what is written.
        subscriptions: What to write.
        wake: Called after a commit of such rows, in the thread that made it.

    Raises:
        DefinitionError: A record can't be written as JSON.
    """
    problems = [problem for one in subscriptions for problem in subscription_problems(one)]
    if problems:
        raise DefinitionError(list(dict.fromkeys(problems)))
    listener = _Listener(location, app, tuple(subscriptions), wake)
    _listeners.add(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def subscription_problems(subscription: Subscription) -> list[str]:
    """The columns of a model and its subclasses that can't be written as JSON."""
    mapper: Mapper[Any] = inspect_instance(subscription.model)
    return [problem for one in mapper.self_and_descendants for problem in column_problems(one)]


def is_open(connection: Connection) -> bool:
    """Whether an app runs here on the database of a connection."""
    return _listeners.is_open(location_of_engine(connection.engine))


def targets(connection: Connection, mapper: Mapper[Any], name: RecordEvent) -> tuple[_Target, ...]:
    """The executors that wait for a change of a record on a connection."""
    return _listeners.targets(connection, mapper, name)


def write(session: Session, changes: Sequence[tuple[RecordEvent, Change, Values | None]]) -> None:
    """Write changes, with their new values, to the outbox of the databases they are made in."""
    starts: dict[Connection, list[Start]] = {}
    for name, change, new in changes:
        starts.setdefault(change.connection, []).extend(_starts_of(name, change, new))
    for connection, found in starts.items():
        if found:
            insert_starts(connection, found)
            _mark(session, connection)


def _starts_of(name: RecordEvent, change: Change, new: Values | None) -> Iterator[Start]:
    records = {
        key: change.codec.dump(values)
        for key, values in (("new_record", new), ("old_record", change.old))
        if values is not None
    }
    if len(set(records.values())) < len(records):
        return  # no column has another value
    parts = "".join(f',"{key}":{text}' for key, text in records.items())
    type_name = json.dumps(change.mapper.class_.__name__)
    record = change.record
    for target in _listeners.targets(change.connection, change.mapper, name):
        head = f'"type_name":{type_name},"app_namespace":{json.dumps(target.app)},"workspace_id":"{NIL_UUID}"'
        yield Start(
            run_id=uuid7(),
            app=target.app,
            workflow_name=firing_name(target.executor),
            arg=f"{{{head}{parts}}}",
            caller=executor_user(target.executor),
            record=record,
        )


def _flush_begins(session: Session, context: UOWTransaction, instances: object) -> None:
    del context, instances
    if _listeners.all:
        session.info.pop(_FLUSHING, None)  # of a flush that failed


def _note(name: RecordEvent, target: object, mapper: Mapper[Any], connection: Connection) -> None:
    """Remember that a record is being changed, and what it was before."""
    session, state = object_session(target), inspect_instance(target)
    if session is None:
        return  # unreachable: a record is flushed by a session
    changes = session.info.setdefault(_FLUSHING, _Flush()).changes
    if (name, state) in changes:
        return
    change = changes[name, state] = Change(state=state, mapper=mapper, connection=connection)
    if name != "created":
        change.old, change.unloaded = old_values(state, mapper, connection)


def _before_insert(mapper: Mapper[Any], connection: Connection, target: object) -> None:
    if _listeners.targets(connection, mapper, "deleted"):
        session, key = object_session(target), mapper.identity_key_from_instance(target)
        existing = None if session is None else session.identity_map.get(key)
        if session is not None and existing is not None and existing in session.deleted:
            # its row is updated to the new record, and no delete is told of
            _note("deleted", existing, inspect_instance(existing).mapper, connection)
    if _listeners.targets(connection, mapper, "created"):
        _note("created", target, mapper, connection)  # here, as such a record is told of as updated after it


def _before_update(mapper: Mapper[Any], connection: Connection, target: object) -> None:
    if _listeners.targets(connection, mapper, "updated") and is_changed(inspect_instance(target), mapper):
        _note("updated", target, mapper, connection)


def _before_delete(mapper: Mapper[Any], connection: Connection, target: object) -> None:
    if _listeners.targets(connection, mapper, "deleted"):
        _note("deleted", target, mapper, connection)


def _flush_ends(session: Session, context: UOWTransaction) -> None:
    del context
    if _listeners.all and (flush := session.info.pop(_FLUSHING, None)) is not None:
        changes = flush.changes.items()
        write(session, [(name, one, None if name == "deleted" else one.new_values()) for (name, _), one in changes])


def _outbox_written(mapper: Mapper[Any], connection: Connection, target: object) -> None:
    del mapper
    session = object_session(target)
    if session is not None:
        _mark(session, connection)


def _mark(session: Session, connection: Connection) -> None:
    location = location_of_engine(connection.engine)
    if location is not None:
        session.info.setdefault(_WROTE, set()).add(location)


def _committed(session: Session) -> None:
    # the end of a savepoint is told of as well, and makes nothing visible to the relay
    if _listeners.all and not session.in_nested_transaction():
        _listeners.wake(session.info.pop(_WROTE, ()))


_HOOKS: dict[str, Callable[[Mapper[Any], Connection, object], None]] = {
    "before_insert": _before_insert,
    "before_update": _before_update,
    "before_delete": _before_delete,
}


_Told = tuple[RecordEvent, Change, Values | None]


@overload
def publish(
    session: AsyncSession,
    *,
    created: Iterable[object] = (),
    updated: Iterable[tuple[object, object]] = (),
    deleted: Iterable[object] = (),
) -> Coroutine[Any, Any, None]: ...
@overload
def publish(
    session: Session,
    *,
    created: Iterable[object] = (),
    updated: Iterable[tuple[object, object]] = (),
    deleted: Iterable[object] = (),
) -> None: ...
def publish(
    session: Session | AsyncSession,
    *,
    created: Iterable[object] = (),
    updated: Iterable[tuple[object, object]] = (),
    deleted: Iterable[object] = (),
) -> Coroutine[Any, Any, None] | None:
    """Fire the executors that wait for changes of records, for changes that a session does not see by itself.

    ```python
    paid = await session.scalars(update(Order).where(Order.status == "open").values(status="paid").returning(Order))
    await publish(session, updated=[(Order(status="open"), order) for order in paid])
    await session.commit()
    ```

    A session sees what it flushes: records that were added, changed or deleted as objects, by cascades of relationships
    too. It does not see:

    - bulk statements, `session.execute(insert(...))`, `update(...)`, `delete(...)`, and `session.bulk_...()`;
    - SQL as text, and what is executed on connections or engines;
    - what the database does itself: triggers, `ON DELETE CASCADE`, `ON UPDATE CASCADE`;
    - what other programs do, and processes in which the app does not run.

    What is published belongs to the session's transaction: it fires when that commits. Publish after the statement that
    makes the change. Executors that wait for nothing of this fire nothing.

    Args:
        session: On a database of an app that runs in this process; of an `AsyncSession`, await the result.
        created: The new records; of these, and of those after a change, what is not loaded is read.
        updated: Pairs of a record before and after, two instances of one class. What is not set in the first is as in
            the second. A pair without a difference fires nothing.
        deleted: The records as they were; what is not loaded of one is None.

    Raises:
        InvalidInputError: Something is not a record of a mapped class, or a pair is of two.
        FailedPreconditionError: No app runs here on the session's database, or a new record is not in it.
    """
    given = list(created), list(updated), list(deleted)
    if isinstance(session, AsyncSession):
        return session.run_sync(_publish, *given)
    _publish(session, *given)
    return None


def _publish(
    session: Session, created: list[object], updated: list[tuple[object, object]], deleted: list[object]
) -> None:
    told = [
        *(_told(session, "created", None, new) for new in created),
        *(_told(session, "updated", old, new) for old, new in updated),
        *(_told(session, "deleted", old, None) for old in deleted),
    ]
    write(session, [one for one in told if one is not None])


def _told(session: Session, name: RecordEvent, old: object | None, new: object | None) -> _Told | None:
    state = _state_of(old if new is None else new)
    mapper = state.mapper
    connection = session.connection(bind_arguments={"mapper": mapper})
    if not is_open(connection):
        raise SetupError(
            "publish() is called on a database of no app that runs here, so nothing would fire: put the database in "
            "define_app(databases=[...]), and run the app, by `async with platform, platform.execute(app):`."
        )
    if not targets(connection, mapper, name):
        return None
    after = None if new is None else complete(connection, state, mapper, _loaded(state))
    before = None if old is None else _before(old, mapper, after)
    return name, Change(state=state, mapper=mapper, connection=connection, old=before), after


def _before(old: object, mapper: Mapper[Any], after: Values | None) -> Values:
    state = _state_of(old)
    if state.mapper is not mapper:
        raise InvalidInputError(
            "publish(updated=...) takes pairs of one class, "
            f"not of {state.class_.__name__} and {mapper.class_.__name__}."
        )
    return dict.fromkeys(codec_of(mapper).columns) | dict(after or {}) | _loaded(state)


def _loaded(state: InstanceState[Any]) -> dict[str, Any]:
    return {key: state.dict[key] for key in codec_of(state.mapper).columns if key in state.dict}


def _state_of(record: object) -> InstanceState[Any]:
    state = inspect_instance(record, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise InvalidInputError(f"publish() takes records of mapped classes, not a {type(record).__name__}.")
    return state
