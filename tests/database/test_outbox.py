"""The outbox: what is written with a transaction, and what is not."""

import asyncio
import json

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from gqlplugin.database.outbox import add_start, create_table, insert_starts, metadata
from gqlplugin.identity import User
from tests.database.relaying import ALICE, ROBOT, rows_of, start_of, write

pytestmark = pytest.mark.anyio


async def test_a_start_is_written_as_it_is(database_url: str) -> None:
    """A row holds everything that a relay needs to make the start, in any process."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    start = start_of(1, record='["Order",1]')
    await write(engine, start)
    (row,) = await rows_of(engine)
    assert (row.run_id, row.app, row.record, row.workflow_name) == (start.run_id, "shop", '["Order",1]', "work")
    assert (row.arg, row.error) == ("1", None)
    assert json.loads(row.caller) == ["alice", "user", ALICE.workspace_id, {"roles": ["clerk"]}, ["a", "b"]]
    assert json.loads(row.invoker) == [ROBOT.namespace, ROBOT.machine_user_name]
    assert row.created_at is not None
    await engine.dispose()


async def test_the_anonymous_caller_and_no_invoker_can_be_written(database_url: str) -> None:
    """A start by nobody in particular, which runs anonymously and in no order, is written too."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    await write(engine, start_of(1, caller=User(), invoker=None))
    (row,) = await rows_of(engine)
    assert (row.invoker, row.record) == (None, None)
    await engine.dispose()


async def test_no_starts_write_no_row(database_url: str) -> None:
    """A flush with nothing to start leaves the outbox alone."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    await write(engine)
    assert await rows_of(engine) == []
    await engine.dispose()


async def test_rows_are_numbered_in_the_order_they_are_written(database_url: str) -> None:
    """The order of the numbers is that of the writes, within a statement and from one to the next."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    await write(engine, *map(start_of, range(20)))
    await write(engine, *map(start_of, range(20, 40)))
    assert [row.arg for row in await rows_of(engine)] == [str(n) for n in range(40)]
    await engine.dispose()


async def test_a_number_is_never_used_again(database_url: str) -> None:
    """When the last row was deleted, the next one gets a number of its own: a late delete hits no other row."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    await write(engine, start_of(1))
    (first,) = await rows_of(engine)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM gqlplugin_outbox"))
    await write(engine, start_of(2))
    (second,) = await rows_of(engine)
    assert second.seq > first.seq
    await engine.dispose()


async def test_two_rows_never_have_the_same_run(database_url: str) -> None:
    """A run's ID is in the outbox once."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    start = start_of(1)
    with pytest.raises(IntegrityError):
        await write(engine, start, start)
    await engine.dispose()


async def test_a_start_belongs_to_the_transaction_of_the_session(database_url: str) -> None:
    """What an async session commits is in the outbox, what it or one of its savepoints rolls back is not."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    async with AsyncSession(engine) as session:
        add_start(session, start_of(1))
        await session.commit()
        add_start(session, start_of(2))
        await session.flush()
        await session.rollback()
        add_start(session, start_of(3))
        savepoint = await session.begin_nested()
        add_start(session, start_of(4))
        await session.flush()
        await savepoint.rollback()
        await session.commit()
        add_start(session, start_of(5))  # never committed
    assert [row.arg for row in await rows_of(engine)] == ["1", "3"]
    await engine.dispose()


async def test_a_plain_session_can_start_too(database_url: str) -> None:
    """A session that is not async is as good."""
    engine = create_async_engine(database_url)
    await create_table(engine)

    def work(session: Session) -> None:
        add_start(session, start_of(1))
        session.commit()

    async with AsyncSession(engine) as session:
        await session.run_sync(work)
    assert [row.arg for row in await rows_of(engine)] == ["1"]
    await engine.dispose()


async def test_the_table_can_be_created_by_many_at_once(database_url: str) -> None:
    """Processes that begin at the same time all find the table, and none of them fails."""
    engines = [create_async_engine(database_url) for _ in range(8)]
    await asyncio.gather(*(create_table(engine) for engine in engines))
    await create_table(engines[0])
    await write(engines[0], start_of(1))
    assert len(await rows_of(engines[1])) == 1
    for engine in engines:
        await engine.dispose()


async def test_a_table_of_an_older_version_gets_what_it_lacks(database_url: str) -> None:
    """However many processes begin at once, the column for traces is added once, and the rows stay."""
    engines = [create_async_engine(database_url) for _ in range(4)]
    await create_table(engines[0])
    await write(engines[0], start_of(1))
    async with engines[0].begin() as connection:
        await connection.execute(text("ALTER TABLE gqlplugin_outbox DROP COLUMN trace"))
    await asyncio.gather(*(create_table(engine) for engine in engines))
    await write(engines[1], start_of(2))
    assert [row.arg for row in await rows_of(engines[2])] == ["1", "2"]
    for engine in engines:
        await engine.dispose()


async def test_a_table_that_is_there_needs_no_right_to_create_one(postgres_url: str) -> None:
    """Where a migration made the table, the app's own role need not be allowed to create any."""
    engine = create_async_engine(postgres_url)
    await create_table(engine)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE ROLE no_ddl LOGIN"))
    limited = create_async_engine(postgres_url.replace("//postgres:@", "//no_ddl:@"))
    await create_table(limited)
    await limited.dispose()
    await engine.dispose()


async def test_migrations_can_make_the_same_table(database_url: str) -> None:
    """`metadata` makes what `create_table` makes, and holds nothing else."""
    made, migrated = create_async_engine(database_url), create_async_engine(database_url)
    async with migrated.begin() as connection:
        await connection.run_sync(metadata.create_all)
        by_metadata = await connection.run_sync(_shape)
        await connection.run_sync(metadata.drop_all)
    await create_table(made)
    async with made.connect() as connection:
        assert await connection.run_sync(_shape) == by_metadata
    assert list(metadata.tables) == ["gqlplugin_outbox"]
    await made.dispose()
    await migrated.dispose()


def _shape(connection: object) -> object:
    found = inspect(connection)
    assert found is not None
    return (
        [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns("gqlplugin_outbox")],
        sorted(one["name"] or "" for one in found.get_indexes("gqlplugin_outbox")),
        [one["column_names"] for one in found.get_unique_constraints("gqlplugin_outbox")],
    )


async def test_starts_can_be_written_within_a_flush(database_url: str) -> None:
    """`insert_starts` works on the connection of a session that is flushing, and in its transaction."""
    engine = create_async_engine(database_url)
    await create_table(engine)
    async with AsyncSession(engine) as session:
        connection = await session.connection()
        await connection.run_sync(insert_starts, [start_of(1), start_of(2)])
        await session.rollback()
        connection = await session.connection()
        await connection.run_sync(insert_starts, [start_of(3)])
        await session.commit()
    assert [row.arg for row in await rows_of(engine)] == ["3"]
    await engine.dispose()
