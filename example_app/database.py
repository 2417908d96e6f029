"""The shop's own data: customers, orders, and an outbox of notifications."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from sqlalchemy import ForeignKey, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gqlplugin.platform.base import EnvValue


class Table(DeclarativeBase):
    """The base of the tables."""


class CustomerRow(Table):
    """Somebody who orders."""

    __tablename__ = "customers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class OrderRow(Table):
    """Something ordered. Only its status changes."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(ForeignKey("customers.id"))
    item: Mapped[str]
    total_cents: Mapped[int]
    status: Mapped[str] = mapped_column(default="PLACED")


class NotificationRow(Table):
    """A message in the outbox; a mail server would take it from there.

    The run that sent it is its key, so that a job which runs again after a crash sends nothing twice.
    """

    __tablename__ = "notifications"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    recipient: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


def prepare(path: Path) -> None:
    """Make the file with its tables and the first customers, where they aren't there."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    Table.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        for id_, name in (("alice", "Alice Archer"), ("bob", "Bob Baker")):
            if session.get(CustomerRow, id_) is None:
                session.add(CustomerRow(id=id_, name=name, email=f"{id_}@example.com"))


@asynccontextmanager
async def transaction(env: Mapping[str, EnvValue]) -> AsyncIterator[AsyncSession]:
    """A session on the app's data, committed at the end of the block.

    Args:
        env: `ctx.env` of a resolver or a job.
    """
    async with AsyncSession(_engine(str(env["data"])), expire_on_commit=False) as session, session.begin():
        yield session


@cache
def _engine(path: str) -> AsyncEngine:
    prepare(Path(path))
    return create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
