"""Tests of the changes that sessions write to the outbox."""

import asyncio

import pytest
from sqlalchemy import create_engine, event, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, undefer

from gqlplugin.database.outbox import OutboxRow
from gqlplugin.identity import NIL_UUID, dump_user, executor_user
from tests.database.models import (
    Customer,
    Document,
    Employee,
    Engineer,
    Line,
    Manager,
    Order,
    Versioned,
    all_events,
    opened,
    told,
)

pytestmark = pytest.mark.anyio


async def put(engine: AsyncEngine, *records: object) -> None:
    """Store records before anybody listens."""
    async with AsyncSession(engine) as session:
        session.add_all(records)
        await session.commit()


async def test_a_new_record_is_told_of_with_what_the_database_made(engine: AsyncEngine) -> None:
    """A row holds every column by its attribute's name: defaults, server defaults, deferred ones; no expressions."""
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            session.add(Order(total=5))
            await session.commit()
            row = (await session.scalars(select(OutboxRow))).one()
    [one] = await told(engine)
    assert (one.executor, one.record) == ("created", "Order:1")
    assert one.arg == {
        "type_name": "Order",
        "app_namespace": "shop",
        "workspace_id": NIL_UUID,
        "new_record": {
            "id": 1,
            "state": "open",
            "note": None,
            "currency": "EUR",
            "total": 5,
            "customer_id": None,
        },
    }
    assert (row.app, row.invoker, row.caller) == ("shop", None, dump_user(executor_user("created")))


async def test_an_update_tells_of_both_states(engine: AsyncEngine) -> None:
    """Old values are those before the flush, loaded or not; new ones those after it."""
    await put(engine, Order(id=1, total=5, note="hello"))
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            order = await session.get_one(Order, 1)
            order.state = "paid"
            order.note = "bye"
            await session.commit()
            order.total = 7  # expired by the commit: nothing is loaded
            await session.commit()
    first, second = await told(engine)
    assert (first.executor, first.record) == ("updated", "Order:1")
    assert (first.old["state"], first.old["note"], first.new["state"], first.new["note"]) == (
        "open",
        "hello",
        "paid",
        "bye",
    )
    assert {key for key in first.old if first.old[key] != first.new[key]} == {"state", "note"}
    assert second.old == first.new
    assert second.new == first.new | {"total": 7}


async def test_sql_expressions_are_told_of_as_their_values(engine: AsyncEngine) -> None:
    """A value that the database computes is read in the same transaction."""
    await put(engine, Order(id=1, total=5))
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            order = await session.get_one(Order, 1)
            order.total = Order.total + 10
            order.state = func.upper("paid")
            session.add(Order(id=2, total=select(func.abs(-3)).scalar_subquery()))
            await session.commit()
    changes = {one.record: one for one in await told(engine)}
    assert (changes["Order:1"].old["total"], changes["Order:1"].new["total"]) == (5, 15)
    assert changes["Order:1"].new["state"] == "PAID"
    assert changes["Order:2"].new["total"] == 3


async def test_an_update_that_changes_no_column_is_none(engine: AsyncEngine) -> None:
    """Setting the same value, or changing only a collection, tells of nothing."""
    await put(engine, Customer(id=1, name="Ann"), Order(id=1, state="open"))
    with all_events(engine, Customer, Order):
        async with AsyncSession(engine) as session:
            customer = await session.get_one(Customer, 1)
            (await session.get_one(Order, 1)).state = "open"
            customer.name = "Ann"
            await session.commit()
        assert await told(engine) == []
        async with AsyncSession(engine) as session:
            customer = await session.get_one(Customer, 1)
            await session.refresh(customer, ["orders"])
            customer.orders.append(Order(id=2))
            await session.commit()
    assert [(one.executor, one.record) for one in await told(engine)] == [("created", "Order:2")]


