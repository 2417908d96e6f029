"""Tests of records as JSON: what is written is read again as it was."""

from __future__ import annotations

import enum
import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, NewType
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    inspect,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY as PG_ARRAY
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship

from gqlplugin.database.record_changes import RecordCodec, codec_of, column_problems
from gqlplugin.errors import InvalidInputError

pytestmark = pytest.mark.anyio


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Money(BaseModel):
    amount: Decimal
    currency: str


class MoneyType(TypeDecorator[Money]):
    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Money | None, dialect: Dialect) -> Any:
        return None if value is None else value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: Dialect) -> Money | None:
        return None if value is None else Money.model_validate(value)


class Yes(TypeDecorator[bool]):
    impl = String(3)
    cache_ok = True

    @property
    def python_type(self) -> type[bool]:
        return bool

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> str | None:
        return None if value is None else "yes" if value else "no"

    def process_result_value(self, value: str | None, dialect: Dialect) -> bool | None:
        return None if value is None else value == "yes"


short = Annotated[str, mapped_column(String(10))]
UserId = NewType("UserId", int)


class Base(DeclarativeBase):
    pass


class Typed(Base):
    """Every type that a column commonly has, by annotation."""

    __tablename__ = "typed"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[short]
    big: Mapped[int] = mapped_column(BigInteger)
    user: Mapped[UserId] = mapped_column(Integer)
    real: Mapped[float]
    flag: Mapped[bool]
    naive: Mapped[datetime]
    aware: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    day: Mapped[date]
    clock: Mapped[time]
    lasts: Mapped[timedelta]
    price: Mapped[Decimal] = mapped_column(Numeric(20, 6))
    uuid: Mapped[UUID]
    color: Mapped[Color]
    size: Mapped[Size]
    blob: Mapped[bytes]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    tags: Mapped[list[str]] = mapped_column(JSON)
    money: Mapped[Money] = mapped_column(MoneyType)
    empty: Mapped[str | None]


FULL: dict[str, Any] = {
    "id": 1,
    "text": 'é "q" \u2028',
    "big": 2**62 + 1,
    "user": 7,
    "real": 0.1,
    "flag": True,
    "naive": datetime(2024, 2, 29, 23, 59, 59, 123456),  # noqa: DTZ001 - as a column without a timezone has it
    "aware": datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "day": date(1, 1, 1),
    "clock": time(12, 30, 0, 1),
    "lasts": timedelta(days=-3, microseconds=7),
    "price": Decimal("12345678901234.567890"),
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "color": Color.BLUE,
    "size": Size.LARGE,
    "blob": b"\x00\xff\xfe base64",
    "data": {"a": [1, None, 2.5, {"b": "c"}]},
    "tags": ["x", "y"],
    "money": Money(amount=Decimal("1.10"), currency="EUR"),
    "empty": None,
}


def through_json(model: type[Any], values: dict[str, Any]) -> Any:
    """A record of some values, written and read again."""
    codec = codec_of(inspect(model))
    text = codec.dump({key: values.get(key) for key in codec.columns})
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return codec.load(text)


def values_of(record: Any) -> dict[str, Any]:
    """What a record has in its columns."""
    return {key: getattr(record, key) for key in inspect(type(record)).columns.keys()}  # noqa: SIM118 - not a dict


def test_every_annotated_type_comes_back_as_it_was() -> None:
    """Values of the types that columns have keep their type, and are equal."""
    found = values_of(through_json(Typed, FULL))
    assert found == FULL
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in FULL.items()}


def test_a_rebuilt_record_belongs_to_no_session() -> None:
    """It is transient, has no pending changes, loads nothing, and what was not written is None."""
    record = codec_of(inspect(Typed)).load('{"id":1,"text":"a","gone_since":3}')
    state = inspect(record)
    assert isinstance(record, Typed)
    assert state.transient
    assert state.session is None
    assert not any(attribute.history.added for attribute in state.attrs)
    assert values_of(record) == dict.fromkeys(FULL) | {"id": 1, "text": "a"}


def test_relationships_and_expressions_are_left_out() -> None:
    """Only columns are written; a relationship of a rebuilt record is empty."""

    class Local(DeclarativeBase):
        pass

    class Parent(Local):
        __tablename__ = "parent"
        id = Column(Integer, primary_key=True)
        children: Mapped[list[Any]] = relationship("Child")

    class Child(Local):
        __tablename__ = "child"
        id = Column(Integer, primary_key=True)
        parent_id: Any = Column(ForeignKey("parent.id"))

    parent = through_json(Parent, {"id": 1})
    assert (parent.id, parent.children) == (1, [])
    assert through_json(Child, {"id": 1, "parent_id": 2}).parent_id == 2


def imperative() -> type[Any]:
    """A class whose columns have no annotations."""

    class Old(DeclarativeBase):
        pass

    class Plain(Old):
        __tablename__ = "plain"
        id = Column(Integer, primary_key=True)
        text = Column("text_column", Text)
        real = Column(Float)
        flag = Column(Boolean)
        aware = Column(DateTime(timezone=True))
        day = Column(Date)
        clock = Column(Time)
        lasts = Column(Interval)
        price = Column(Numeric(10, 2))
        uuid = Column(Uuid)
        uuid_text = Column(Uuid(as_uuid=False))
        color: Any = Column(Enum(Color))
        word: Any = Column(Enum("a", "b", name="word"))
        blob = Column(LargeBinary)
        anything = Column(JSON)
        dates: Any = Column(ARRAY(Date))
        grid: Any = Column(PG_ARRAY(Integer, dimensions=2))
        jsonb = Column(JSONB)
        yes = Column(Yes)

    return Plain


