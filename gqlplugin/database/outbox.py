"""The outbox: starts that are written in the transaction they belong to, and made by a relay once it has committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    func,
    insert,
    inspect,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from gqlplugin.identity import AuthInvoker, User, dump_invoker, dump_user
from gqlplugin.telemetry import current_trace, dump_trace

metadata = MetaData()
"""Of the outbox alone, for migrations: Alembic takes it in `target_metadata` beside your own."""

_CREATING = 0x67716C70_6F757462  # any number of our own: who holds PostgreSQL's advisory lock on it may create


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run that is to be started when a transaction commits.

    Attributes:
        run_id: The ID it will have, from `uuid7`.
        app: The name of the app whose relay starts it.
        workflow_name: The workflow's name, or that of the firings of an executor.
        arg: JSON text.
        caller: Who starts it.
        invoker: The machine user it runs as; None is anonymous.
        record: Starts with the same one are made one after another, in the order they were written; None is unordered.
    """

    run_id: str
    app: str
    workflow_name: str
    arg: str
    caller: User
    invoker: AuthInvoker | None = None
    record: str | None = None


class _Base(DeclarativeBase):
    metadata = metadata


class OutboxRow(_Base):
    """A start that was written and is not known to be made.

    Attributes:
        seq: The order of the rows; a number is never used again.
        error: Why it can't be started, for operators; None for what the relay may start. Set it to NULL to try again.
        trace: The trace that was current where it was written.
    """

    __tablename__ = "gqlplugin_outbox"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(36), unique=True)
    app: Mapped[str] = mapped_column(Text)
    record: Mapped[str | None] = mapped_column(Text)
    workflow_name: Mapped[str] = mapped_column(Text)
    arg: Mapped[str] = mapped_column(Text)
    caller: Mapped[str] = mapped_column(Text)
    invoker: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    error: Mapped[str | None] = mapped_column(Text)
    trace: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "gqlplugin_outbox_app_seq",
            "app",
            "seq",
            postgresql_where=text("error IS NULL"),
            sqlite_where=text("error IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )


table = metadata.tables[OutboxRow.__tablename__]


def insert_starts(connection: Connection, starts: Sequence[Start]) -> None:
    """Write starts on a connection, such as that of a flush."""
    if starts:
        connection.execute(insert(table), [_values(start) for start in starts])


def add_start(session: Session | AsyncSession, start: Start) -> None:
    """Make a start part of a session's transaction. It is written with the next flush."""
    session.add(OutboxRow(**_values(start)))


def _values(start: Start) -> dict[str, str | None]:
    return {
        "run_id": start.run_id,
        "app": start.app,
        "record": start.record,
        "workflow_name": start.workflow_name,
        "arg": start.arg,
        "caller": dump_user(start.caller),
        "invoker": dump_invoker(start.invoker),
        "trace": dump_trace(current_trace()),
    }


async def create_table(engine: AsyncEngine) -> None:
    """Create the outbox in a database, or bring one up to date. Several processes may do so at once."""
    async with engine.begin() as connection:
        await connection.run_sync(_create)


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # whose IF NOT EXISTS fails when two processes create at once
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATING})
    if inspect(connection).has_table(OutboxRow.__tablename__):
        _upgrade(connection)
        return  # it may be there by a migration, and we not be allowed to create anything
    connection.execute(CreateTable(table, if_not_exists=True))
    for index in table.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))


def _upgrade(connection: Connection) -> None:
    """Add the column that a table of gqlplugin 0.1 lacks."""
    if _has_trace(connection):
        return
    try:
        connection.execute(text(f"ALTER TABLE {OutboxRow.__tablename__} ADD COLUMN trace TEXT"))
    except OperationalError:
        if not _has_trace(connection):  # nor has another process added it at the same moment, as in SQLite it may
            raise


def _has_trace(connection: Connection) -> bool:
    return any(column["name"] == "trace" for column in inspect(connection).get_columns(OutboxRow.__tablename__))
