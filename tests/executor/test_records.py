"""Tests of changes of records as triggers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy import Column, Integer, String, inspect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase

from gqlplugin import create_workflow, create_workflow_job, define_app
from gqlplugin.database import Database, define_database, get_db, publish
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import (
    Executor,
    RecordCreatedArgs,
    RecordDeletedArgs,
    RecordUpdatedArgs,
    create_executor,
    function_operation,
    workflow_operation,
)
from gqlplugin.executor.trigger import (
    RecordTrigger,
    record_created_trigger,
    record_deleted_trigger,
    record_updated_trigger,
)
from gqlplugin.identity import NIL_UUID, executor_user
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus
from gqlplugin.testing import MemoryPlatform
from tests.database.models import Base, Customer, Employee, Line, Manager, Order, Versioned

pytestmark = pytest.mark.anyio

NEW = {"id": 1, "kind": "manager", "name": "Ann", "budget": 10}


class Ref(BaseModel):
    order_id: int


class Unmapped: ...


class Local(DeclarativeBase): ...


class Abstract(Local):
    __abstract__ = True


@asynccontextmanager
async def running(database: Database, *executors: Executor[Any], **more: Any) -> AsyncIterator[Platform]:
    """An app with executors that runs on a database with the tables of the models."""
    app = define_app("shop", databases=[database], executors=executors, **more)
    async with MemoryPlatform() as platform, platform.execute(app):
        async with database.session() as session:
            await (await session.connection()).run_sync(Base.metadata.create_all)
            await session.commit()
        yield platform


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes by itself."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it is not told of
            await asyncio.sleep(0.002)


async def finished(platform: Platform, workflow_name: str, count: int) -> None:
    """Wait until so many runs of a workflow have succeeded."""
    where = ExecutionFilter(workflow_name=workflow_name, status=ExecutionStatus.SUCCESS)
    async with asyncio.timeout(60):
        while len((await platform.list_executions(where, first=100)).executions) < count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def test_changes_fire_executors_in_their_order(database_url: str) -> None:
    """A commit starts runs that get the record as it was committed; conditions see it too."""
    database, seen = define_database("main", database_url), list[tuple[object, ...]]()

    async def created(args: RecordCreatedArgs[Order]) -> None:
        seen.append(("created", args.new_record.id, args.new_record.state, args.type_name, args.app_namespace))

    async def updated(args: RecordUpdatedArgs[Order]) -> None:
        seen.append(("updated", args.old_record.state, args.new_record.state, args.workspace_id))

    def deleted(args: RecordDeletedArgs[Order]) -> None:
        seen.append(("deleted", args.old_record.note))

    def is_expensive(args: RecordCreatedArgs[Order]) -> bool:
        return args.new_record.total > 10

    executors: list[Executor[Any]] = [
        create_executor(
            "order-created",
            trigger=record_created_trigger(Order),
            condition=is_expensive,
            operation=function_operation(created),
        ),
        create_executor("order-updated", trigger=record_updated_trigger(Order), operation=function_operation(updated)),
        create_executor("order-deleted", trigger=record_deleted_trigger(Order), operation=function_operation(deleted)),
        create_executor(
            "never", trigger=record_created_trigger(Order), operation=function_operation(created), disabled=True
        ),
    ]
    async with running(database, *executors) as platform:
        async with database.session() as session:
            order = Order(id=1, total=11, note="hello")
            session.add_all([order, Order(id=2, total=10)])
            await session.commit()
            order.state = "paid"
            await session.commit()
            await session.delete(order)
            await session.commit()
        await until(lambda: len(seen) == 3)
        await finished(platform, "executor/order-created", 2)
        firings = (
            await platform.list_executions(ExecutionFilter(workflow_name="executor/order-deleted"), first=9)
        ).executions
    assert seen == [
        ("created", 1, "open", "Order", "shop"),
        ("updated", "open", "paid", NIL_UUID),
        ("deleted", "hello"),
    ]
    assert firings[0].caller == executor_user("order-deleted")


async def test_jobs_and_publish_fire_as_well(database_url: str) -> None:
    """What a job changes by `get_db` fires when it is committed; a chain of executors goes by itself."""
    database, done = define_database("main", database_url), list[str]()

    @create_workflow_job(name="pay")
    async def pay(ref: Ref) -> None:
        db = get_db("main")
        (await db.get_one(Order, ref.order_id)).state = "paid"
        await db.flush()
        await publish(db, deleted=[Line(order_id=ref.order_id, number=1, text="gone")])

    async def paid(args: RecordUpdatedArgs[Order]) -> None:
        done.append(args.new_record.state)

    async def line_gone(args: RecordDeletedArgs[Line]) -> None:
        done.append(args.old_record.text)

    workflow = create_workflow(name="payment", main_job=pay)
    executors: list[Executor[Any]] = [
        create_executor(
            "order-created",
            trigger=record_created_trigger(Order),
            operation=workflow_operation(workflow, args=lambda args: Ref(order_id=args.new_record.id)),
        ),
        create_executor("order-paid", trigger=record_updated_trigger(Order), operation=function_operation(paid)),
        create_executor("line-gone", trigger=record_deleted_trigger(Line), operation=function_operation(line_gone)),
    ]
    async with running(database, *executors, workflows=[workflow]):
        async with database.session() as session:
            session.add(Order(id=1))
            await session.commit()
        await until(lambda: len(done) == 2)
    assert sorted(done) == ["gone", "paid"]


def text_of(**parts: object) -> str:
    """The arguments of a change as JSON text."""
    return json.dumps({"type_name": "Manager", "app_namespace": "shop", **parts})


def test_the_text_is_read_into_records_of_the_real_class() -> None:
    """A change of a subclass gives an instance of it, which belongs to no session."""
    created = record_created_trigger(Employee).read(text_of(new_record=NEW))
    assert isinstance(created.new_record, Manager)
    assert (created.new_record.budget, created.type_name, created.app_namespace) == (10, "Manager", "shop")
    assert inspect(created.new_record).transient
    updated = record_updated_trigger(Employee).read(text_of(new_record=NEW, old_record=NEW | {"budget": 1}))
    assert isinstance(updated.old_record, Manager)
    assert (updated.old_record.budget, updated.new_record.name) == (1, "Ann")
    deleted = record_deleted_trigger(Manager).read(text_of(old_record=NEW, workspace_id="w"))
    assert (deleted.old_record.budget, deleted.workspace_id) == (10, "w")


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        text_of(),
        text_of(old_record=NEW),
        text_of(new_record=[]),
        text_of(new_record=NEW | {"budget": "much"}),
        text_of(new_record=NEW, type_name="Order"),
    ],
)
def test_text_that_does_not_fit_is_refused(text: str) -> None:
    """Also by its type: a record of another model is none."""
    with pytest.raises(ValidationError):
        record_created_trigger(Employee).read(text)


def test_a_trigger_says_what_it_waits_for() -> None:
    """Its kind and the model's name are for people, its subscription is for the database."""
    made = [trigger(Order) for trigger in (record_created_trigger, record_updated_trigger, record_deleted_trigger)]
    assert [(one.kind, one.detail) for one in made] == [
        ("record-created", "Order"),
        ("record-updated", "Order"),
        ("record-deleted", "Order"),
    ]
    assert isinstance(made[1], RecordTrigger)
    subscription = made[1].subscription("some-name")
    assert (subscription.model, subscription.event, subscription.executor) == (Order, "updated", "some-name")


