"""Changes of records, written to the outbox in the transaction that makes them.

SQLAlchemy tells of each record that a flush inserts, updates or deletes, whatever session or engine it is; what matches
a subscription on the database of that connection becomes a row of the outbox at the end of the flush, after the
statements that lock the records: so the rows of one record are in the order of its changes.

SQLAlchemy's events belong to the process, and so does what is kept here: who listens to which database now.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakSet

from sqlalchemy import Connection, event
from sqlalchemy import inspect as inspect_instance
from sqlalchemy.orm import InstanceState, Mapper, Session, UOWTransaction, class_mapper, object_session

from gqlplugin.database.changes import Change, Values, is_changed, old_values
from gqlplugin.database.location import Location, location_of_engine
from gqlplugin.database.outbox import OutboxRow, Start, insert_starts
from gqlplugin.database.values import column_problems
from gqlplugin.errors import DefinitionError
from gqlplugin.identity import NIL_UUID, executor_user
from gqlplugin.names import firing_name
from gqlplugin.platform.ids import uuid7

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
