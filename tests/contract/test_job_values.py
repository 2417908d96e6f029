"""Values between jobs: what a caller gets is what crossed JSON, the first time as on a replay."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, field_serializer
from pydantic.alias_generators import to_camel

from gqlplugin.errors import InvalidInputError
from gqlplugin.job import WorkflowJob, create_workflow_job
from gqlplugin.platform.base import Platform
from tests.contract.support import executing, failed, jobs_of, output_of, workflow_of

pytestmark = pytest.mark.anyio


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    product_name: str
    price: Decimal
    at: datetime


@dataclass
class Point:
    x: float
    y: tuple[int, ...]


class Node(BaseModel):
    children: list["Node"] = []


LINE = Line.model_validate(
    {"productName": "tea", "price": "1.10", "at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)}
)

VALUES: dict[str, tuple[Any, object]] = {
    "datetime": (datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    "date": (date, date(2026, 1, 2)),
    "timedelta": (timedelta, timedelta(days=1, microseconds=5)),
    "decimal": (Decimal, Decimal("1.10")),
    "uuid": (UUID, UUID(int=7)),
    "enum": (Colour, Colour.RED),
    "model": (Line, LINE),
    "models": (dict[str, list[Line]], {"a": [LINE]}),
    "recursive model": (Node, Node(children=[Node(children=[Node()])])),
    "dataclass": (Point, Point(0.1, (1, 2))),
    "set": (set[int], {1, 2, 3}),
    "bytes": (bytes, b"text"),
    "tuple": (tuple[int, str], (1, "a")),
    "optional": (int | None, None),
    "text that looks like JSON": (str, '{"a": 1}'),
    "float": (float, 0.1 + 0.2),
    "big int": (int, 2**70),
}


@pytest.mark.parametrize(("type_", "value"), VALUES.values(), ids=VALUES)
async def test_values_keep_their_type_on_the_first_run_and_on_a_replay(
    platform: Platform, type_: Any, value: object
) -> None:
    """A result has its declared type and value when the job has just run, and when it answers from the record."""
    seen: list[object] = []

    async def body(input: Any) -> Any:
        assert type(input) is type(value)
        return input

    body.__annotations__ = {"input": type_, "return": type_}
    same: WorkflowJob[Any, Any] = create_workflow_job(name="same-value")(body)

    @create_workflow_job(name="main-job")
    async def main() -> None:
        seen.append(await same.trigger(value))
        if len(seen) == 1:
            raise RuntimeError("the first try fails")

    typed = workflow_of(main)
    async with executing(platform, typed):
        run_id = await typed.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        await output_of(platform, run_id)
    assert seen == [value, value]
    assert {type(one) for one in seen} == {type(value)}


async def test_untyped_values_cross_json_the_first_time_too(platform: Platform) -> None:
    """Without annotations a date is a string for the caller at once, not only after a replay."""
    seen: list[object] = []

    @create_workflow_job(name="untyped")
    async def untyped(input: Any) -> Any:
        return {"at": datetime(2026, 1, 2, tzinfo=UTC), "pair": (1, 2), 3: Decimal("1.5"), "input": input}

    @create_workflow_job(name="main-job")
    async def main() -> None:
        seen.append(await untyped.trigger({"day": date(2026, 1, 2)}))
        if len(seen) == 1:
            raise RuntimeError("the first try fails")

    loose = workflow_of(main)
    async with executing(platform, loose):
        run_id = await loose.trigger()
        await failed(platform, run_id)
        await platform.resume(run_id)
        await output_of(platform, run_id)
    expected = {"at": "2026-01-02T00:00:00Z", "pair": [1, 2], "3": "1.5", "input": {"day": "2026-01-02"}}
    assert seen == [expected, expected]


@pytest.mark.needs("inputs")
async def test_a_result_is_a_copy(platform: Platform) -> None:
    """Changing a result, or an argument after the trigger, changes nothing for the job or for the record."""

    @create_workflow_job(name="keeps-list")
    async def keeps(input: list[int]) -> list[int]:
        input.append(99)
        return input

    @create_workflow_job(name="main-job")
    async def main() -> list[list[int]]:
        mine = [1]
        result = await keeps.trigger(mine)
        result.append(100)
        return [mine, result]

    copying = workflow_of(main)
    async with executing(platform, copying):
        run_id = await copying.trigger()
        assert await output_of(platform, run_id) == [[1], [1, 99, 100]]
        job = (await jobs_of(platform, run_id))["main-job/keeps-list"]
    assert (job.input, job.result) == ("[1]", "[1,99]")


@pytest.mark.needs("inputs")
async def test_models_are_written_by_alias(platform: Platform) -> None:
    """Arguments and results on the platform carry the model's aliases, as a job in another language reads them."""

    @create_workflow_job(name="line-job")
    async def line(input: Line) -> Line:
        return input

    aliased = workflow_of(line)
    async with executing(platform, aliased):
        run_id = await aliased.trigger(LINE)
        output = await output_of(platform, run_id)
        run = await platform.get_execution(run_id)
    assert output["productName"] == "tea"
    assert '"productName"' in run.input


