"""Mapped classes for tests of record events, and what looks at the outbox."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, String, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship

from gqlplugin.database import outbox
from gqlplugin.database.definition import prepare
from gqlplugin.database.outbox import OutboxRow
from gqlplugin.database.record_changes import Subscription, listening, location_of_url
from tests.postgres import DATABASES, NewDatabase


class Base(DeclarativeBase):
    """Of all the tables here."""


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    orders: Mapped[list[Order]] = relationship(cascade="all, delete-orphan")


class Order(Base):
    """Has a column under another name, one that is deferred, one that the database fills, a version, an expression."""

    __tablename__ = "shop_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column("status", String(20), default="open")
    note: Mapped[str | None] = mapped_column(deferred=True)
    currency: Mapped[str] = mapped_column(String(3), server_default="EUR")
    total: Mapped[int] = mapped_column(default=0)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customer.id"))
    doubled: Mapped[int] = column_property(total * 2)


class Versioned(Base):
    __tablename__ = "versioned"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    version: Mapped[int] = mapped_column()
    touched: Mapped[str] = mapped_column(server_default="never", onupdate=func.upper("touched"))
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy has it


class Employee(Base):
    __tablename__ = "employee"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "employee"}  # noqa: RUF012 - as SQLAlchemy has it

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]


class Manager(Employee):
    """In a table of its own, joined."""

    __tablename__ = "manager"
    __mapper_args__ = {"polymorphic_identity": "manager"}  # noqa: RUF012 - as SQLAlchemy has it

    id: Mapped[int] = mapped_column(ForeignKey("employee.id"), primary_key=True)
    budget: Mapped[int]


class Engineer(Employee):
    """In the table of its base."""

    __mapper_args__ = {"polymorphic_identity": "engineer"}  # noqa: RUF012 - as SQLAlchemy has it

    language: Mapped[str | None]


class Line(Base):
    __tablename__ = "line"

    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]


class Document(Base):
    """Changes in place."""

    __tablename__ = "document"

    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON))


@dataclass
class Told:
    """A row of the outbox."""

    executor: str
    record: str | None
    arg: dict[str, Any]

    @property
    def new(self) -> dict[str, Any]:
        """The new record."""
        new: dict[str, Any] = self.arg["new_record"]
        return new

    @property
    def old(self) -> dict[str, Any]:
        """The old record."""
        old: dict[str, Any] = self.arg["old_record"]
        return old


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database with the tables here and the outbox, as a user's own would be."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        prepare(engine)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        await outbox.create_table(engine)
        yield engine
    finally:
        await engine.dispose()


@contextmanager
def all_events(engine: AsyncEngine, *models: type[Any], app: str = "shop") -> Iterator[list[str]]:
    """Listen to every change of models, by executors named after the events; collects what wakes the relay."""
    woken: list[str] = []
    subscriptions = [Subscription(model, name, name) for model in models for name in ("created", "updated", "deleted")]
    location = location_of_url(engine.url)
    assert location is not None
    with listening(location, app, subscriptions, lambda: woken.append(app)):
        yield woken


async def told(engine: AsyncEngine) -> Sequence[Told]:
    """What the outbox holds, in its order."""
    async with AsyncSession(engine) as session:
        rows = await session.scalars(select(OutboxRow).order_by(OutboxRow.seq))
        return [Told(row.workflow_name.removeprefix("executor/"), row.record, json.loads(row.arg)) for row in rows]


@pytest.fixture(scope="module")
def kept_postgres_url(postgres: NewDatabase) -> str:
    """A PostgreSQL database for the tests of a module, which are many: making one takes a while."""
    return postgres()


@pytest.fixture(params=DATABASES)
def kept_url(request: pytest.FixtureRequest) -> str:
    """A database of each kind in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "kept_postgres_url")
    return url


@pytest.fixture
async def engine(kept_url: str) -> AsyncIterator[AsyncEngine]:
    """A database with the tables of the models, all of them empty."""
    async with opened(kept_url) as engine:
        if engine.dialect.name == "postgresql":
            tables = ", ".join([*Base.metadata.tables, *outbox.metadata.tables])
            async with engine.begin() as connection:
                await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        yield engine
