"""Listing runs: newest first, by any filter, in pages that neither repeat nor skip."""

import asyncio
from dataclasses import replace
from itertools import product

import pytest

from gqlplugin.errors import InvalidInputError
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import Allowance, ExecutionFilter, ExecutionStatus, Values, WorkflowExecution
from tests.contract.support import (
    ALICE,
    BOB,
    EVERYTHING,
    all_runs,
    app_of,
    echo_workflow,
    ended,
    executing,
    until,
    workflow_of,
)

pytestmark = pytest.mark.anyio


@create_workflow_job(name="fails-if-odd")
async def fails_if_odd(input: int) -> int:
    if input % 2:
        raise ValueError
    return input


async def pages(platform: Platform, where: ExecutionFilter, first: int) -> list[WorkflowExecution]:
    """A listing page by page."""
    found: list[WorkflowExecution] = []
    after: str | None = None
    while True:
        page = await platform.list_executions(where, first=first, after=after)
        assert len(page.executions) == len(page.cursors) <= first
        found += page.executions
        if not page.has_next:
            return found
        assert len(page.executions) == first
        after = page.cursors[-1]


async def test_runs_are_listed_newest_first(platform: Platform) -> None:
    """The last one started is the first one listed, whatever has become of it."""
    echo = echo_workflow()
    async with executing(platform, echo):
        run_ids = [await echo.trigger(number) for number in range(20)]
        assert [run.id for run in await all_runs(platform)] == run_ids[::-1]


async def test_a_listing_of_nothing_is_empty(platform: Platform) -> None:
    """An empty platform and a filter that nothing fits give an empty page without a next one."""
    async with executing(platform, echo_workflow()):
        for where in (EVERYTHING, ExecutionFilter(workflow_name="no-such"), ExecutionFilter(caller_id="\ud800")):
            page = await platform.list_executions(where, first=10)
            assert (list(page.executions), list(page.cursors), page.has_next) == ([], [], False)


