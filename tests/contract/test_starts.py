"""Starting a run: what is kept of it, and what is refused."""

import asyncio
import json
from typing import Literal
from uuid import UUID

import pytest
from pydantic import BaseModel

from gqlplugin.auth import define_auth
from gqlplugin.errors import InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionStatus
from gqlplugin.workflow import create_workflow
from tests.contract.support import (
    ALICE,
    all_runs,
    app_of,
    echo_workflow,
    ended,
    executing,
    in_status,
    output_of,
    workflow_of,
)

pytestmark = pytest.mark.anyio

auth = define_auth("my-auth", Literal["manager"])
MANAGER = auth.invoker("manager")


class Order(BaseModel):
    order_id: str


class Seen(BaseModel):
    user: User
    invoker: AuthInvoker | None
    run_id: str
    workflow_name: str
    currency: str | int | float | bool


@create_workflow_job(name="look-around")
async def look_around(input: Order, ctx: JobContext) -> Seen:
    return Seen(
        user=ctx.user,
        invoker=ctx.invoker,
        run_id=ctx.run_id,
        workflow_name=ctx.workflow_name,
        currency=ctx.env["currency"],
    )


@create_workflow_job(name="look-deeper")
async def look_deeper(input: Order) -> Seen:
    return await look_around.trigger(input)


looking = create_workflow(name="looking", main_job=look_around)
looking_deeper = create_workflow(name="looking-deeper", main_job=look_deeper)


async def test_a_start_answers_with_a_uuid_of_a_run_that_succeeds(platform: Platform) -> None:
    """The ID of a run is a UUID, and the run ends with the main job's result as its output."""
    async with executing(platform, echo_workflow()):
        run_id = await platform.start_workflow("echo-it", '{"a": [1, null]}', caller=User())
        assert str(UUID(run_id)) == run_id
        assert await output_of(platform, run_id) == {"a": [1, None]}


@pytest.mark.needs("callers")
async def test_caller_invoker_and_input_are_kept(platform: Platform) -> None:
    """A run remembers who started it, under which invoker, and with what input."""
    async with executing(platform, echo_workflow()):
        run_id = await platform.start_workflow("echo-it", '{"a": "é"}', caller=ALICE, invoker=MANAGER)
        run = await ended(platform, run_id)
    assert (run.id, run.workflow_name, run.caller, run.invoker) == (run_id, "echo-it", ALICE, MANAGER)
    assert json.loads(run.input) == {"a": "é"}
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.created_at <= run.started_at <= run.finished_at
    assert (run.error, run.attempt, run.depth) == (None, 0, 0)


@pytest.mark.needs("callers")
@pytest.mark.parametrize("name", ["looking", "looking-deeper"])
async def test_jobs_see_who_started_the_run(platform: Platform, name: str) -> None:
    """Every job of a run sees its caller, invoker, ID, workflow and the app's env."""
    app = app_of(looking, looking_deeper, auth=auth, env={"currency": "EUR"})
    async with platform, platform.execute(app):
        run_id = await platform.start_workflow(name, '{"order_id": "1"}', caller=ALICE, invoker=MANAGER)
        seen = Seen.model_validate(await output_of(platform, run_id))
    assert seen == Seen(user=ALICE, invoker=MANAGER, run_id=run_id, workflow_name=name, currency="EUR")


async def test_an_anonymous_run_stays_anonymous(platform: Platform) -> None:
    """Without a caller and an invoker a job sees the anonymous user and None."""
    async with platform, platform.execute(app_of(looking, auth=auth, env={"currency": "EUR"})):
        run_id = await looking.trigger(Order(order_id="1"))
        seen = Seen.model_validate(await output_of(platform, run_id))
    assert seen.user.is_anonymous
    assert seen.invoker is None


async def test_a_run_started_before_anything_executes_runs_later(platform: Platform) -> None:
    """A start needs no executing process: the run is PENDING until there is one."""
    echo = echo_workflow()
    async with platform:
        run_id = await echo.trigger("early")
        assert (await platform.get_execution(run_id)).status is ExecutionStatus.PENDING
        async with platform.execute(app_of(echo)):
            assert await output_of(platform, run_id) == "early"


async def test_an_unknown_workflow_is_not_found(platform: Platform) -> None:
    """A name that the app does not have is NOT_FOUND, and nothing is started."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(NotFoundError, match="no-such"):
            await platform.start_workflow("no-such", "null", caller=ALICE)
        assert await all_runs(platform) == []


async def test_a_workflow_defined_elsewhere_is_unsupported(platform: Platform) -> None:
    """A workflow whose jobs are not Python can't run here, and nothing is started."""
    elsewhere = create_workflow(name="elsewhere", input=Order)
    async with executing(platform, elsewhere):
        with pytest.raises(UnsupportedError, match="elsewhere"):
            await elsewhere.trigger(Order(order_id="1"))
        assert await all_runs(platform) == []


