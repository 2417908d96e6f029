"""The relay when a row, the platform or the database is not as it should be."""

import json
import logging

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gqlplugin.database import relay as relay_module
from gqlplugin.database.outbox import create_table
from gqlplugin.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
)
from gqlplugin.platform.embedded import EmbeddedPlatform
from tests.database.relaying import (
    ALICE,
    Failing,
    engine,
    quick_pauses,
    relaying,
    rows_of,
    runs_of,
    start_of,
    until,
    until_empty,
    write,
)

__all__ = ["engine", "quick_pauses"]

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"arg": "{"}, "BAD_USER_INPUT"),
        ({"run_id": "not-a-uuid"}, "BAD_USER_INPUT"),
        ({"arg": json.dumps("x" * 2**21)}, "BAD_USER_INPUT"),
    ],
    ids=["not JSON", "bad ID", "too large"],
)
async def test_a_row_that_can_not_start_is_set_aside(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, broken: dict[str, str], reason: str
) -> None:
    """It stays with the reason, is logged as an error once, and the rows behind it start, those of its record too."""
    bad = start_of(1, "one", **broken)
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        await write(engine, bad, start_of(2, "one"), start_of(3))

        async def only_one_is_left() -> bool:
            rows = await rows_of(engine)
            return len(rows) == 1 and rows[0].error is not None

        await until(only_one_is_left)
        (row,) = await rows_of(engine)
        assert row.run_id == bad.run_id
        assert row.error.startswith(f"{reason}: ")
        assert len(await runs_of(platform)) == 2
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [bad.run_id in record.getMessage() for record in errors] == [True]


async def test_a_row_that_was_set_aside_can_be_tried_again(engine: AsyncEngine) -> None:
    """When its error is taken away, a row starts."""
    platform = Failing()
    platform.failure = lambda arg: InvalidInputError("No.") if arg == "1" else None
    async with platform, relaying(engine, platform):
        await write(engine, start_of(1))

        async def is_aside() -> bool:
            return [row.error for row in await rows_of(engine)] == ["BAD_USER_INPUT: No."]

        await until(is_aside)
        platform.failure = lambda arg: None
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE gqlplugin_outbox SET error = NULL"))
        await until_empty(engine)
        assert [run.input for run in await runs_of(platform)] == ["1"]


async def test_whatever_a_reason_holds_it_is_kept(engine: AsyncEngine) -> None:
    """Characters that a database refuses in a reason do not stop the relay, and a long one is cut."""
    platform = Failing()
    platform.failure = lambda arg: InvalidInputError("a\0b\ud800c\n" + "x" * 10_000) if arg == "1" else None
    async with platform, relaying(engine, platform):
        await write(engine, start_of(1))

        shown = r"BAD_USER_INPUT: a\x00b\ud800c?".ljust(1000, "x")

        async def is_aside() -> bool:
            return [row.error for row in await rows_of(engine)] == [shown]

        await until(is_aside)


async def test_an_id_of_another_run_is_set_aside(engine: AsyncEngine) -> None:
    """A row with the ID of a run that is not its own is not taken for started."""
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        start = start_of(7)
        await platform.start_workflow("work", "8", caller=ALICE, run_id=start.run_id)
        await write(engine, start)

        async def is_aside() -> bool:
            return (await rows_of(engine))[0].error is not None

        await until(is_aside)
        (row,) = await rows_of(engine)
        assert row.error.startswith("IDEMPOTENCY_KEY_REUSED: ")


