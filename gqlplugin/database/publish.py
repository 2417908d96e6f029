"""Telling of changes that SQLAlchemy's sessions don't see."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, overload

from sqlalchemy import inspect as inspect_instance
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstanceState, Mapper, Session

from gqlplugin.database.changes import Change, Values, complete
from gqlplugin.database.events import RecordEvent, is_open, targets, write
from gqlplugin.database.values import codec_of
from gqlplugin.errors import InvalidInputError, SetupError

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