async def test_a_deleted_record_is_told_of_as_it_was(engine: AsyncEngine) -> None:
    """What is not loaded is read before it is gone."""
    await put(engine, Order(id=1, total=5, note="hello"))
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            order = await session.get_one(Order, 1)
            order.total = 6
            await session.delete(order)
            await session.commit()
    [one] = await told(engine)
    assert (one.executor, one.record, one.old["note"], one.old["total"]) == ("deleted", "Order:1", "hello", 5)
    assert "new_record" not in one.arg


async def test_cascades_and_orphans_are_seen(engine: AsyncEngine) -> None:
    """What the unit of work changes or deletes by itself is told of, with a foreign key that it sets."""
    await put(engine, Customer(id=1, name="Ann", orders=[Order(id=1), Order(id=2)]), Order(id=3))
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            customer = await session.get_one(Customer, 1)
            await session.refresh(customer, ["orders"])
            third = await session.get_one(Order, 3)
            customer.orders.append(third)
            customer.orders.remove(await session.get_one(Order, 2))
            await session.commit()
        changes = {one.record: one for one in await told(engine)}
        assert {record: one.executor for record, one in changes.items()} == {"Order:2": "deleted", "Order:3": "updated"}
        assert (changes["Order:3"].old["customer_id"], changes["Order:3"].new["customer_id"]) == (None, 1)
        assert changes["Order:2"].old["customer_id"] == 1
        async with AsyncSession(engine) as session:
            await session.delete(await session.get_one(Customer, 1))
            await session.commit()
    assert [one.record for one in await told(engine) if one.executor == "deleted"][1:] == ["Order:1", "Order:3"]


async def test_subclasses_count_for_their_base(engine: AsyncEngine) -> None:
    """A change of a subclass, joined or in the same table, is told of under its own name, once."""
    with all_events(engine, Employee, Manager):
        async with AsyncSession(engine) as session:
            session.add(Manager(id=1, name="Ann", budget=10))
            await session.flush()
            session.add(Engineer(id=2, name="Bob", language="Python"))
            await session.flush()
            session.add(Employee(id=3, name="Cid"))
            await session.commit()
            (await session.get_one(Manager, 1)).budget = 11
            await session.commit()
            await session.delete(await session.get_one(Employee, 1))
            await session.commit()
    changes = await told(engine)
    assert [(one.executor, one.record) for one in changes] == [
        ("created", "Manager:1"),
        ("created", "Engineer:2"),
        ("created", "Employee:3"),
        ("updated", "Manager:1"),
        ("deleted", "Manager:1"),
    ]
    assert changes[0].new == {"id": 1, "kind": "manager", "name": "Ann", "budget": 10}
    assert changes[1].new == {"id": 2, "kind": "engineer", "name": "Bob", "language": "Python"}
    assert (changes[3].old["budget"], changes[3].new["budget"]) == (10, 11)
    assert changes[3].arg["type_name"] == "Manager"


async def test_a_subclass_alone_does_not_count_its_base(engine: AsyncEngine) -> None:
    """Who waits for managers hears of no other employees."""
    with all_events(engine, Manager):
        await put(engine, Engineer(id=2, name="Bob"), Manager(id=1, name="Ann", budget=10))
    assert [one.record for one in await told(engine)] == ["Manager:1"]


async def test_versions_and_server_side_updates_are_read(engine: AsyncEngine) -> None:
    """The version of after the flush, and what an `onupdate` made, are in the new record."""
    await put(engine, Versioned(id=1, text="a"))
    with all_events(engine, Versioned):
        async with AsyncSession(engine) as session:
            (await session.get_one(Versioned, 1)).text = "b"
            await session.commit()
    [one] = await told(engine)
    assert one.old == {"id": 1, "text": "a", "version": 1, "touched": "never"}
    assert one.new == {"id": 1, "text": "b", "version": 2, "touched": "TOUCHED"}


