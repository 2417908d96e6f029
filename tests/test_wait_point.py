"""Definitions of wait points: what is found by itself, and what is refused."""

from typing import Any

import pytest
import strawberry
from pydantic import BaseModel, Field

from gqlplugin.app import define_app
from gqlplugin.checks import firing_name
from gqlplugin.errors import DefinitionError, FailedPreconditionError, InvalidInputError, PlatformNotBoundError
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionStatus, WaitFilter
from gqlplugin.testing import MemoryPlatform
from gqlplugin.wait_point import WaitPoint, define_wait_point, define_wait_points
from gqlplugin.workflow import create_workflow

pytestmark = pytest.mark.anyio


class Yes(BaseModel):
    yes: bool


class Note(BaseModel):
    text: str


legal = define_wait_point("legal-review", payload=Note, result=Yes)
standby = define_wait_point("standby", payload=str, result=str)


@define_wait_points
class Desk:
    front_office: WaitPoint[Note, Yes]
    back_office: WaitPoint[str, int]


async def by_function(note: Note) -> Yes:
    return await legal.wait(note)


@create_workflow_job(name="review")
async def review(note: Note) -> bool:
    first = await Desk.front_office.wait(note)
    return first.yes and (await by_function(note)).yes


async def on_schedule(args: ScheduleArgs) -> str:
    return await standby.wait(f"{args.scheduled_time:%Y}")


reviewing = create_workflow(name="reviewing", main_job=review)
nightly = create_executor("nightly", trigger=schedule_trigger("@daily"), operation=function_operation(on_schedule))


def test_wait_points_are_found_where_jobs_and_executors_name_them() -> None:
    """In a job, in a function that it calls, as attributes of a class, and in the function of an executor."""
    app = define_app("shop", workflows=[reviewing], executors=[nightly])
    assert dict(app.wait_points) == {"front-office": Desk.front_office, "legal-review": legal, "standby": standby}


def test_others_are_given() -> None:
    """Those that only a workflow defined elsewhere waits at; one that is also found is there once."""
    app = define_app("shop", workflows=[reviewing], wait_points=[Desk.back_office, legal])
    assert list(app.wait_points) == ["back-office", "legal-review", "front-office"]


async def test_the_function_of_an_executor_waits_like_a_job() -> None:
    """Its firing is WAITING until it is answered."""
    app = define_app("shop", executors=[nightly])
    async with MemoryPlatform() as platform, platform.execute(app):
        due = '{"scheduled_time": "2026-11-22T02:00:00Z"}'
        run_id = await platform.start_workflow(firing_name("nightly"), due, caller=executor_user("nightly"))
        async for run in platform.watch(run_id):
            if run.status is ExecutionStatus.WAITING:
                await standby.resolve(run_id, lambda payload: f"{payload}!")
        run = await platform.get_execution(run_id)
        assert run.status is ExecutionStatus.SUCCESS
        assert "2026!" in (run.output or "")
        assert not (await platform.list_waits(WaitFilter(), first=1)).waits


def test_a_namespace_names_its_wait_points_with_hyphens() -> None:
    """Their types are those of the annotations, and each knows where it was defined."""
    assert (Desk.back_office.name, Desk.back_office.payload.type, Desk.back_office.result.type) == (
        "back-office",
        str,
        int,
    )
    assert "test_wait_point.py" in str(Desk.front_office.source)
    assert repr(Desk.front_office) == "<WaitPoint 'front-office'>"


def test_an_annotation_that_is_no_wait_point_is_refused() -> None:
    """The error names the class, the attribute and what to write."""

    class Wrong:
        front_office: int

    with pytest.raises(DefinitionError, match=r"Wrong\.front_office .* WaitPoint\[Payload, Result\]"):
        define_wait_points(Wrong)


def test_malformed_and_doubled_names_are_refused() -> None:
    """All of them at once, with file and line."""
    points = [define_wait_point(name, payload=str, result=str) for name in ("Bad Name", "x", "twice", "twice")]
    with pytest.raises(DefinitionError) as caught:
        define_app("shop", wait_points=points)
    bad, short, twice = caught.value.problems
    assert "wait point name 'Bad Name'" in bad
    assert "wait point name 'x'" in short
    assert "two wait points are named 'twice'" in twice
    assert all("test_wait_point.py:" in one for one in caught.value.problems)


class OneWay(BaseModel):
    text: str = Field(serialization_alias="other")


def test_types_that_are_not_json_both_ways_are_refused() -> None:
    """A payload is written and read again, as is a result."""
    with pytest.raises(DefinitionError) as caught:
        define_app("shop", wait_points=[define_wait_point("odd-one", payload=OneWay, result=object())])  # type: ignore[arg-type]  # the mistake
    problems = "\n".join(caught.value.problems)
    assert "OneWay.text, in the payload of wait point 'odd-one'" in problems
    assert "the result of wait point 'odd-one'" in problems


