"""Runs that are started with an ID of the caller's: asking again starts nothing."""

import asyncio
from typing import Literal

import pytest

from gqlplugin.auth import define_auth
from gqlplugin.errors import IdempotencyKeyReusedError, InvalidInputError
from gqlplugin.platform.base import Platform, uuid7
from tests.contract.support import ALICE, all_runs, echo_workflow, executing, output_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("given-ids")]

auth = define_auth("my-auth", Literal["manager", "auditor"])


async def test_a_platform_that_takes_ids_says_so(platform: Platform) -> None:
    """So that what triggers a run can know its ID before the run starts."""
    async with executing(platform, echo_workflow()):
        assert await platform.takes_run_ids()


async def test_a_run_has_the_id_it_was_started_with(platform: Platform) -> None:
    """The ID given is the run's, with everything else that was given."""
    run_id = uuid7()
    async with executing(platform, echo_workflow()):
        answer = await platform.start_workflow(
            "echo-it", "[1]", caller=ALICE, invoker=auth.invoker("manager"), run_id=run_id
        )
        assert answer == run_id
        assert await output_of(platform, run_id) == [1]
        run = await platform.get_execution(run_id)
        assert (run.caller, run.invoker) == (ALICE, auth.invoker("manager"))


async def test_a_run_that_is_there_is_not_started_again(platform: Platform) -> None:
    """The same start again, while the run is new and after it has ended, answers with the ID and starts nothing."""
    run_id = uuid7()
    async with executing(platform, echo_workflow()):
        for _ in range(2):
            assert await platform.start_workflow("echo-it", '{"a": 1}', caller=ALICE, run_id=run_id) == run_id
        ended = await output_of(platform, run_id)
        first = await platform.get_execution(run_id)
        assert await platform.start_workflow("echo-it", '{ "a":1 }', caller=ALICE, run_id=run_id) == run_id
        assert ended == {"a": 1}
        assert await all_runs(platform) == [first]


async def test_fifty_starts_at_once_with_one_id_are_one_run(platform: Platform) -> None:
    """Concurrent starts with one ID start one run, which runs once."""
    run_id = uuid7()
    async with executing(platform, echo_workflow()):
        answers = await asyncio.gather(
            *(platform.start_workflow("echo-it", "1", caller=ALICE, run_id=run_id) for _ in range(50))
        )
        assert set(answers) == {run_id}
        assert await output_of(platform, run_id) == 1
        assert len(await all_runs(platform)) == 1


@pytest.mark.parametrize(("name", "arg", "machine_user"), [("echo-it", "2", None), ("echo-two", "1", None)])
async def test_an_id_of_another_request_is_refused(platform: Platform, name: str, arg: str, machine_user: None) -> None:
    """An ID stands for one workflow and one argument: another start under it is an error, and the run stays."""
    run_id = uuid7()
    async with executing(platform, echo_workflow(), echo_workflow("echo-two")):
        await platform.start_workflow("echo-it", "1", caller=ALICE, run_id=run_id)
        with pytest.raises(IdempotencyKeyReusedError):
            await platform.start_workflow(name, arg, caller=ALICE, invoker=machine_user, run_id=run_id)
        assert await output_of(platform, run_id) == 1
        assert len(await all_runs(platform)) == 1


@pytest.mark.parametrize(
    "run_id", ["", "1", "00000000-0000-0000-0000-000000000000", "01A20153-73AA-77C6-8B84-D690F0855CEF"]
)
async def test_an_id_of_another_form_is_refused(platform: Platform, run_id: str) -> None:
    """Only what sorts by time can be a run's ID; nothing is started."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(InvalidInputError, match="UUID of version 7"):
            await platform.start_workflow("echo-it", "1", caller=ALICE, run_id=run_id)
        assert await all_runs(platform) == []