async def test_a_changed_primary_key_is_an_update(engine: AsyncEngine) -> None:
    """The record is then known by its new key; the old values have the old one."""
    await put(engine, Line(order_id=1, number=1, text="a"))
    with all_events(engine, Line):
        async with AsyncSession(engine) as session:
            line = await session.get_one(Line, (1, 1))
            line.number = 2
            await session.commit()
            await session.refresh(line, ["order_id", "number"])
            line.order_id = 5
            await session.commit()
    first, second = await told(engine)
    assert (first.executor, first.record, first.old["number"], first.new["number"]) == ("updated", "Line:1,2", 1, 2)
    assert (second.record, second.old["order_id"], second.new) == (
        "Line:5,2",
        1,
        {"order_id": 5, "number": 2, "text": "a"},
    )


async def test_a_record_that_takes_a_deleted_ones_place_is_new(engine: AsyncEngine) -> None:
    """SQLAlchemy updates the row then; a record was deleted and another created all the same."""
    await put(engine, Line(order_id=1, number=1, text="old"))
    with all_events(engine, Line):
        async with AsyncSession(engine) as session:
            await session.delete(await session.get_one(Line, (1, 1)))
            session.add(Line(order_id=1, number=1, text="new"))
            await session.commit()
    deleted, created = await told(engine)
    assert (deleted.executor, deleted.old["text"]) == ("deleted", "old")
    assert (created.executor, created.new["text"]) == ("created", "new")


async def test_merge_tells_of_what_it_changes(engine: AsyncEngine) -> None:
    """A merged record is created or updated, as it turns out."""
    await put(engine, Line(order_id=1, number=1, text="old"))
    with all_events(engine, Line):
        async with AsyncSession(engine) as session:
            await session.merge(Line(order_id=1, number=1, text="new"))
            await session.merge(Line(order_id=1, number=2, text="second"))
            await session.commit()
    assert sorted((one.executor, one.record) for one in await told(engine)) == [
        ("created", "Line:1,2"),
        ("updated", "Line:1,1"),
    ]


async def test_values_that_change_in_place_are_told_of_both_ways(engine: AsyncEngine) -> None:
    """What a value was before is read when the session has not kept it."""
    await put(engine, Document(id=1, data={"a": 1}))
    with all_events(engine, Document):
        async with AsyncSession(engine) as session:
            document = await session.get_one(Document, 1)
            document.data["a"] = 2
            await session.commit()
    [one] = await told(engine)
    assert (one.old["data"], one.new["data"]) == ({"a": 1}, {"a": 2})


async def test_nothing_is_told_of_what_is_rolled_back(engine: AsyncEngine) -> None:
    """A savepoint and a whole transaction take their rows with them."""
    with all_events(engine, Order) as woken:
        async with AsyncSession(engine) as session:
            session.add(Order(id=1))
            await session.flush()
            savepoint = await session.begin_nested()
            session.add(Order(id=2))
            await session.flush()
            await savepoint.rollback()
            async with session.begin_nested():
                session.add(Order(id=3))
            assert woken == []
            await session.commit()
            assert woken == ["shop"]
            session.add(Order(id=4))
            await session.flush()
            await session.rollback()
        async with AsyncSession(engine) as session:
            async with session.begin_nested():
                session.add(Order(id=5))
            await session.rollback()
    assert [one.record for one in await told(engine)] == ["Order:1", "Order:3"]
    assert woken == ["shop"]


async def test_several_flushes_are_told_of_in_order(engine: AsyncEngine) -> None:
    """Each flush adds its changes; a record that comes and goes within a transaction is told of as that."""
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            order = Order(id=1)
            session.add(order)
            await session.flush()
            order.state = "paid"
            await session.flush()
            await session.delete(order)
            await session.commit()
    assert [one.executor for one in await told(engine)] == ["created", "updated", "deleted"]


