"""Idempotency keys: the same request twice is one run."""

import asyncio
from typing import Literal

import pytest

from gqlplugin.auth import define_auth
from gqlplugin.errors import IdempotencyKeyReusedError, InvalidInputError
from gqlplugin.identity import User
from gqlplugin.platform.base import Binding, Platform, bind
from tests.contract.support import ALICE, BOB, all_runs, echo_workflow, executing, output_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("idempotency")]

auth = define_auth("my-auth", Literal["manager", "auditor"])


async def test_the_same_request_with_the_same_key_is_one_run(platform: Platform) -> None:
    """The same key, workflow, arguments and invoker answer with the same ID, before and after the run has ended."""
    async with executing(platform, echo_workflow()):

        async def start(arg: str) -> str:
            return await platform.start_workflow(
                "echo-it", arg, caller=ALICE, invoker=auth.invoker("manager"), idempotency_key="k"
            )

        first = await start('{"a": 1, "b": [2]}')
        again = await start('{ "b":[2],"a":1 }')
        await output_of(platform, first)
        later = await start('{"a": 1, "b": [2]}')
        assert {again, later} == {first}
        assert len(await all_runs(platform)) == 1


async def test_fifty_starts_at_once_with_one_key_are_one_run(platform: Platform) -> None:
    """Concurrent starts with one key all answer with the one run that there is."""
    async with executing(platform, echo_workflow()):
        run_ids = await asyncio.gather(
            *(platform.start_workflow("echo-it", "1", caller=ALICE, idempotency_key="k") for _ in range(50))
        )
        assert await output_of(platform, run_ids[0]) == 1
        assert len(set(run_ids)) == 1
        assert len(await all_runs(platform)) == 1


@pytest.mark.parametrize(
    ("name", "arg", "invoker"),
    [
        ("echo-it", "2", "manager"),
        ("echo-it", "true", "manager"),
        ("echo-it", '"1"', "manager"),
        ("echo-two", "1", "manager"),
        ("echo-it", "1", "auditor"),
        ("echo-it", "1", None),
    ],
)
async def test_a_key_used_for_another_request_is_refused(
    platform: Platform, name: str, arg: str, invoker: Literal["manager", "auditor"] | None
) -> None:
    """Other arguments, another workflow or another invoker under a used key are refused, and start nothing."""
    async with executing(platform, echo_workflow(), echo_workflow("echo-two")):
        first = await platform.start_workflow(
            "echo-it", "1", caller=ALICE, invoker=auth.invoker("manager"), idempotency_key="k"
        )
        with pytest.raises(IdempotencyKeyReusedError):
            await platform.start_workflow(
                name,
                arg,
                caller=ALICE,
                invoker=None if invoker is None else auth.invoker(invoker),
                idempotency_key="k",
            )
        assert [run.id for run in await all_runs(platform)] == [first]


async def test_one_of_two_different_requests_at_once_wins(platform: Platform) -> None:
    """Two requests under one key at the same moment: one runs, the other is refused."""
    async with executing(platform, echo_workflow()):
        answers = await asyncio.gather(
            *(platform.start_workflow("echo-it", arg, caller=ALICE, idempotency_key="k") for arg in "12"),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["IdempotencyKeyReusedError", "str"]
        assert len(await all_runs(platform)) == 1


async def test_a_key_is_the_callers_own(platform: Platform) -> None:
    """Two callers with the same key have a run each, whatever they ask for."""
    async with executing(platform, echo_workflow()):
        run_ids = [
            await platform.start_workflow("echo-it", arg, caller=caller, idempotency_key="k")
            for caller, arg in ((ALICE, "1"), (BOB, "2"), (User(), "3"))
        ]
        assert [await output_of(platform, run_id) for run_id in run_ids] == [1, 2, 3]


@pytest.mark.parametrize("length", [1, 255])
async def test_keys_of_any_characters_are_taken(platform: Platform, length: int) -> None:
    """1 to 255 characters, of any script."""
    async with executing(platform, echo_workflow()):
        keys = ["k" * length, "\0" * length, "\U0001f600" * length, "é" * length]
        run_ids = {await platform.start_workflow("echo-it", "1", caller=ALICE, idempotency_key=key) for key in keys}
        assert len(run_ids) == 4


@pytest.mark.parametrize("length", [0, 256, 1_000_000])
async def test_keys_that_are_empty_or_too_long_are_refused(platform: Platform, length: int) -> None:
    """No characters, or more than 255: refused, and nothing started."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(InvalidInputError, match="key"):
            await platform.start_workflow("echo-it", "1", caller=ALICE, idempotency_key="k" * length)
        assert await all_runs(platform) == []


async def test_a_start_without_a_key_is_always_a_run(platform: Platform) -> None:
    """Without a key two equal requests are two runs."""
    async with executing(platform, echo_workflow()):
        run_ids = {await platform.start_workflow("echo-it", "1", caller=ALICE) for _ in range(2)}
        assert len(run_ids) == 2


async def test_a_refused_start_does_not_use_up_its_key(platform: Platform) -> None:
    """A key sent with arguments that are refused can be sent again with good ones."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(InvalidInputError):
            await platform.start_workflow("echo-it", "{", caller=ALICE, idempotency_key="k")
        assert await platform.start_workflow("echo-it", "1", caller=ALICE, idempotency_key="k")


async def test_trigger_passes_the_key_of_the_caller_that_is_bound(platform: Platform) -> None:
    """`workflow.trigger(idempotency_key=...)` is the bound caller's key."""
    echo = echo_workflow()
    async with executing(platform, echo):
        run_ids = []
        for user in (ALICE, ALICE, BOB):
            with bind(Binding(platform, user=user)):
                run_ids.append(await echo.trigger(1, idempotency_key="k"))
    assert run_ids[0] == run_ids[1] != run_ids[2]
