"""Definitions are found: those of a package, and the jobs that a job's function reaches."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.app import discover, reachable_jobs
from gqlplugin.errors import DefinitionError
from gqlplugin.job import WorkflowJob, create_workflow_job
from tests.sample_shop.order_processing import process_order


def new_job(name: str) -> WorkflowJob[None, None]:
    @create_workflow_job(name=name)
    async def body() -> None: ...

    return body


def names_reached_by(body: Callable[[], Any]) -> list[str]:
    make: Any = create_workflow_job(name="main-job")
    return [job.name for job in reachable_jobs([make(body)])][1:]


global_job, other_job, default_job = new_job("global-job"), new_job("other-job"), new_job("default-job")


class Jobs:
    held = new_job("held-job")

    @staticmethod
    async def run() -> None:
        await other_job.trigger()


def helper() -> Awaitable[None]:
    return other_job.trigger()


def mutual() -> Awaitable[None]:
    return recursive()


def recursive() -> Awaitable[None]:
    mutual()
    return global_job.trigger()


class Runner:
    async def __call__(self) -> None:
        await global_job.trigger()


async def given(job: WorkflowJob[None, None]) -> None:
    await job.trigger()
    await other_job.trigger()


@pytest.mark.parametrize(
    ("body", "names"), [(Runner(), ["global-job"]), (partial(given, default_job), ["default-job", "other-job"])]
)
def test_jobs_behind_a_partial_or_an_object_are_found(body: Any, names: list[str]) -> None:
    """What such a body calls is looked into, and what a partial has bound."""
    assert names_reached_by(body) == names


def test_a_module_is_named_and_not_given() -> None:
    """`discover` takes dotted names."""
    with pytest.raises(DefinitionError, match=r'write its dotted name, such as discover\("shop.workflows"\)'):
        discover(sys)  # type: ignore[arg-type]  # the mistake


def test_jobs_of_other_modules_are_found_however_they_are_named() -> None:
    """By name, as a module's attribute, as a package's module's, and through a helper in another module."""
    assert {job.name for job in reachable_jobs([process_order])} == {
        "process-order",
        "fetch-customer",
        "charge-card",
        "print-label",
        "send-notification",
    }


def test_each_job_is_found_once_in_a_stable_order() -> None:
    """However often a job is named, and whoever names it; the order is that of the names in the code."""

    async def body() -> None:
        await other_job.trigger()
        await global_job.trigger()
        await other_job.trigger()

    assert names_reached_by(body) == ["other-job", "global-job"]


def test_jobs_in_nested_functions_are_found() -> None:
    """Lambdas, comprehensions and inner functions belong to the function around them."""

    async def body() -> None:
        async def inner() -> None:
            triggers = [lambda: default_job.trigger() for _ in (global_job,)]  # noqa: PLW0108 - a lambda is the point
            await triggers[0]()

        await inner()

    assert sorted(names_reached_by(body)) == ["default-job", "global-job"]


def test_jobs_in_closures_are_found() -> None:
    """A job that an enclosing function made or got as an argument is found, an unfilled variable is no trouble."""
    made = new_job("made-job")

    async def body() -> None:
        await made.trigger()
        await later.trigger()

    assert names_reached_by(body) == ["made-job"]
    later = new_job("later-job")
    assert sorted(names_reached_by(body)) == ["later-job", "made-job"]


def test_jobs_behind_a_decorator_are_found() -> None:
    """What a decorator wraps is in the closure of what it returns."""

    def decorate(function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def wrapper() -> None:
            await function()

        return wrapper

    @decorate
    async def body() -> None:
        await global_job.trigger()

    assert names_reached_by(body) == ["global-job"]


def test_jobs_in_classes_and_their_static_methods_are_found() -> None:
    """A class is a place to keep jobs, as a module is."""

    async def body() -> None:
        await Jobs.held.trigger()
        await Jobs.run()

    assert names_reached_by(body) == ["held-job", "other-job"]


def test_jobs_in_helpers_are_found() -> None:
    """Helpers of the same package are followed, those that call each other too."""

    async def body() -> None:
        await helper()
        await mutual()

    assert names_reached_by(body) == ["other-job", "global-job"]


def test_a_method_can_be_a_job() -> None:
    """The function of a bound method is looked at as any other."""

    class Shop:
        async def body(self) -> None:
            await global_job.trigger()

    assert names_reached_by(Shop().body) == ["global-job"]


def test_a_job_may_trigger_itself_and_its_caller() -> None:
    """A circle of jobs is no trouble."""

    @create_workflow_job(name="ping-job")
    async def ping() -> None:
        await pong.trigger()

    @create_workflow_job(name="pong-job")
    async def pong() -> None:
        await ping.trigger()
        await pong.trigger()

    assert [job.name for job in reachable_jobs([ping])] == ["ping-job", "pong-job"]


def test_jobs_out_of_a_dict_are_not_found() -> None:
    """What is chosen at run time can't be seen; `define_app(jobs=...)` is for those."""
    chosen = {"a": new_job("chosen-job")}

    async def body() -> None:
        await chosen["a"].trigger()

    assert names_reached_by(body) == []


def test_discover_collects_a_package_with_its_modules() -> None:
    """Each definition once, though modules import each other's; and only definitions."""
    found = discover("tests.sample_shop")
    assert [workflow.name for workflow in found.workflows] == ["order-processing"]
    assert [resolver.name for resolver in found.resolvers] == ["orderNow"]
    assert sorted(job.name for job in found.jobs) == [
        "charge-card",
        "fetch-customer",
        "print-label",
        "process-order",
        "send-notification",
    ]


def test_discover_takes_several_packages_and_plain_modules() -> None:
    """The same definition found twice counts once."""
    found = discover("tests.sample_shop.jobs.fetch_customer", "tests.sample_shop.jobs")
    assert len(found.jobs) == 4
    assert not found.workflows


@pytest.mark.parametrize("name", ["no_such_package", "tests.sample_shop.no_such", "tests.no_such.module"])
def test_discover_of_what_is_not_there(name: str) -> None:
    """A misspelt package is an error that names it."""
    with pytest.raises(DefinitionError, match=rf"discover\('{name}'\): there is no such package"):
        discover(name)


@pytest.mark.parametrize("file", ["__init__.py", "broken.py", "inner/__init__.py"])
@pytest.mark.parametrize(
    "statement", ["import no_such_dependency", "import broken", "1 / 0", "from tests import no_such_name"]
)
def test_an_error_inside_a_module_is_raised_as_it_is(
    file: str, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that exists and fails to import is not reported as missing, nor left out."""
    package = tmp_path / "broken_shop"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / file).write_text(statement)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ImportError, ZeroDivisionError)):
        discover("broken_shop")
    for name in [name for name in sys.modules if name.startswith("broken_shop")]:
        monkeypatch.delitem(sys.modules, name)