@pytest.mark.needs("callers")
async def test_every_combination_of_filters_selects_exactly_what_fits(platform: Platform) -> None:
    """Workflow, status and caller narrow a listing together, in every combination and page size."""
    odd = workflow_of(fails_if_odd, "fails-if-odd")
    async with platform, platform.execute(app_of(odd, echo_workflow())):
        for number in range(24):
            name = ("fails-if-odd", "echo-it")[number // 2 % 2]
            await platform.start_workflow(name, str(number), caller=(ALICE, BOB, User())[number % 3])

        async def finished() -> bool:
            return all(run.status.is_final for run in await all_runs(platform))

        await until(finished)
        runs = await all_runs(platform)
        for workflow, status, caller_id in product(
            (None, "fails-if-odd", "echo-it"),
            (None, ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.WAITING),
            (None, "alice", "bob", "nobody"),
        ):
            fitting = [
                run
                for run in runs
                if workflow in (None, run.workflow_name)
                and status in (None, run.status)
                and caller_id in (None, run.caller.id)
            ]
            where = ExecutionFilter(workflow_name=workflow, status=status, caller_id=caller_id)
            for first in (1, 5, 100):
                assert await pages(platform, where, first) == fitting


@pytest.mark.parametrize("first", [1, 3, 4, 100])
async def test_the_oldest_run_first(platform: Platform, first: int) -> None:
    """A listing from the oldest run on has the same runs the other way round, page by page and with every filter."""
    odd, echo = workflow_of(fails_if_odd, "fails-if-odd"), echo_workflow()
    async with executing(platform, odd, echo):
        for number in range(8):
            await (odd, echo)[number // 2 % 2].trigger(number)

        async def finished() -> bool:
            return all(run.status.is_final for run in await all_runs(platform))

        await until(finished)
        for workflow, status in product(
            (None, "fails-if-odd", "no-such"), (None, ExecutionStatus.SUCCESS, ExecutionStatus.FAILED)
        ):
            where = ExecutionFilter(workflow_name=workflow, status=status)
            found = await pages(platform, replace(where, oldest_first=True), first)
            assert found == (await all_runs(platform, where))[::-1]


@pytest.mark.needs("counts")
async def test_runs_and_jobs_are_counted(platform: Platform) -> None:
    """A listing's runs are counted, whatever the size of a page, and the jobs of all runs."""
    odd, echo = workflow_of(fails_if_odd, "fails-if-odd"), echo_workflow()
    async with executing(platform, odd, echo):
        assert (await platform.count_executions(EVERYTHING), await platform.count_jobs()) == (0, 0)
        for number in range(5):
            await odd.trigger(number)
        await echo.trigger(0)

        async def finished() -> bool:
            return all(run.status.is_final for run in await all_runs(platform))

        await until(finished)
        for workflow, status in product(
            (None, "fails-if-odd", "no-such", "\ud800"), (None, ExecutionStatus.SUCCESS, ExecutionStatus.FAILED)
        ):
            where = ExecutionFilter(workflow_name=workflow, status=status)
            assert await platform.count_executions(where) == len(await all_runs(platform, where))
        jobs = await platform.get_jobs([run.id for run in await all_runs(platform)])
        assert await platform.count_jobs() == sum(map(len, jobs.values())) == 6


@pytest.mark.needs("callers")
@pytest.mark.parametrize("first", range(1, 7))
async def test_has_next_is_exact(platform: Platform, first: int) -> None:
    """There is a next page exactly when there are more runs."""
    async with executing(platform, echo_workflow()):
        for _ in range(5):
            await platform.start_workflow("echo-it", "1", caller=ALICE)
        for where in (EVERYTHING, ExecutionFilter(workflow_name="echo-it"), ExecutionFilter(caller_id="alice")):
            page = await platform.list_executions(where, first=first)
            assert len(page.executions) == min(first, 5)
            assert page.has_next is (first < 5)


async def test_pages_have_no_gap_and_no_repeat_while_runs_arrive(platform: Platform) -> None:
    """A walk through the pages sees every run that was there when it began, once, however many arrive meanwhile."""
    echo = echo_workflow()
    stop = asyncio.Event()

    async def keep_starting() -> None:
        for _ in range(100):
            await asyncio.gather(*(echo.trigger(0) for _ in range(3)))
            if stop.is_set():
                break

    async with executing(platform, echo):
        there = {await echo.trigger(number) for number in range(40)}
        starting = asyncio.create_task(keep_starting())
        for where in (EVERYTHING, ExecutionFilter(workflow_name="echo-it")):
            seen = [run.id for run in await pages(platform, where, 7)]
            assert len(seen) == len(set(seen))
            assert there <= set(seen)
        stop.set()
        await starting


async def test_a_cursor_continues_after_its_run(platform: Platform) -> None:
    """Each run of a page has its own cursor, and they stay good when newer runs arrive."""
    echo = echo_workflow()
    async with executing(platform, echo):
        run_ids = [await echo.trigger(number) for number in range(6)][::-1]
        page = await platform.list_executions(EVERYTHING, first=6)
        await echo.trigger(7)
        for index, cursor in enumerate(page.cursors):
            rest = await platform.list_executions(EVERYTHING, first=10, after=cursor)
            assert [run.id for run in rest.executions] == run_ids[index + 1 :]
            assert not rest.has_next


BAD_CURSORS = ["", " ", "x", "-1", "0", "0x1", "1_0", "٣", "é", "\0", "\ud800", "null", "9" * 400, "f" * 100_000]


@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=range(len(BAD_CURSORS)))
async def test_a_bad_cursor_is_refused(platform: Platform, cursor: str) -> None:
    """What this platform did not give out as a cursor is refused as bad input."""
    async with executing(platform, echo_workflow()):
        await platform.start_workflow("echo-it", "1", caller=ALICE)
        with pytest.raises(InvalidInputError, match="cursor"):
            await platform.list_executions(EVERYTHING, first=1, after=cursor)


@pytest.mark.needs("callers")
async def test_a_page_may_be_larger_than_what_there_is(platform: Platform) -> None:
    """Asking for a thousand runs of three is a page of three."""
    async with executing(platform, echo_workflow()):
        for _ in range(3):
            await platform.start_workflow("echo-it", "1", caller=ALICE)
        for where in (EVERYTHING, ExecutionFilter(caller_id="alice")):
            page = await platform.list_executions(where, first=1000)
            assert len(page.executions) == 3
            assert not page.has_next


@pytest.mark.parametrize("first", [-1, 0, 1001, 10**6])
async def test_a_page_of_an_impossible_size_is_refused(platform: Platform, first: int) -> None:
    """A page has 1 to 1000 runs."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(InvalidInputError, match="from 1 to 1000"):
            await platform.list_executions(EVERYTHING, first=first)


@pytest.mark.needs("inputs")
async def test_large_values_are_read_as_far_as_is_asked(platform: Platform) -> None:
    """Those that are not asked for or don't fit are left out, and named; the runs and jobs are listed all the same."""
    echo = echo_workflow()
    async with executing(platform, echo):
        ids = [await echo.trigger(10**99 + number) for number in range(4)]
        for run_id in ids:
            await ended(platform, run_id)
        where = ExecutionFilter(values=Values(frozenset({"input"}), Allowance(250)))
        runs = (await platform.list_executions(where, first=10)).executions
        assert [run.id for run in runs] == ids[::-1]
        assert sorted(len(run.input) for run in runs) == [4, 4, 100, 100]
        assert {run.output for run in runs} == {None}
        assert sorted(sorted(run.left_out) for run in runs) == [["input", "output"]] * 2 + [["output"]] * 2
        jobs = await platform.get_jobs(ids, values=Values(frozenset({"result"}), Allowance(350)))
        results = [job.result for run_id in ids for job in jobs[run_id]]
        assert [result is None for result in results].count(False) == 3
        everything = await platform.get_jobs(ids)
        assert all(job.result and not job.left_out for run_id in ids for job in everything[run_id])