REFUSED = {
    "empty": "",
    "cut off": '{"a": 1',
    "two values": "1 2",
    "single quotes": "{'a': 1}",
    "not a number": "NaN",
    "nested not a number": '{"a": [NaN]}',
    "infinity": "Infinity",
    "negative infinity": "[-Infinity]",
    "lone surrogate": '"\ud800"',
    "lone surrogate in a key": '{"\udfff": 1}',
    "escaped lone surrogate": '"\\ud800"',
    "nul": "\0",
    "raw control character": '"a\nb"',
    "nested too deep": "[" * 100_000,
    "a thousand levels": "[" * 1000 + "]" * 1000,
    "a byte too long": f'"{"x" * (1024 * 1024 - 1)}"',
    "too long in UTF-8 only": f'"{"é" * (512 * 1024)}"',
    "10 MB": f'"{"x" * 10_000_000}"',
}


@pytest.mark.parametrize("arg", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("key", [None, pytest.param("a-key", marks=pytest.mark.needs("idempotency"))])
async def test_arguments_that_are_not_json_start_nothing(platform: Platform, arg: str, key: str | None) -> None:
    """Text that isn't JSON, has numbers or characters JSON has no form for, or is over 1 MiB is refused."""
    async with executing(platform, echo_workflow()):
        with pytest.raises(InvalidInputError):
            await platform.start_workflow("echo-it", arg, caller=ALICE, idempotency_key=key)
        assert await all_runs(platform) == []


ACCEPTED: dict[str, object] = {
    "null": None,
    "exactly 1 MiB": "x" * (1024 * 1024 - 2),
    "nul": "\0",
    "astral": "\U0001f600",
    "a big integer": 10**40,
    "white space": " \n\t",
    "key of nothing": {"": ""},
    "nested": [[[[[[{}]]]]]],
}


@pytest.mark.parametrize("value", ACCEPTED.values(), ids=ACCEPTED)
async def test_any_json_up_to_the_limit_comes_back_the_same(platform: Platform, value: object) -> None:
    """What is JSON and at most 1 MiB reaches the job, and its result the caller, unchanged."""
    async with executing(platform, echo_workflow()):
        arg = json.dumps(value, ensure_ascii=False)
        assert await output_of(platform, await platform.start_workflow("echo-it", arg, caller=ALICE)) == value


@pytest.mark.needs("idempotency")
async def test_a_huge_number_is_refused_or_started_whole(platform: Platform) -> None:
    """With a key too, a number of thousands of digits either starts one run or none: never an error and a run."""
    async with executing(platform, echo_workflow()):
        try:
            await platform.start_workflow("echo-it", "1" * 5000, caller=ALICE, idempotency_key="a-key")
        except InvalidInputError:
            assert await all_runs(platform) == []
        else:
            assert len(await all_runs(platform)) == 1


async def test_a_bad_start_does_not_harm_those_beside_it(platform: Platform) -> None:
    """Starts that are refused or fail have no part in what happens to others at the same moment."""
    echo = echo_workflow()
    bad = User("\ud800", "user")
    async with executing(platform, echo):
        answers = await asyncio.gather(
            *(platform.start_workflow("echo-it", str(number), caller=ALICE) for number in range(5)),
            platform.start_workflow("echo-it", '"\udc00"', caller=ALICE),
            platform.start_workflow("echo-it", "1", caller=bad),
            platform.start_workflow("echo-it", "2", caller=bad, idempotency_key="a-key"),
            platform.start_workflow("echo-it", "3", caller=ALICE, idempotency_key="\udc00"),
            return_exceptions=True,
        )
        assert [await output_of(platform, run_id) for run_id in answers if isinstance(run_id, str)] == [0, 1, 2, 3, 4]
        assert [type(error) for error in answers[5:]] == [InvalidInputError] * 4


async def test_arguments_that_do_not_fit_the_model_start_nothing(platform: Platform) -> None:
    """`trigger` with arguments that aren't the main job's model is refused with the field's name."""
    order = workflow_of(look_around)
    async with executing(platform, order):
        with pytest.raises(InvalidInputError, match="order_id"):
            await order.trigger({"order": "1"})
        assert await all_runs(platform) == []


async def test_an_unknown_run_is_not_found(platform: Platform) -> None:
    """A run that isn't there is NOT_FOUND, whatever its ID looks like, and has no jobs."""
    async with executing(platform, echo_workflow()):
        for run_id in ("", "0", "00000000-0000-7000-8000-000000000000", "\0", "\ud800", "x" * 100_000):
            with pytest.raises(NotFoundError):
                await platform.get_execution(run_id)
            with pytest.raises(NotFoundError):
                await platform.resume(run_id)
            assert await platform.get_jobs([run_id]) == {run_id: []}


async def test_many_starts_at_once_all_run(platform: Platform) -> None:
    """Two hundred starts at once are two hundred runs with their own results."""
    async with executing(platform, echo_workflow()):
        run_ids = await asyncio.gather(
            *(platform.start_workflow("echo-it", str(number), caller=ALICE) for number in range(200))
        )
        assert len(set(run_ids)) == 200
        await in_status(platform, run_ids[-1], ExecutionStatus.SUCCESS)
        assert [await output_of(platform, run_id) for run_id in run_ids] == list(range(200))


async def test_a_platform_that_takes_starts_is_well(platform: Platform) -> None:
    """`check_health` returns while a platform is entered, and starts nothing."""
    async with executing(platform, echo_workflow()):
        await platform.check_health()
        assert await all_runs(platform) == []
