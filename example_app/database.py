"""The shop's own data: customers, orders, and what the shop wrote down about them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import URL, Connection, DateTime, ForeignKey, NullPool, create_engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from gqlplugin import Database, define_database

SHOP = "shop"
"""What `get_db` takes."""


class Table(DeclarativeBase):
    """The base of the tables."""


class CustomerRow(Table):
    """Somebody who orders."""

    __tablename__ = "customers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]


class OrderRow(Table):
    """Something ordered. Only its status changes; one that is cancelled is deleted."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer_id: Mapped[str] = mapped_column(ForeignKey("customers.id"))
    item: Mapped[str]
    total_cents: Mapped[int]
    status: Mapped[str]


class RequestRow(Table):
    """Which order came of a request, so that the same request places nothing twice."""

    __tablename__ = "requests"

    caller_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str]


class NotificationRow(Table):
    """A message in the outbox; a mail server would take it from there.

    The run that sent it is its key, so that a job which runs again after a crash sends nothing twice.
    """

    __tablename__ = "notifications"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    recipient: Mapped[str]
    message: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


class ReviewRow(Table):
    """An order that a manager is to look at."""

    __tablename__ = "reviews"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]


class ActivityRow(Table):
    """Something that happened to an order. The same is written down once, however often it is told."""

    __tablename__ = "activities"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(primary_key=True)


class ReportRow(Table):
    """How many orders there were in the night of a day, by status."""

    __tablename__ = "reports"

    day: Mapped[date] = mapped_column(primary_key=True)
    placed: Mapped[int]
    processed: Mapped[int]


def shop_database(place: Path | str) -> Database:
    """The database in a file, or at the URL of a PostgreSQL server.

    Nothing is touched before the app runs; then the first connection to a file finds what `prepare_file` makes, whoever
    runs it: a web server, `gqlplugin worker`, a test. A shop with data to lose runs its migrations before it starts; so
    does this one where it has a server: `python -m example_app.prepare`.
    """
    if isinstance(place, str):
        return define_database(SHOP, place)
    url = URL.create("sqlite+aiosqlite", database=str(place))
    options = {"pool_events": [(lambda *_: prepare_file(place), "first_connect")]}
    return define_database(SHOP, url, engine_options=options)


def prepare_file(path: Path) -> None:
    """Make the file with its tables and the first customers, where they aren't there; others may be doing so too."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    with engine.begin() as connection:
        fill(connection)


async def prepare_server(url: str) -> None:
    """Make the tables and the first customers in the database of a server, where they aren't there."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(fill)


def fill(connection: Connection) -> None:
    """Make the tables and the first customers, where they aren't there."""
    for table in Table.metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for id_, name in (("alice", "Alice Archer"), ("bob", "Bob Baker")):
        row = {"id": id_, "name": name, "email": f"{id_}@example.com"}
        connection.execute(insert(CustomerRow).values(row).on_conflict_do_nothing())