class Loose(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    value: float


class Tight(Loose):
    note: str


class Day(BaseModel):
    day: int

    @field_serializer("day")
    def shown(self, value: int) -> str:
        return f"day {value}"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def a_wrong_type() -> Any:
    return "not a number"


def a_nan() -> Any:
    return float("nan")


WRONG: dict[str, tuple[Any, Callable[[], Any]]] = {
    "another type": (int, a_wrong_type),
    "nan": (float, a_nan),
    "nan in a list": (list[float], lambda: [1.0, float("inf")]),
    "nan untyped": (Any, lambda: {"a": [float("nan")]}),
    "nan in a model that allows it": (Loose, lambda: Loose(value=float("nan"))),
    "an object": (Any, object),
    "a function": (Any, lambda: print),
    "a lone surrogate": (str, lambda: "\ud800"),
    "a lone surrogate untyped": (Any, lambda: {"\udc00": ["\ud800"]}),
    "bytes that are no text": (bytes, lambda: b"\xff"),
    "nothing for a model": (Line, lambda: None),
    "a changed model": (Loose, lambda: Loose.model_construct(value="s3cret")),
    "a subclass": (Loose, lambda: Tight(value=1, note="s3cret")),
    "a secret untyped": (Any, lambda: {"pin": SecretStr("s3cret")}),
    "what its type can't read": (Day, lambda: Day(day=1)),
    "deep json": (dict[str, Any], lambda: nested(201)),
}


@pytest.mark.needs("errors")
@pytest.mark.parametrize(("type_", "make"), WRONG.values(), ids=WRONG)
async def test_a_result_that_can_not_be_recorded_fails_the_run(
    platform: Platform, type_: Any, make: Callable[[], Any]
) -> None:
    """What is not JSON, or not of the declared type, fails the run with BAD_JOB_RESULT, and no value is told."""

    async def body() -> Any:
        return make()

    body.__annotations__ = {"return": type_}
    wrong: WorkflowJob[Any, Any] = create_workflow_job(name="wrong-result")(body)

    @create_workflow_job(name="main-job")
    async def main() -> None:
        await wrong.trigger()

    both = [workflow_of(main, "nested"), workflow_of(wrong, "direct")]
    async with executing(platform, *both):
        for workflow in both:
            run = await failed(platform, await workflow.trigger())
            assert run.error is not None
            assert run.error.code == "BAD_JOB_RESULT"
            assert "wrong-result" in run.error.message
            assert "s3cret" not in run.error.message
            assert "not a number" not in run.error.message
            assert run.output is None


@pytest.mark.needs("errors")
async def test_a_run_with_a_bad_result_is_resumed_after_a_fix(platform: Platform) -> None:
    """A result that could not be recorded is no success, so that a resume runs the job again."""
    made: list[Loose] = []

    @create_workflow_job(name="makes-it")
    async def makes() -> Loose:
        made.append(Loose(value=2) if made else Tight(value=1, note="lost"))
        return made[-1]

    @create_workflow_job(name="main-job")
    async def main() -> float:
        return (await makes.trigger()).value

    fixed = workflow_of(main)
    async with executing(platform, fixed):
        run_id = await fixed.trigger()
        run = await failed(platform, run_id)
        assert run.error is not None
        assert run.error.code == "BAD_JOB_RESULT"
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 2


class Hours:
    """What a validator looks at."""

    closed = False


def while_open(value: int) -> int:
    if Hours.closed:
        raise ValueError("closed")
    return value


Bid = Annotated[int, AfterValidator(while_open)]


class Offer(BaseModel):
    bids: list[Bid]


async def test_what_was_accepted_stays_accepted(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator that refuses by now what it took when a run began fails no replay of that run."""
    tries: list[int] = []

    @create_workflow_job(name="child-job")
    async def child(input: Bid) -> Bid:
        return input

    @create_workflow_job(name="other-job")
    async def other(input: Bid) -> None: ...

    started = workflow_of(other, "other-workflow")

    @create_workflow_job(name="main-job")
    async def main(input: Offer) -> int:
        bid = await child.trigger(input.bids[0])
        await started.trigger(bid)
        tries.append(bid)
        if len(tries) == 1:
            raise RuntimeError("the first try fails")
        return bid

    offering = workflow_of(main)
    async with executing(platform, offering, started):
        run_id = await offering.trigger(Offer(bids=[7]))
        await failed(platform, run_id)
        monkeypatch.setattr(Hours, "closed", True)
        await platform.resume(run_id)
        assert await output_of(platform, run_id) == 7
        with pytest.raises(InvalidInputError):
            await offering.trigger({"bids": [7]})
    assert tries == [7, 7]


async def test_an_input_that_does_not_fit_starts_no_job(platform: Platform) -> None:
    """`trigger` with an input of another type is refused at the call; the caller can go on."""

    @create_workflow_job(name="takes-int")
    async def takes_int(input: int) -> int:
        return input

    wrong: Any = "x"

    @create_workflow_job(name="main-job")
    async def main() -> str:
        try:
            await takes_int.trigger(wrong)
        except ValueError:
            return "another error"
        except Exception as error:
            return type(error).__name__
        return "none"

    checked = workflow_of(main)
    async with executing(platform, checked):
        run_id = await checked.trigger()
        assert await output_of(platform, run_id) == "InvalidInputError"
        assert list(await jobs_of(platform, run_id)) == ["main-job"]