async def test_a_flush_that_fails_leaves_nothing_behind(engine: AsyncEngine) -> None:
    """What a failed flush had noticed is not told of by the next one of the session."""
    await put(engine, Line(order_id=1, number=1, text="a"))
    with all_events(engine, Line, Order):
        async with AsyncSession(engine) as session:
            (await session.get_one(Line, (1, 1))).text = "b"
            session.add_all([Order(id=7), Line(order_id=1, number=2, text=None)])
            with pytest.raises(IntegrityError):
                await session.flush()
            await session.rollback()
            session.add(Order(id=9))
            await session.commit()
    assert [one.record for one in await told(engine)] == ["Order:9"]


async def test_each_executor_and_app_is_told_once(engine: AsyncEngine) -> None:
    """An app that runs twice in a process is one app; two apps are two."""
    with all_events(engine, Order) as woken, all_events(engine, Order) as again, all_events(engine, Order, app="other"):
        await put(engine, Order(id=1))
    assert [one.arg["app_namespace"] for one in await told(engine)] == ["shop", "other"]
    assert (woken, again) == (["shop"], ["shop"])


async def test_nobody_is_told_after_the_end(engine: AsyncEngine) -> None:
    """When the app has ended here, sessions work as if it had never been."""
    with all_events(engine, Order):
        pass
    await put(engine, Order(id=1))
    assert await told(engine) == []


async def test_other_databases_are_left_alone(engine: AsyncEngine, tmp_path: object) -> None:
    """A session on another database writes no rows, though its models are the same."""
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/other.sqlite") as other:
        with all_events(engine, Order) as woken:
            await put(other, Order(id=1))
        assert await told(other) == []
    assert woken == []


async def test_a_sync_session_in_a_thread_is_seen(sqlite_url: str) -> None:
    """Any session on the database counts, with whatever driver, in whatever thread."""

    def work() -> None:
        sync = create_engine(sqlite_url.replace("+aiosqlite", ""))
        with Session(sync) as session:
            session.add(Order(id=1))
            session.commit()
        sync.dispose()

    async with opened(sqlite_url) as engine:
        with all_events(engine, Order) as woken:
            await asyncio.to_thread(work)
        assert [one.record for one in await told(engine)] == ["Order:1"]
    assert woken == ["shop"]


async def test_the_rows_of_a_record_are_in_the_order_of_its_changes(engine: AsyncEngine) -> None:
    """Whoever locks a record first writes first."""
    await put(engine, *(Order(id=id_) for id_ in range(5)))

    async def add_one(id_: int) -> None:
        async with AsyncSession(engine) as session:
            order = await session.get_one(Order, id_, with_for_update=True)
            order.total = Order.total + 1
            await session.commit()

    with all_events(engine, Order):
        await asyncio.gather(*(add_one(number % 5) for number in range(50)))
    totals: dict[str | None, list[int]] = {}
    for one in await told(engine):
        totals.setdefault(one.record, []).append(one.new["total"])
    assert list(totals.values()) == [list(range(1, 11))] * 5


async def test_a_flush_writes_its_rows_in_one_statement(engine: AsyncEngine) -> None:
    """A hundred new records cost one statement more, after those of the flush."""
    statements: list[tuple[str, bool]] = []

    def note(_c: object, _cursor: object, statement: str, _p: object, _context: object, many: bool) -> None:
        statements.append((" ".join(statement.split()[:3]).replace('"', ""), many))

    with all_events(engine, Line):
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        await put(engine, *(Line(order_id=1, number=number, text="x") for number in range(100)))
    assert [one for one in statements if not one[0].startswith(("BEGIN", "INSERT INTO line"))] == [
        ("INSERT INTO gqlplugin_outbox", True)
    ]
    assert statements[-1][0] == "INSERT INTO gqlplugin_outbox"


async def test_bulk_statements_are_not_seen(engine: AsyncEngine) -> None:
    """As documented: `publish` is for those."""
    await put(engine, Order(id=1))
    with all_events(engine, Order):
        async with AsyncSession(engine) as session:
            await session.execute(update(Order).values(state="paid"))
            await session.commit()
            assert (await session.get_one(Order, 1, options=[undefer(Order.note)])).state == "paid"
    assert await told(engine) == []