@pytest.mark.parametrize("trigger", [record_created_trigger, record_updated_trigger, record_deleted_trigger])
@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Unmapped, "and Unmapped is none\\."),
        (Abstract, "and Abstract is none \\(it is abstract\\)"),
        (Base, "and Base is none \\(it is abstract\\)"),
        (Order(id=1), "takes a class that SQLAlchemy maps to a table with a primary key"),
        (Order.__table__, "takes a class that SQLAlchemy maps"),
        (None, "and None is none"),
    ],
)
def test_only_mapped_classes_can_be_waited_for(trigger: Callable[[Any], object], model: object, says: str) -> None:
    """The error names the trigger, the place and the class."""
    with pytest.raises(DefinitionError, match=says) as caught:
        trigger(model)
    assert trigger.__name__ in str(caught.value)
    assert "test_records.py:" in str(caught.value)


def test_a_model_without_a_primary_key_can_not_be_made() -> None:
    """SQLAlchemy itself refuses to map it."""
    with pytest.raises(ArgumentError, match="primary key"):
        type("Keyless", (Local,), {"__tablename__": "keyless", "name": Column(String)})


def test_columns_that_are_not_json_are_found_early() -> None:
    """When the trigger is made, and in `define_app` for subclasses that came after it."""

    class Parent(Local):
        __tablename__ = "parent"
        id = Column(Integer, primary_key=True)
        kind = Column(String)
        __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "parent"}  # noqa: RUF012

    from tests.database.test_values import PointType

    def nothing(args: object) -> None: ...

    trigger = record_created_trigger(Parent)
    child = {"__mapper_args__": {"polymorphic_identity": "child"}, "point": Column(PointType)}
    kept = type("Child", (Parent,), child)
    database = define_database("main", "sqlite+aiosqlite:///never-opened.sqlite")
    with pytest.raises(DefinitionError, match=r"executor 'the-one' waits for .* column Child.point can't be written"):
        define_app(
            "shop",
            databases=[database],
            executors=[create_executor("the-one", trigger=trigger, operation=function_operation(nothing))],
        )
    with pytest.raises(DefinitionError, match=r"column Child.point can't be written as JSON"):
        record_deleted_trigger(kept)


def test_an_app_without_databases_can_not_wait_for_records() -> None:
    """`define_app` says what is missing."""

    def nothing(args: object) -> None: ...

    one = create_executor("the-one", trigger=record_created_trigger(Customer), operation=function_operation(nothing))
    with pytest.raises(DefinitionError, match="executor 'the-one' waits for changes of Customer, and the app has no"):
        define_app("shop", executors=[one])


def test_models_of_other_tests_can_be_waited_for() -> None:
    """Whatever columns they have: deferred, server-made, versioned."""
    models: Sequence[type[Any]] = (Order, Versioned, Line, Manager)
    assert [record_updated_trigger(model).detail for model in models] == ["Order", "Versioned", "Line", "Manager"]


WITHOUT = """
import sys
sys.modules["sqlalchemy"] = None
import gqlplugin.app
from gqlplugin.errors import DefinitionError
from gqlplugin.executor.trigger import record_created_trigger
try:
    record_created_trigger(int)
except DefinitionError as error:
    print(error)
try:
    import gqlplugin.database
except ImportError as error:
    print(error)
"""


def test_without_sqlalchemy_everything_else_works() -> None:
    """`gqlplugin` is imported without the extra; what needs it names it."""
    result = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    first, second = result.stdout.splitlines()
    assert "record_created_trigger" in first
    assert "pip install 'gqlplugin[sqlalchemy]'" in first
    assert "pip install 'gqlplugin[sqlalchemy]'" in second
