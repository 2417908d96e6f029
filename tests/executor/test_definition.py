"""Executors as they are defined: what fits an app, and what `define_app` says of what doesn't."""

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from gqlplugin.app import define_app, discover
from gqlplugin.auth import define_auth
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.executor import (
    Executor,
    Operation,
    ScheduleArgs,
    create_executor,
    function_operation,
    graphql_operation,
    incoming_webhook_trigger,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.job import create_workflow_job
from gqlplugin.secret import secret
from gqlplugin.workflow import Workflow, create_workflow

auth = define_auth("my-auth", Literal["manager"])


class Sync(BaseModel):
    year: int


@create_workflow_job(name="sync")
async def sync(input: Sync) -> int:
    return input.year


@create_workflow_job(name="sweep")
async def sweep() -> None: ...


syncing: Workflow[Sync, int] = create_workflow(name="syncing", main_job=sync)
sweeping: Workflow[None, None] = create_workflow(name="sweeping", main_job=sweep)


def nightly(operation: Operation[ScheduleArgs], name: str = "nightly", **options: Any) -> Executor[ScheduleArgs]:
    return create_executor(name, trigger=schedule_trigger("@daily"), operation=operation, **options)


def problems_of(*executors: Executor[Any], **options: Any) -> str:
    with pytest.raises(DefinitionError) as raised:
        define_app("executors", executors=executors, **options)
    return str(raised.value)


def test_an_app_has_a_firing_for_each_executor() -> None:
    """Platforms find the firings under the names of their runs, and the schedules of those that are enabled."""
    executors = [nightly(workflow_operation(sweeping)), nightly(workflow_operation(sweeping), "off", disabled=True)]
    app = define_app("executors", workflows=[sweeping], executors=executors)
    assert list(app.firings) == ["executor/nightly", "executor/off"]
    assert list(app.schedules) == ["executor/nightly"]
    assert list(app.workflows) == ["sweeping"]


def test_jobs_that_only_a_function_names_are_found() -> None:
    """What a function of an executor triggers need not be registered."""

    async def body(args: ScheduleArgs) -> None:
        await sync.trigger(Sync(year=args.scheduled_time.year))

    app = define_app("executors", executors=[nightly(function_operation(body))])
    assert list(app.jobs) == ["sync"]
    assert app.jobs_of("executor/nightly") == ["nightly", "sync"]


@pytest.mark.parametrize("name", ["", "x", "No", "a_b", "x" * 64])
def test_a_malformed_name_is_told_with_its_place(name: str) -> None:
    """The names of executors are as those of workflows."""
    executor = nightly(workflow_operation(sweeping), name)
    problem = problems_of(executor, workflows=[sweeping])
    assert f"executor name {name!r} is not valid" in problem
    assert str(executor.source) in problem


def test_two_executors_of_one_name_are_told_with_both_places() -> None:
    """Names are unique among the executors of an app."""
    first, second = nightly(workflow_operation(sweeping)), nightly(workflow_operation(sweeping))
    problem = problems_of(first, second, workflows=[sweeping])
    assert f"two executors are named 'nightly': {first.source} and {second.source}" in problem


def test_a_workflow_that_is_not_registered_is_told() -> None:
    """An executor starts workflows of its own app."""
    problem = problems_of(nightly(workflow_operation(sweeping)))
    assert "executor 'nightly' starts workflow 'sweeping', which is not in define_app(workflows=[...])" in problem


def test_another_workflow_of_the_same_name_is_not_the_one() -> None:
    """What counts is the definition, not its name."""
    another = create_workflow(name="sweeping", main_job=sweep)
    assert "which is not in define_app" in problems_of(nightly(workflow_operation(another)), workflows=[sweeping])


def test_an_unknown_machine_user_is_told() -> None:
    """A misspelt invoker is found when the app is defined, not in the night."""
    executor = nightly(workflow_operation(sweeping, auth_invoker="manger"))
    assert "'manger' is not defined in auth 'my-auth'" in problems_of(executor, workflows=[sweeping], auth=auth)


def test_a_machine_user_without_auth_is_told() -> None:
    """An app without auth has nobody to run as."""
    executor = nightly(workflow_operation(sweeping, auth_invoker="manager"))
    assert "has no auth" in problems_of(executor, workflows=[sweeping])


@pytest.mark.parametrize("args", [None, {"year": "MMXXVI"}, 5])
def test_static_args_that_do_not_fit_are_told(args: Any) -> None:
    """Arguments that are known beforehand are checked beforehand."""
    executor = nightly(workflow_operation(syncing, args=args))
    assert "executor 'nightly' has args that don't fit" in problems_of(executor, workflows=[syncing])


@pytest.mark.parametrize("workflow", [syncing, "syncing"])
def test_a_workflow_may_be_named_and_its_args_be_json(workflow: Any) -> None:
    """`workflow_operation` takes the name of a workflow, and static `args` as JSON text."""
    operation: Operation[ScheduleArgs] = workflow_operation(workflow, args='{"year": 2026}')
    define_app("executors", workflows=[syncing], executors=[nightly(operation)])
    assert operation.detail == "syncing"


@pytest.mark.parametrize("workflow", [syncing, "syncing"])
@pytest.mark.parametrize("text", ['{"year": "soon"}', "2026", "{", '"{}"'])
def test_json_args_that_do_not_fit_are_told(workflow: Any, text: str) -> None:
    """They are checked when the app is defined."""
    problems = problems_of(nightly(workflow_operation(workflow, args=text)), workflows=[syncing])
    assert "executor 'nightly' has args that don't fit: The argument of workflow 'syncing' is not valid:" in problems


def test_a_name_that_no_workflow_has_is_told() -> None:
    """A workflow that is given by its name is looked up when the app is defined."""
    problems = problems_of(nightly(workflow_operation("syncin")), workflows=[syncing])
    assert "starts workflow 'syncin', which is not in define_app(workflows=[...])" in problems


def test_an_invoker_may_be_a_dict() -> None:
    """`auth_invoker` takes namespace and name, which are checked as any other."""
    invoker = {"namespace": "my-auth", "machineUserName": "manager"}
    make: Any = workflow_operation
    define_app("executors", auth=auth, workflows=[sweeping], executors=[nightly(make(sweeping, auth_invoker=invoker))])
    unknown = nightly(make(sweeping, auth_invoker={**invoker, "machineUserName": "nobody"}))
    assert "Machine user 'nobody' is not defined" in problems_of(unknown, auth=auth, workflows=[sweeping])
    for wrong in (3, {"namespace": "my-auth"}):
        with pytest.raises(
            DefinitionError, match=r"The workflow_operation at .*:\d+: auth_invoker=.* is not an invoker"
        ):
            make(sweeping, auth_invoker=wrong)
        with pytest.raises(
            DefinitionError, match=r"The graphql_operation at .*:\d+: auth_invoker=.* is not an invoker"
        ):
            graphql_operation("{ a }", auth_invoker=wrong)  # type: ignore[arg-type]  # the mistake


def test_what_can_not_be_started_is_refused() -> None:
    """A job is no workflow, and `args=` is a value or a function of the trigger's arguments."""
    make: Any = workflow_operation
    with pytest.raises(
        DefinitionError, match=r"workflow=<WorkflowJob 'sync'>: write what create_workflow\(...\) makes, or"
    ):
        make(sync)
    with pytest.raises(DefinitionError, match=r"which takes \(\): write a function of the trigger's arguments"):
        make(syncing, args=lambda: Sync(year=2026))


def test_problems_of_several_executors_are_told_at_once() -> None:
    """Every problem is listed, not only the first."""
    problem = problems_of(
        nightly(workflow_operation(sweeping)), nightly(workflow_operation(syncing, args=Sync(year=1)), "x")
    )
    assert all(part in problem for part in ("executor name 'x'", "'sweeping'", "'syncing'"))


def test_a_webhook_without_a_secret_is_refused() -> None:
    """Nobody is to be able to send to it by knowing the name of an executor."""
    with pytest.raises(DefinitionError, match=r"path_secrets= or signing_secrets="):
        incoming_webhook_trigger()


def test_a_webhook_with_both_kinds_of_secrets_is_refused() -> None:
    """A request is proved in one way: the weaker of two would be the one that counts."""
    with pytest.raises(DefinitionError, match=r"path_secrets= or signing_secrets="):
        incoming_webhook_trigger(path_secrets=[secret("A_PATH")], signing_secrets=[secret("A_KEY")])


def test_executors_are_discovered_at_module_level() -> None:
    """`discover` finds them as it finds workflows."""
    assert [one.name for one in discover(__name__).executors] == ["found-here"]


def test_a_firing_checks_the_arguments_it_is_given_by_hand() -> None:
    """Arguments from outside that don't fit the trigger are refused with the place of the problem."""
    firing = define_app("executors", workflows=[sweeping], executors=[found_here]).firings["executor/found-here"]
    text = json.dumps({"scheduled_time": "2026-01-01T00:00:00Z"})
    assert firing.encode_json(text) == text
    for wrong in ("{", "{}", '{"scheduled_time": "noon"}', "[]"):
        with pytest.raises(InvalidInputError, match=r"The argument of executor 'found-here'|not valid JSON"):
            firing.encode_json(wrong)


found_here = nightly(workflow_operation(sweeping), "found-here", description="for the test of discovery")
