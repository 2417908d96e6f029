"""The shop's data as GraphQL shows it."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """What is read from a row."""

    model_config = ConfigDict(from_attributes=True)


class Customer(Record):
    """Somebody who orders."""

    id: str
    name: str
    email: str


class Order(Record):
    """Something ordered."""

    id: str
    customer_id: str
    item: str
    total_cents: int
    status: str = Field(description="PLACED, then PROCESSED, or REFUSED by a manager.")


class Notification(Record):
    """A message in the outbox."""

    run_id: str = Field(description="The workflow run that sent it.")
    recipient: str
    message: str
    created_at: datetime


class Receipt(BaseModel):
    """What a processed order results in."""

    order_id: str
    total_cents: int
    customer: Customer
    is_refused: bool = Field(default=False, description="A manager did not approve it.")
    note: str | None = Field(default=None, description="What the manager wrote to the customer.")


class Review(Record):
    """An order that a manager is to look at."""

    order_id: str
    reason: str


class Activity(Record):
    """Something that happened to an order."""

    order_id: str
    text: str


class Report(Record):
    """How many orders there were in the night of a day."""

    day: date
    placed: int
    processed: int
