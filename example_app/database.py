"""The shop's own data: customers, orders, and what the shop wrote down about them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import URL, ForeignKey, NullPool, create_engine
from sqlalchemy.dialects.sqlite import insert
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
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


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


def shop_database(path: Path) -> Database:
    """The database in a file.

    Nothing is touched before the app runs; then the first connection finds what `prepare` makes, whoever runs it: a web
    server, `gqlplugin worker`, a test. A shop with data to lose runs its migrations before it starts.
    """
    url = URL.create("sqlite+aiosqlite", database=str(path))
    return define_database(SHOP, url, engine_options={"pool_events": [(lambda *_: prepare(path), "first_connect")]})


def prepare(path: Path) -> None:
    """Make the file with its tables and the first customers, where they aren't there; others may be doing so too."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    with engine.begin() as connection:
        for table in Table.metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
        for id_, name in (("alice", "Alice Archer"), ("bob", "Bob Baker")):
            row = {"id": id_, "name": name, "email": f"{id_}@example.com"}
            connection.execute(insert(CustomerRow).values(row).on_conflict_do_nothing())
