"""Following runs over WebSockets: snapshot, changes, end; and coming back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
import strawberry

from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.platform.base import current_binding
from gqlplugin.runs import RetryPolicy
from gqlplugin.testing import MemoryPlatform
from tests.graphql.live import (
    PATIENCE_SECONDS,
    SUBSCRIPTION,
    Director,
    Socket,
    Update,
    brief,
    connected,
    directed_app,
    graphql_served,
)
from tests.graphql.shop import SECRET

pytestmark = pytest.mark.anyio


@dataclass
class Live:
    url: str
    platform: MemoryPlatform
    director: Director

    async def start(self, caller: User | None = None) -> str:
        return await self.platform.start_workflow("directed", "null", caller=caller or User())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """A run that has begun, and is ended."""
        run_id = await self.start()
        await self.director.tell("log", "begun")
        yield run_id
        await self.director.tell("end")


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    director, platform = Director(), MemoryPlatform()
    policy = RetryPolicy(max_retries=1, initial_backoff=timedelta(milliseconds=1))
    app = directed_app(director, policy)
    async with graphql_served(create_asgi(app, platform)) as url, asyncio.timeout(60):
        yield Live(url, platform, director)


async def until(updates: AsyncIterator[Update], what: str) -> list[Update]:
    """The updates up to one that tells of something."""
    seen: list[Update] = []
    async for update in updates:
        seen.append(update)
        if what in brief(update):
            return seen
    raise AssertionError(f"{what!r} is missing in {[brief(one) for one in seen]}")


def told(updates: list[Update]) -> list[str]:
    return [line for update in updates for line in brief(update)]


async def test_a_run_is_followed_to_its_end(live: Live) -> None:
    """First the run as it is, then every change as it comes, then the final status and the end."""
    run_id = await live.start()
    await live.director.tell("log", "one")
    async with connected(live.url) as socket:
        updates = socket.follow(run_id)
        first = await anext(updates)
        assert first["changes"] == []
        assert first["run"]["id"] == run_id
        while first["run"]["status"] != "RUNNING" or not first["run"]["jobs"]:  # it is recorded a moment later
            first = await anext(updates)
        for what, value, line in (
            ("log", "two", "main-job: two"),
            ("progress", (0.25, "a quarter"), "main-job at 0.25: a quarter"),
            ("job", ["three"], "main-job/step ends: SUCCESS"),
        ):
            await live.director.tell(what, value)
            seen = told(await until(updates, line))
        assert seen == ["main-job/step starts", "main-job/step: three", "main-job/step ends: SUCCESS"]
        await live.director.tell("end")
        last = [update async for update in updates]
    assert told(last) == ["main-job ends: SUCCESS", "SUCCESS"]
    assert last[-1]["run"]["status"] == "SUCCESS"
    assert [job["stackedName"] for job in last[-1]["run"]["jobs"]] == ["main-job", "main-job/step"]


async def test_coming_back_after_every_message_gives_no_gap_and_no_repeat(live: Live) -> None:
    """A client that leaves after each message, and comes back with its cursor, is told what another is that stays."""
    run_id = await live.start()
    async with connected(live.url) as staying, connected(live.url) as leaving:
        whole = staying.follow(run_id)
        first = await anext(whole)

        async def stay() -> list[Update]:
            return [update async for update in whole]

        async def come_back(after: str) -> list[str]:
            lines: list[str] = []
            for number in range(10_000):
                async with aclosing(leaving.follow(run_id, after, id=str(number))) as updates:
                    update = await anext(updates, None)
                if update is None:
                    return lines
                await leaving.complete(str(number))
                lines += brief(update)
                after = update["cursor"]
            raise AssertionError("The run does not end.")

        staying_task = asyncio.create_task(stay())
        leaving_task = asyncio.create_task(come_back(first["cursor"]))
        for number in range(40):
            await live.director.tell("log", f"line {number}")
            await live.director.tell("job", [f"step {number}", "done"])
            await asyncio.sleep(0.001 * (number % 7))
        await live.director.tell("end")
        lines, everything = await asyncio.gather(leaving_task, staying_task)
    assert sorted(lines) == sorted(told(everything))
    for kind in ("main-job: ", "main-job/step: "):
        of_kind = [line for line in lines if line.startswith(kind)]
        assert of_kind == [line for line in told(everything) if line.startswith(kind)]
        assert len(of_kind) == (40 if kind == "main-job: " else 80)
    assert lines.count("main-job/step starts") == lines.count("main-job/step ends: SUCCESS") == 40
    assert lines[-1] == "SUCCESS"


async def test_an_ended_run_is_shown_and_nothing_more(live: Live) -> None:
    """A snapshot, then the end; who has seen the end gets nothing but the end again."""
    async with connected(live.url) as socket:
        async with live.running() as run_id:
            updates = socket.follow(run_id)
            await anext(updates)
        last = [update async for update in updates][-1]
        assert [brief(update) async for update in socket.follow(run_id)] == [[]]
        assert [update async for update in socket.follow(run_id, last["cursor"])] == []


async def test_a_retry_and_a_resume_are_told(live: Live) -> None:
    """A job that is tried again starts again; a run that goes on after its end does so for an old cursor as well."""
    run_id = await live.start()
    async with connected(live.url) as socket:
        updates = socket.follow(run_id)
        shown = len((await anext(updates))["run"]["jobs"])
        await live.director.tell("log", "first")
        seen = await until(updates, "main-job: first")
        await live.director.tell("fail", "once")
        await live.director.tell("log", "second")
        seen += await until(updates, "main-job: second")
        await live.director.tell("fail", "twice")
        seen += [update async for update in updates]
        lines = told(seen)
        assert shown + lines.count("main-job starts") == 2
        assert lines[-2:] == ["main-job ends: FAILED", "FAILED"]
        await live.platform.resume(run_id)
        await live.director.tell("log", "third")
        updates = socket.follow(run_id, seen[-1]["cursor"])
        lines = told(await until(updates, "main-job: third"))
        assert "FAILED" not in lines
        assert lines[-3:] == ["RUNNING", "main-job starts", "main-job: third"]
        await live.director.tell("end")
        assert told([update async for update in updates]) == ["main-job ends: SUCCESS", "SUCCESS"]


async def refusal(socket: Socket, run_id: str, after: str | None = None) -> dict[str, object]:
    (message,) = [one async for one in socket.subscribe(SUBSCRIPTION, {"id": run_id, "after": after})]
    assert message["type"] == "error"
    (error,) = message["payload"]
    error.pop("locations", None)
    return dict(error)


async def test_a_cursor_that_is_none_is_refused(live: Live) -> None:
    """Garbage, and a cursor of another run: the client is told to begin with a snapshot."""
    async with live.running() as run_id, connected(live.url) as socket:
        other = await anext(socket.follow(await live.start(), id="other"))
        for after in ("garbage", other["cursor"]):
            error = await refusal(socket, run_id, after)
            assert error["extensions"] == {"code": "BAD_USER_INPUT"}
            assert error["path"] == ["workflowRunUpdates", "after"]
            assert "subscribe without `after`" in str(error["message"])
        await live.director.tell("end")


async def test_a_run_that_may_not_be_seen_looks_like_one_that_is_not_there(live: Live) -> None:
    """The answer for another caller's run is the one for an unknown ID, and for what is no ID."""
    run_id = await live.start(User(id="ann", type="user"))
    async with connected(live.url) as socket:
        answers = [await refusal(socket, one) for one in (run_id, str(uuid4()), "x", "../etc")]
    assert answers[0]["extensions"] == {"code": "NOT_FOUND"}
    assert answers == answers[:1] * 4
    await live.director.tell("end")


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def who(self, delay: int) -> AsyncIterator[str]:
        """The caller, as long as somebody listens; then an error that nobody is to read."""
        for _ in range(3):
            await asyncio.sleep(0.001 * delay)
            yield f"{current_binding().user.id} {delay}"
        raise RuntimeError(SECRET)


