"""What a flush changes in a record: its values before and after, as the session sees them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, select
from sqlalchemy.orm import InstanceState, LoaderCallableStatus, Mapper

from gqlplugin.database.values import RecordCodec, codec_of
from gqlplugin.errors import FailedPreconditionError

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
