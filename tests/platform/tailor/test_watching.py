"""Watching by asking: changes only, seldom while nothing happens, once for all who watch."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from gqlplugin.errors import NotFoundError, PlatformUnavailableError
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.runs import ExecutionStatus, WorkflowExecution
from tests.own_time import in_own_time, running_loop
from tests.platform.tailor.fake import RUN, FakeTailor, connect_error, run

pytestmark = [pytest.mark.anyio, in_own_time]


class Run:
    """The run that the server has; `looks` is how often it was asked for."""

    def __init__(self, fake: FakeTailor) -> None:
        self.status = 3
        self.fake = fake
        self.times: list[float] = []
        fake.on["GetWorkflowExecution"] = self.answer

    def answer(self, _: dict[str, Any]) -> dict[str, Any]:
        self.times.append(running_loop().time())
        return {"execution": run(self.status)}

    @property
    def looks(self) -> int:
        return len(self.fake.calls("GetWorkflowExecution"))

    async def looked_at(self, more: int) -> None:
        """Wait until it was asked for so many more times."""
        wanted = self.looks + more
        async with asyncio.timeout(60):
            while self.looks < wanted:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)


async def all_of(platform: TailorPlatform) -> list[WorkflowExecution]:
    async with asyncio.timeout(60):
        return [one async for one in platform.watch(RUN)]


async def test_a_watch_tells_changes_and_ends(fake: FakeTailor) -> None:
    """What stays as it is is told once; the final status is the last thing told."""
    statuses = iter([1, 1, 1, 3, 3, 3, 3, 5])
    fake.on["GetWorkflowExecution"] = lambda _: {"execution": run(next(statuses))}
    async with fake.platform() as platform:
        seen = [one.status for one in await all_of(platform)]
    assert seen == [ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.FAILED]


async def test_an_ended_or_unknown_run_is_asked_for_once(fake: FakeTailor) -> None:
    """There is nothing to wait for."""
    there = Run(fake)
    there.status = 5
    async with fake.platform() as platform:
        assert [one.status for one in await all_of(platform)] == [ExecutionStatus.FAILED]
        assert there.looks == 1
        fake.queue("GetWorkflowExecution", connect_error("not_found"))
        with pytest.raises(NotFoundError):
            await all_of(platform)


async def test_many_watchers_share_their_looks(fake: FakeTailor) -> None:
    """Fifty who watch one run ask hardly more often than one does, and all see its end."""
    there = Run(fake)
    async with fake.platform() as platform:
        watchers = [asyncio.create_task(all_of(platform)) for _ in range(50)]
        await there.looked_at(50)
        before = there.looks
        await there.looked_at(10)
        assert there.looks - before < 50
        there.status = 5
        for seen in await asyncio.gather(*watchers):
            assert [one.status.value for one in seen] == ["RUNNING", "FAILED"]


async def test_a_watcher_that_goes_leaves_the_others(fake: FakeTailor) -> None:
    """When one stops, the others go on; when the last has stopped, nobody asks any more."""
    there = Run(fake)
    async with fake.platform() as platform:
        watchers = [asyncio.create_task(all_of(platform)) for _ in range(2)]
        await there.looked_at(4)
        watchers[0].cancel()
        await there.looked_at(3)
        watchers[1].cancel()
        await asyncio.wait(watchers)
        watch = platform.watch(RUN)
        await anext(watch)
        before = there.looks
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await there.looked_at(2)
        await watch.aclose()  # type: ignore[attr-defined] # an async generator
    assert there.looks <= before + 1


async def test_looks_become_seldom_and_often_again(fake: FakeTailor) -> None:
    """While nothing changes the waits grow to the longest; a change, and another watcher, bring the shortest back."""
    there = Run(fake)
    options = {"poll_interval": timedelta(milliseconds=20), "max_poll_interval": timedelta(seconds=60)}
    async with fake.platform(**options) as platform:
        first = asyncio.create_task(all_of(platform))
        await there.looked_at(7)
        waits = [later - earlier for earlier, later in pairwise(there.times)]
        assert waits == pytest.approx([0.02 * 1.5**number for number in (0, *range(5))], rel=0.1)
        came = running_loop().time()
        second = asyncio.create_task(all_of(platform))
        await there.looked_at(2)
        assert running_loop().time() - came == pytest.approx(0.02, rel=0.1)
        await there.looked_at(10)
        there.status = 2
        await there.looked_at(1)
        changed = there.times[-1]
        await there.looked_at(1)
        assert there.times[-1] - changed == pytest.approx(0.02, rel=0.1)
        there.status = 5
        await asyncio.gather(first, second)


async def test_the_wait_has_a_limit(fake: FakeTailor) -> None:
    """However long nothing happens, the run is asked for after the longest wait."""
    there = Run(fake)
    async with fake.platform() as platform:
        watcher = asyncio.create_task(all_of(platform))
        await there.looked_at(30)
        assert max(later - earlier for earlier, later in pairwise(there.times)) == pytest.approx(0.02, rel=0.1)
        there.status = 5
        await watcher


async def test_a_few_failures_are_tolerated(fake: FakeTailor) -> None:
    """A platform that can't answer for a moment does not end a watch; one that can't for long does."""
    there = Run(fake)
    async with fake.platform() as platform:
        watch = platform.watch(RUN)
        await anext(watch)
        fake.queue("GetWorkflowExecution", *(connect_error("unknown") for _ in range(4)))
        there.status = 2
        async with asyncio.timeout(60):
            assert (await anext(watch)).status is ExecutionStatus.PENDING_RESUME
            fake.on["GetWorkflowExecution"] = lambda _: connect_error("unknown")
            with pytest.raises(PlatformUnavailableError):
                await anext(watch)
            there.status = 5
            Run(fake).status = 5
            assert [one.status.value for one in await all_of(platform)] == ["FAILED"]


async def test_another_error_ends_the_watch_for_all(fake: FakeTailor) -> None:
    """A run that is gone is told to everybody who watches it."""
    there = Run(fake)
    async with fake.platform() as platform:
        watchers = [asyncio.create_task(all_of(platform)) for _ in range(3)]
        await there.looked_at(5)
        fake.on["GetWorkflowExecution"] = lambda _: connect_error("not_found")
        async with asyncio.timeout(60):
            errors = await asyncio.gather(*watchers, return_exceptions=True)
    assert [type(error) for error in errors] == [NotFoundError] * 3
    assert len({id(error) for error in errors}) == 3


@pytest.mark.parametrize("looking", [False, True])
async def test_closing_ends_watches_at_once(fake: FakeTailor, looking: bool) -> None:
    """Who watches when the platform is closed is told so, not at the next look."""
    there = Run(fake)
    long = {"poll_interval": timedelta(seconds=60), "max_poll_interval": timedelta(seconds=60)}
    async with fake.platform(**({} if looking else long)) as platform:
        watch = platform.watch(RUN)
        await anext(watch)
        rest = asyncio.ensure_future(anext(watch))
        if looking:
            fake.slow["GetWorkflowExecution"] = asyncio.Event()
            await there.looked_at(1)
        await asyncio.sleep(0)
        closed = running_loop().time()
    with pytest.raises(PlatformUnavailableError):
        await rest
    assert running_loop().time() == closed


async def test_closing_ends_a_watch_that_has_not_begun(fake: FakeTailor) -> None:
    """The same for one that still waits for its first answer."""
    there = Run(fake)
    fake.slow["GetWorkflowExecution"] = asyncio.Event()
    async with fake.platform() as platform:
        first = asyncio.ensure_future(anext(platform.watch(RUN)))
        await there.looked_at(1)
        closed = running_loop().time()
    with pytest.raises(PlatformUnavailableError):
        await first
    assert running_loop().time() == closed


async def test_idle_watchers_cost_little(fake: FakeTailor) -> None:
    """Ten who watch an idle run leave the process idle: it does no more than to ask now and then."""
    there, loop = Run(fake), running_loop()
    always = {"poll_interval": timedelta(milliseconds=50), "max_poll_interval": timedelta(milliseconds=50)}
    async with fake.platform(**always) as platform:
        watchers = [asyncio.create_task(all_of(platform)) for _ in range(10)]
        await there.looked_at(11)
        looks, turns = there.looks, loop.turns
        await asyncio.wait(watchers, timeout=5)
        assert there.looks - looks <= 100
        assert loop.turns - turns <= 50 * (there.looks - looks)
        there.status = 5
        await asyncio.gather(*watchers)


async def test_who_comes_during_the_last_look_is_told_the_end(fake: FakeTailor) -> None:
    """A watcher that joins while the server is asked, and the answer is the end, does not wait for another one."""
    there, answer = Run(fake), asyncio.Event()
    async with fake.platform() as platform, asyncio.timeout(60):
        first, second = platform.watch(RUN), platform.watch(RUN)
        for watch in (first, second):
            assert (await anext(watch)).status is ExecutionStatus.RUNNING
        there.status = 4
        fake.slow["GetWorkflowExecution"] = answer
        before = len(fake.received)
        ends = [asyncio.ensure_future(anext(first))]
        while len(fake.received) == before:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        ends.append(asyncio.ensure_future(anext(second)))
        await asyncio.sleep(0)
        answer.set()
        assert [one.status for one in await asyncio.gather(*ends)] == [ExecutionStatus.SUCCESS] * 2