async def test_operations_of_a_connection_do_not_mix_and_errors_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    """Each operation has its caller's binding to its end, and what breaks in the middle says no more than that."""

    def authenticate(request: object) -> User:
        return User(id="ann", type="user")

    app = directed_app(Director())
    schema = create_schema(app, subscription=Subscription, policy=CallerPolicy())
    asgi = create_asgi(app, MemoryPlatform(), schema=schema, authenticate=authenticate)
    async with graphql_served(asgi) as url, connected(url) as socket, asyncio.timeout(PATIENCE_SECONDS):

        async def listen(delay: int) -> list[str]:
            query = f"subscription {{ who(delay: {delay}) }}"
            messages = [one async for one in socket.subscribe(query, id=str(delay))]
            assert [one["type"] for one in messages] == ["next"] * 4 + ["complete"]
            (error,) = messages[3]["payload"]["errors"]
            assert error["message"] == "Internal error"
            assert SECRET not in str(messages)
            return [one["payload"]["data"]["who"] for one in messages[:3]]

        for number, seen in enumerate(await asyncio.gather(*map(listen, range(8)))):
            assert seen == [f"ann {number}"] * 3
    caplog.clear()


async def test_a_connection_has_so_many_operations_and_no_more() -> None:
    """One more than the limit is refused with a code; when another ends there is room again."""
    director, platform = Director(), MemoryPlatform()
    app = directed_app(director)
    asgi = create_asgi(app, platform, limits=Limits(max_subscriptions=3))
    async with graphql_served(asgi) as url, connected(url) as socket:
        run_id = await platform.start_workflow("directed", "null", caller=User())
        followed = [socket.follow(run_id, id=f"f{number}") for number in range(3)]
        for updates in followed:
            await anext(updates)
        error = await refusal(socket, run_id)
        assert error["extensions"] == {"code": "LIMIT_EXCEEDED"}
        await socket.complete("f0")
        assert (await anext(socket.follow(run_id, id="again")))["changes"] == []
        await director.tell("end")
