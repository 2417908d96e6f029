"""Many who follow one run: one read per change, nobody slowed by another, errors and ends for everybody."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.graphql.cursor import News, Seen
from gqlplugin.graphql.schema import create_schema
from gqlplugin.graphql.updates import Followers, WorkflowRunUpdate
from gqlplugin.identity import User
from gqlplugin.platform.base import Platform
from gqlplugin.runs import JobExecution, JobStatus, Values, WorkflowExecution
from gqlplugin.testing import MemoryPlatform
from tests.abandoned import Failing, nothing_reported
from tests.contract.support import until
from tests.graphql.live import SUBSCRIPTION, Director, brief, connected, directed_app, graphql_served
from tests.graphql.test_updates_changes import BEGIN, RUN_ID, RUNNING, SUCCESS, job_of, run_of

pytestmark = pytest.mark.anyio


class CountingPlatform(MemoryPlatform):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.runs_read = self.jobs_read = 0
        self.failure: Exception | None = None

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        self.runs_read += 1
        return await super().get_execution(run_id)

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        self.jobs_read += 1
        if self.failure is not None:
            raise self.failure
        return await super().get_jobs(run_ids, values=values)


async def test_five_hundred_followers_cost_one_read_per_change() -> None:
    """A change is read once, and its difference made once, for all who have seen the same."""
    director, platform = Director(), CountingPlatform()
    shows, told = 0, [0] * 500

    def show(run: WorkflowExecution, jobs: Sequence[JobExecution], news: News) -> int:
        nonlocal shows
        shows += 1
        return len(news.changes)

    followers = Followers(show)
    async with platform, platform.execute(directed_app(director)), asyncio.timeout(60):
        run_id = await platform.start_workflow("directed", "null", caller=User())

        async def follow(number: int) -> int:
            changes = 0
            async for count in followers.follow(platform, run_id, None):
                told[number] += 1
                changes += count
            return changes

        following = [asyncio.create_task(follow(number)) for number in range(500)]
        await director.tell("log", "begun")
        await until(lambda: asyncio.sleep(0, all(told)))
        await director.tell("job", ["warm"])
        before, messages = platform.runs_read + platform.jobs_read, sum(told)
        for number in range(10):
            last = min(told)
            await director.tell("job", [f"line {number}"])
            await until(lambda last=last: asyncio.sleep(0, min(told) > last))  # type: ignore[misc] # of the loop
        reads, messages = platform.runs_read + platform.jobs_read - before, sum(told) - messages
        await director.tell("end")
        assert len(set(await asyncio.gather(*following))) == 1
    assert messages >= 500 * 10
    assert reads <= 100  # each job is a few changes; of 500 followers none reads by itself
    assert shows <= platform.jobs_read + 1


async def test_what_is_asked_of_the_run_in_an_update_is_read_with_it() -> None:
    """The jobs that a client selects in each message cost no read of their own."""
    director, platform = Director(), CountingPlatform()
    schema = create_schema(directed_app(director), platform=platform)
    async with platform, platform.execute(directed_app(director)), asyncio.timeout(60):
        run_id = await platform.start_workflow("directed", "null", caller=User())
        await director.tell("log", "begun")

        async def follow() -> list[Any]:
            stream = await schema.subscribe(SUBSCRIPTION, {"id": run_id})
            return [cast(Any, result).data["workflowRunUpdates"] async for result in stream]

        following = [asyncio.create_task(follow()) for _ in range(20)]
        await until(lambda: asyncio.sleep(0, platform.jobs_read))
        await director.tell("job", ["one"])
        await director.tell("end")
        updates = await asyncio.gather(*following)
    assert all([job["logs"] for job in one[-1]["run"]["jobs"]][1] for one in updates)
    assert platform.jobs_read <= platform.runs_read - len(following)  # each has looked whether it may see the run


async def test_who_does_not_read_holds_nobody_up_and_gets_everything_later() -> None:
    """While 10,000 lines come, one client does not read: it costs the server one message, and misses nothing."""
    director, platform = Director(), MemoryPlatform()
    async with graphql_served(create_asgi(directed_app(director), platform)) as url, asyncio.timeout(60):
        run_id = await platform.start_workflow("directed", "null", caller=User())
        async with connected(url) as quick, connected(url, max_queue=1, compression=None) as slow:
            await director.tell("log", "begun")
            updates = quick.follow(run_id)
            first = (await anext(updates))["cursor"]
            slow.pause()
            held = slow.follow(run_id, first)
            reading = asyncio.create_task(anext(held))

            async def read_all() -> list[str]:
                return [line async for update in updates for line in brief(update)]

            quickly = asyncio.create_task(read_all())
            for number in range(20):
                await director.tell("job", [f"{number} {line} {'x' * 20}" for line in range(500)])
            gc.collect()
            alive = sum(isinstance(one, WorkflowRunUpdate) for one in gc.get_objects())
            assert alive < 10
            await director.tell("end")
            lines = await quickly
            assert not reading.done()
            slow.resume()
            late = brief(await reading) + [line async for update in held for line in brief(update)]
    steps = [line for line in lines if line.startswith("main-job/step: ")]
    assert len(steps) == 10_000
    assert [line for line in late if line.startswith("main-job/step: ")] == steps
    assert late[-1] == "SUCCESS"


async def test_each_follower_gets_an_error_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    """What breaks the reading ends every subscription, and is masked unless it is for clients."""
    director, platform = Director(), CountingPlatform()
    app = directed_app(director)
    schema = create_schema(app, platform=platform)
    async with platform, platform.execute(app), asyncio.timeout(60):
        for failure, code in (
            (PlatformUnavailableError(), "PLATFORM_UNAVAILABLE"),
            (RuntimeError("postgres://secret"), "INTERNAL"),
        ):
            run_id = await platform.start_workflow("directed", "null", caller=User())
            streams = [await schema.subscribe(SUBSCRIPTION, {"id": run_id}) for _ in range(3)]
            for stream in streams:
                await anext(stream)
            platform.failure = failure
            await director.tell("job", ["x"])
            for stream in streams:
                result: Any = await anext(stream)
                assert result.data is None
                assert [error.extensions["code"] for error in result.errors] == [code]
                assert "secret" not in str(result.errors)
                assert [one async for one in stream] == []
            platform.failure = None
            await director.tell("end")
    caplog.clear()


async def test_a_platform_that_is_closed_ends_the_subscriptions() -> None:
    """Those who follow are told that the platform can't answer."""
    platform = MemoryPlatform()
    schema = create_schema(directed_app(Director()), platform=platform)
    async with platform, asyncio.timeout(60):
        run_id = await platform.start_workflow("directed", "null", caller=User())
        stream = await schema.subscribe(SUBSCRIPTION, {"id": run_id})
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
    result: Any = await waiting
    assert [error.extensions["code"] for error in result.errors] == ["PLATFORM_UNAVAILABLE"]