@pytest.mark.parametrize("error", [PlatformUnavailableError, OutcomeUnknownError, PlatformCredentialsError])
async def test_an_outage_of_the_platform_is_waited_out_in_order(
    engine: AsyncEngine, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """While the platform can't answer nothing is lost or set aside; then all starts, a record's rows in order."""
    platform = Failing()
    platform.failure = lambda arg: error()
    async with platform, relaying(engine, platform):
        await write(engine, start_of(1, "one"), start_of(2, "one"), start_of(3))

        async def tried_often() -> bool:
            return len(platform.asked) > 20

        await until(tried_often)
        assert "2" not in platform.asked
        assert [(row.arg, row.error) for row in await rows_of(engine)] == [("1", None), ("2", None), ("3", None)]
        platform.failure = lambda arg: None

        async def one_is_there() -> bool:
            return sorted(run.input for run in await runs_of(platform)) == ["1", "3"]

        await until(one_is_there)
    assert {record.levelname for record in caplog.records if "wait in the outbox" in record.message} == {"WARNING"}


async def test_an_outage_slows_the_relay_down(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits grow, so that a platform that is down is not stormed, however often something is committed."""
    monkeypatch.setattr(relay_module, "_LONGEST_PAUSE_SECONDS", 3600)
    platform = Failing()
    platform.failure = lambda arg: PlatformUnavailableError()
    async with platform, relaying(engine, platform) as relay:
        await write(engine, start_of(1))

        async def is_slow() -> bool:
            relay.wake()
            return relay._pause >= 0.3

        await until(is_slow)
        assert len(platform.asked) <= 8


async def test_a_row_that_breaks_the_platform_is_tried_a_few_times(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that is not one of a platform's own may pass; when it stays, its row is set aside and not the others."""
    platform = Failing()
    platform.failure = lambda arg: ZeroDivisionError("a secret") if arg == "1" else None
    async with platform, relaying(engine, platform):
        await write(engine, start_of(1), start_of(2), start_of(3))

        async def is_aside() -> bool:
            return [row.error for row in await rows_of(engine)] == ["INTERNAL: ZeroDivisionError"]

        await until(is_aside)
        assert platform.asked.count("1") == 5
        assert sorted(run.input for run in await runs_of(platform)) == ["2", "3"]


async def test_a_caller_that_can_not_be_read_is_set_aside(engine: AsyncEngine) -> None:
    """A row that something else has written badly does not stop the relay."""
    await write(engine, start_of(1), start_of(2))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE gqlplugin_outbox SET caller = '[' WHERE arg = '1'"))
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):

        async def is_aside() -> bool:
            return [row.error for row in await rows_of(engine)] == ["INTERNAL: JSONDecodeError"]

        await until(is_aside)


async def test_rows_of_other_apps_and_unknown_workflows_stay(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this app can't start is left to who can; of its own, an unknown workflow is logged, once."""
    monkeypatch.setattr(relay_module, "_LOOK_FOR_UNKNOWN_SECONDS", 0)
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform):
        await write(engine, start_of(1, app="other", workflow_name="of-other"), start_of(2, workflow_name="gone"))
        await write(engine, start_of(3))

        async def is_started() -> bool:
            return [row.arg for row in await rows_of(engine)] == ["1", "2"]

        await until(is_started)

        async def is_logged() -> bool:
            return "gone" in caplog.text

        await until(is_logged)
        await write(engine, start_of(4))
        await until(is_started)
    assert [row.error for row in await rows_of(engine)] == [None, None]
    assert caplog.text.count("gone") == 1
    assert "of-other" not in caplog.text


async def test_a_database_that_fails_is_tried_again(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """While the outbox can't be read the relay says so, without SQL and its values, and goes on afterwards."""
    secret = start_of(1, arg='"a secret"')
    async with EmbeddedPlatform(":memory:") as platform:
        await write(engine, secret)
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE gqlplugin_outbox RENAME TO elsewhere"))
        async with relaying(engine, platform):

            async def has_failed() -> bool:
                return caplog.text.count("can't be relayed") > 3

            await until(has_failed)
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE elsewhere RENAME TO gqlplugin_outbox"))
            await until_empty(engine)
            assert len(await runs_of(platform)) == 1
    assert "SELECT" not in caplog.text
    assert "secret" not in caplog.text


async def test_a_connection_that_breaks_gives_up_the_role(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """When the server ends the session that holds the lock, the relay gets a new one, and another may be quicker."""
    engine = create_async_engine(postgres_url)
    await create_table(engine)
    async with EmbeddedPlatform(":memory:") as platform, relaying(engine, platform), relaying(engine, platform):
        for n in range(5):
            await write(engine, start_of(n))
            await until_empty(engine)
            async with engine.begin() as connection:
                ended = await connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
                )
                assert ended.rowcount == 1
        await write(engine, start_of(5))
        await until_empty(engine)
        assert len(await runs_of(platform)) == 6
    await engine.dispose()