def test_columns_without_annotations_say_their_type() -> None:
    """The type of the column tells, arrays and a TypeDecorator with a `python_type` included."""
    values: dict[str, Any] = {
        "id": 1,
        "text": "a",
        "real": 0.5,
        "flag": False,
        "aware": datetime(2024, 1, 1, tzinfo=UTC),
        "day": date(2024, 1, 1),
        "clock": time(1, 2, 3),
        "lasts": timedelta(seconds=1.5),
        "price": Decimal("1.10"),
        "uuid": UUID(int=5),
        "uuid_text": str(UUID(int=5)),
        "color": Color.RED,
        "word": "b",
        "blob": b"\xff",
        "anything": [1, {"a": None}],
        "dates": [date(2024, 1, 1), None],
        "grid": [[1, 2], [3, None]],
        "jsonb": "text",
        "yes": True,
    }
    assert values_of(through_json(imperative(), values)) == values


@given(st.floats(), st.binary(), st.timedeltas(), st.decimals(), st.datetimes(timezones=st.timezones()))
def test_odd_values_survive(real: float, blob: bytes, lasts: timedelta, price: Decimal, aware: datetime) -> None:
    """Numbers that JSON has no form for, any bytes, and extreme times are read as they were."""
    values = FULL | {"real": real, "blob": blob, "lasts": lasts, "price": price, "aware": aware}
    if price.is_snan():
        values["price"] = price = Decimal("NaN")
    record = through_json(Typed, values)
    assert repr(record.real) == repr(real)
    assert (record.blob, record.lasts) == (blob, lasts)
    assert record.price == price or (record.price.is_nan() and price.is_nan())
    assert record.aware.replace(microsecond=0).utcoffset() is not None


def test_a_value_of_another_type_is_written_all_the_same() -> None:
    """What a driver takes for a column is no reason to fail a flush: it is read as the column's type."""
    record = through_json(Typed, FULL | {"id": "5", "day": "2024-01-01", "price": 1, "uuid": str(UUID(int=1))})
    assert (record.id, record.day, record.price, record.uuid) == (5, date(2024, 1, 1), Decimal(1), UUID(int=1))


def test_a_value_without_a_form_in_json_is_an_error_that_hides_it() -> None:
    """The error names the model."""
    with pytest.raises(InvalidInputError, match="A change of Typed can't be written as JSON"):
        codec_of(inspect(Typed)).dump(FULL | {"data": {"a": object()}})


def test_text_that_does_not_fit_is_refused() -> None:
    """As pydantic has it: `ValidationError`."""
    for text in ('{"id":"x"}', "[]", "no json", '{"color":"green"}'):
        with pytest.raises(ValidationError):
            codec_of(inspect(Typed)).load(text)


async def test_what_a_database_returns_is_written(database_url: str) -> None:
    """A record that was stored and read again is the same through JSON, on each database."""
    engine = create_async_engine(database_url)
    values = FULL | {"aware": datetime(2024, 1, 1, tzinfo=UTC)}
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session:
        session.add(Typed(**values))
        await session.commit()
        stored = (await session.scalars(select(Typed))).one()
        assert values_of(through_json(Typed, values_of(stored))) == values_of(stored)
    await engine.dispose()


class Point:
    """A class that pydantic knows nothing of."""


class Odd(enum.Enum):
    OBJECT = object()


class PointType(TypeDecorator[Point]):
    impl = String
    cache_ok = True


def problems_of(**columns: Any) -> list[str]:
    """What is wrong with a class of some columns."""
    body = {"__tablename__": "wrong", "id": Column(Integer, primary_key=True), "__module__": __name__, **columns}
    mapped = registry().generate_base(name="Registry")
    return column_problems(inspect(type("Wrong", (mapped,), body)))


def test_columns_that_can_not_be_written_are_found() -> None:
    """Each is told of by its name, with what to do."""
    assert problems_of(name=Column(String)) == []
    [decorated] = problems_of(place=Column(PointType))
    assert decorated == (
        "column Wrong.place can't be written as JSON: its type PointType doesn't tell its type in Python; annotate it, "
        "as in Mapped[str]"
    )
    [annotated] = problems_of(__annotations__={"place": Mapped[Point]}, place=mapped_column(PointType))
    assert "column Wrong.place can't be written as JSON: Unable to generate pydantic-core schema" in annotated
    assert "annotate it with a type that pydantic knows" in annotated
    [members] = problems_of(odd=Column(Enum(Odd)))
    assert members.endswith("the value of Odd.OBJECT is not JSON; give its members plain values")
    assert len(problems_of(a=Column(PointType), b=Column(INET))) in (1, 2)


def test_codecs_are_made_once() -> None:
    """A mapped class has one."""
    assert codec_of(inspect(Typed)) is codec_of(inspect(Typed))
    assert isinstance(codec_of(inspect(Typed)), RecordCodec)
