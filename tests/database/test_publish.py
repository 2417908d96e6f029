"""Tests of telling what sessions don't see."""

import asyncio

import pytest
from sqlalchemy import create_engine, delete, insert, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from gqlplugin.database import publish
from gqlplugin.errors import FailedPreconditionError, InvalidInputError
from tests.database.models import Customer, Engineer, Line, Manager, Order, all_events, opened, told

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def orders(engine: AsyncEngine) -> None:
    """Two of them."""
    async with AsyncSession(engine) as session:
        session.add_all([Order(id=1, total=5, note="hello"), Order(id=2)])
        await session.commit()


async def test_bulk_statements_can_be_told_of(engine: AsyncEngine) -> None:
    """Created, updated and deleted records fire as those of a flush do, when the transaction commits."""
    with all_events(engine, Order) as woken:
        async with AsyncSession(engine) as session:
            new = (await session.scalars(insert(Order).returning(Order), [{"id": 3, "total": 1}])).all()
            await publish(session, created=new)
            paid = (
                await session.scalars(update(Order).where(Order.id == 1).values(state="paid").returning(Order))
            ).all()
            await publish(session, updated=[(Order(state="open"), order) for order in paid])
            gone = await session.get_one(Order, 2)
            await session.execute(delete(Order).where(Order.id == 2))
            await publish(session, deleted=[gone])
            assert woken == []
            await session.commit()
            assert woken == ["shop"]
    created, updated, deleted = await told(engine)
    assert (created.executor, created.record, created.new["total"]) == ("created", "Order:3", 1)
    assert (updated.executor, updated.record, updated.old) == ("updated", "Order:1", updated.new | {"state": "open"})
    assert (updated.new["state"], updated.new["note"], updated.new["currency"]) == ("paid", "hello", "EUR")
    assert (deleted.executor, deleted.record, deleted.old["state"]) == ("deleted", "Order:2", "open")


async def test_records_that_were_never_loaded_can_be_told_of(engine: AsyncEngine) -> None:
    """Of a record made by hand, what it lacks is read, unless it is gone."""
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            await session.execute(text("UPDATE shop_order SET total = 9 WHERE id = 1"))
            await publish(session, updated=[(Order(id=1, total=5), Order(id=1))], deleted=[Order(id=8, total=2)])
            await session.commit()
    updated, deleted = await told(engine)
    assert (updated.old["total"], updated.new["total"], updated.new["note"]) == (5, 9, "hello")
    assert (deleted.record, deleted.old["total"], deleted.old["state"]) == ("Order:8", 2, None)


async def test_it_belongs_to_the_transaction(engine: AsyncEngine) -> None:
    """What is rolled back was never told of."""
    with all_events(engine, Order) as woken:
        async with AsyncSession(engine) as session:
            await publish(session, created=[await session.get_one(Order, 1)])
            await session.rollback()
    assert await told(engine) == []
    assert woken == []


async def test_only_what_is_waited_for_is_written(engine: AsyncEngine) -> None:
    """Other models, subclasses of others, and pairs without a difference fire nothing."""
    with all_events(engine, Manager):
        async with AsyncSession(engine) as session:
            order, manager = await session.get_one(Order, 1), Manager(id=5, kind="manager", name="Ann", budget=1)
            same = Manager(id=5, kind="manager", name="Ann", budget=1)
            engineer = Engineer(id=6, kind="engineer", name="Bob", language="C")
            await publish(session, created=[order, engineer, manager], updated=[(same, manager)])
            await session.commit()
    assert [(one.executor, one.record) for one in await told(engine)] == [("created", "Manager:5")]


async def test_sync_sessions_publish_too(sqlite_url: str) -> None:
    """Without anything to await."""

    def work() -> None:
        sync = create_engine(sqlite_url.replace("+aiosqlite", ""))
        with Session(sync) as session:
            session.execute(insert(Line).values(order_id=1, number=1, text="a"))
            publish(session, created=[Line(order_id=1, number=1)])
            session.commit()
        sync.dispose()

    async with opened(sqlite_url) as engine:
        with all_events(engine, Line) as woken:
            await asyncio.to_thread(work)
        assert [one.new for one in await told(engine)] == [{"order_id": 1, "number": 1, "text": "a"}]
    assert woken == ["shop"]


async def test_what_can_not_be_told_of_is_an_error(engine: AsyncEngine) -> None:
    """Where no app runs, nothing is lost in silence; nor is what is no record, or not in the database."""
    async with AsyncSession(engine) as session:
        with pytest.raises(FailedPreconditionError, match="on a database of no app that runs here"):
            await publish(session, created=[Order(id=1)])
        with all_events(engine, Order):
            with pytest.raises(InvalidInputError, match="takes records of mapped classes, not a int"):
                await publish(session, created=[1])
            with pytest.raises(InvalidInputError, match="pairs of one class, not of Customer and Order"):
                await publish(session, updated=[(Customer(id=1), Order(id=1))])
            with pytest.raises(FailedPreconditionError, match=r"A record of Order whose change .* is not in"):
                await publish(session, created=[Order(id=77)])
        await session.rollback()
    assert await told(engine) == []