async def test_waiting_is_for_jobs_of_an_app_that_has_the_wait_point() -> None:
    """Elsewhere it says what is missing; so does an answer where no platform is bound, or that doesn't fit."""
    with pytest.raises(FailedPreconditionError, match="only be waited at by a job"):
        await legal.wait(Note(text="x"))
    with pytest.raises(PlatformNotBoundError):
        await legal.resolve("run", Yes(yes=True))
    async with MemoryPlatform():
        with pytest.raises(InvalidInputError, match="result of wait point 'legal-review'"):
            await legal.resolve("run", "no")  # type: ignore[arg-type]  # the mistake


class WithRunId(BaseModel):
    run_id: str
    wait: str = Field(alias="waitId")


def problems_of(*points: WaitPoint[Any, Any], **options: Any) -> list[str]:
    """What is wrong with an app of these wait points, or with its schema."""
    mutation = options.pop("mutation", None)
    with pytest.raises(DefinitionError) as caught:
        create_schema(define_app("shop", wait_points=points, **options), mutation=mutation)
    return list(caught.value.problems)


def test_a_field_with_the_name_of_our_own_argument_is_refused() -> None:
    """The error names the argument, the field and the wait point; an alias mends it."""
    [one, two] = problems_of(define_wait_point("approval", payload=str, result=WithRunId))
    assert "'resolveApproval' would have two arguments 'runId'" in one
    assert "field 'run_id' of model" in one
    assert "wait point 'approval'" in one
    assert "'waitId'" in two


def test_wait_points_of_one_graphql_name_are_refused() -> None:
    """`step-2` and `step2` would be answered by one mutation."""
    points = [define_wait_point(name, payload=str, result=Yes) for name in ("step-2", "step2")]
    [problem] = problems_of(*points)
    assert "'step-2'" in problem
    assert "'step2'" in problem
    assert "'resolveStep2'" in problem


def test_a_mutation_of_the_name_of_an_answer_is_refused() -> None:
    """A resolver's, or a field of one's own type; a query of this name is no clash."""

    @create_resolver(name="resolveApproval", operation="mutation")
    async def mutation(ctx: ResolverContext[None]) -> bool:
        return True

    @create_resolver(name="resolveApproval", operation="query")
    async def query(ctx: ResolverContext[None]) -> bool:
        return True

    @strawberry.type
    class Mutation:
        resolve_approval: bool = True

    approval = define_wait_point("approval", payload=str, result=Yes)
    [problem] = problems_of(approval, resolvers=[mutation])
    assert "resolver 'resolveApproval'" in problem
    assert "wait point 'approval'" in problem
    [problem] = problems_of(approval, mutation=Mutation)
    assert "Mutation" in problem
    assert "wait point 'approval'" in problem
    create_schema(define_app("shop", wait_points=[approval], resolvers=[query]))


class PendingApproval(BaseModel):
    x: int


@pytest.mark.parametrize("name", ["wait-point", "wait-point-edge", "wait-point-connection"])
def test_a_wait_point_of_the_name_of_our_own_type_is_refused(name: str) -> None:
    """Strawberry would merge the two."""
    [problem] = problems_of(define_wait_point(name, payload=str, result=Yes))
    assert f"wait point {name!r}" in problem
    assert "a type of gqlplugin" in problem


def test_types_of_one_name_are_refused() -> None:
    """The type of a wait, that of a run, a model, and the input of a result."""
    workflow = create_workflow(name="pending-approval", input=str)
    [problem] = problems_of(define_wait_point("approval-run", payload=str, result=Yes), workflows=[workflow])
    assert "workflow 'pending-approval'" in problem
    assert "wait point 'approval-run'" in problem
    [problem] = problems_of(define_wait_point("approval", payload=PendingApproval, result=Yes))
    assert "the waits at 'approval'" in problem
    assert "test_wait_point.PendingApproval" in problem


class Nested(BaseModel):
    values: tuple[int, str]


def test_a_model_that_graphql_has_nothing_for_is_refused_by_name() -> None:
    """Its fields are the arguments, so that each needs a type."""
    [problem] = problems_of(define_wait_point("approval", payload=str, result=Nested))
    assert "the result of wait point 'approval'" in problem
    assert "field 'values'" in problem


def test_an_app_without_wait_points_has_no_fields_for_them() -> None:
    """What nobody needs is not in the schema."""
    sdl = str(create_schema(define_app("shop", workflows=[create_workflow(name="other", input=str)])))
    assert "PendingWaitPoint" not in sdl
    assert "pendingWaitPoints" in str(create_schema(define_app("shop", wait_points=[legal])))