class LaggingPlatform:
    """Tells of a run only when it is told to, however it has changed."""

    def __init__(self, run: WorkflowExecution, jobs: Sequence[JobExecution]) -> None:
        self.run, self.jobs = run, jobs
        self.noticed = asyncio.Event()
        self.watches = 0

    async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        self.watches += 1
        try:
            while True:
                yield self.run
                await self.noticed.wait()
                self.noticed.clear()
        finally:
            self.watches -= 1

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        return dict.fromkeys(run_ids, self.jobs)


def told(run: WorkflowExecution, jobs: Sequence[JobExecution], news: News) -> tuple[Seen, list[str]]:
    del run, jobs
    return news.seen, [type(change).__name__ for change in news.changes]


@asynccontextmanager
async def lagging() -> AsyncIterator[tuple[LaggingPlatform, Followers[Any], Platform]]:
    platform = LaggingPlatform(run_of(RUNNING), [job_of("0", JobStatus.RUNNING, 1)])
    yield platform, Followers(told), cast(Platform, platform)
    async with asyncio.timeout(60):
        while platform.watches:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


async def test_who_comes_back_is_not_told_what_is_older_than_what_they_have_seen() -> None:
    """A cursor from elsewhere may be ahead of what was noticed here: the run is read anew for it."""
    async with lagging() as (source, followers, platform):
        here = followers.follow(platform, RUN_ID, None)
        await anext(here)
        source.jobs = [
            job_of("0", JobStatus.RUNNING, 1, None, "a line"),
            job_of("0.0", JobStatus.SUCCESS, 2, 3),
        ]
        elsewhere = Followers(told).follow(platform, RUN_ID, None)
        seen, _ = await anext(elsewhere)
        back = followers.follow(platform, RUN_ID, seen)
        source.run = run_of(SUCCESS, finished_at=BEGIN + timedelta(seconds=4))
        source.jobs = [job_of("0", JobStatus.SUCCESS, 1, 4, "a line"), source.jobs[1]]
        assert [names async for _, names in back] == [["JobEnd", "StatusChange"]]
        assert [names async for _, names in here] == [
            ["JobLogLine", "JobStart", "JobEnd", "JobEnd", "StatusChange"],
        ]
        await elsewhere.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_who_comes_after_the_end_is_not_told_of_it_when_the_run_goes_on() -> None:
    """While one still reads the end, the run is resumed: another one who comes then is told how it goes on."""
    async with lagging() as (source, followers, platform):
        source.run = run_of(SUCCESS, finished_at=BEGIN)
        slow = followers.follow(platform, RUN_ID, None)
        await anext(slow)
        source.run = run_of(RUNNING)
        late = followers.follow(platform, RUN_ID, None)
        seen, _ = await anext(late)
        assert seen.status is RUNNING
        assert [one async for one in slow] == []
        await late.aclose()  # type: ignore[attr-defined] # it is a generator


async def test_a_watch_that_stops_before_the_end_is_an_error() -> None:
    """Nobody waits for ever on a platform that says no more; each gets an error of their own."""

    class Silent(LaggingPlatform):
        async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
            yield self.run

    platform = cast(Platform, Silent(run_of(RUNNING), []))
    followers = Followers(told)
    every = [followers.follow(platform, RUN_ID, None) for _ in range(3)]
    for updates in every:
        await anext(updates)
    errors = await asyncio.gather(*map(anext, every), return_exceptions=True)
    assert all(isinstance(error, PlatformUnavailableError) for error in errors)
    assert len(set(map(id, errors))) == 3


async def test_a_watch_that_fails_as_the_last_follower_leaves_is_not_reported() -> None:
    """Nobody is left to be told."""
    failing = Failing()

    class Breaking(LaggingPlatform):
        async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
            yield self.run
            await failing()

    followers = Followers(told)
    with nothing_reported():
        updates = followers.follow(cast(Platform, Breaking(run_of(RUNNING), [])), RUN_ID, None)
        await anext(updates)
        [hub] = followers._hubs.values()
        await failing.fail_while_cancelling(hub._task)
        await updates.aclose()  # type: ignore[attr-defined] # it is a generator
        del hub, updates
