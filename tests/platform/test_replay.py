"""Replaying a run from its record, without any platform: a recorder that is a dictionary."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlplugin.errors import JobFailedError
from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.base import (
    AnswerableWaitPoint,
    AuthNamespace,
    EnvValue,
    JobRuntime,
    Platform,
    RunnableJob,
    RunnableWorkflow,
    RunningDatabase,
)
from gqlplugin.platform.replay import (
    MAIN,
    ActiveJob,
    Replay,
    RunInterrupted,
)
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution, is_hidden, to_run_again
from gqlplugin.schedule import Schedule

R = TypeVar("R")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = WorkflowExecution(
    id="run", workflow_name="tree", status=ExecutionStatus.RUNNING, input='""', created_at=NOW, started_at=NOW
)


@dataclass(frozen=True)
class Node:
    """A job that triggers others, one after another or all at once, then fails or answers."""

    children: tuple["Node", ...] = ()
    together: bool = False
    fails: bool = False
    starts_workflow: bool = False


@dataclass
class Recorder:
    """Keeps outcomes in a dictionary, and dies after some of them."""

    record: dict[str, JobExecution] = field(default_factory=dict)
    dies_after: int | None = None
    started: list[str] = field(default_factory=list)
    max_bytes: int = 1024 * 1024

    async def ready(self) -> None:
        """It always is."""

    def note(self, job: ActiveJob) -> None:
        """Nothing depends on it."""

    def give_up(self, job: ActiveJob) -> None:
        """Nobody asks for it."""

    async def finish(self, job: JobExecution) -> None:
        if self.dies_after == 0:
            raise RunInterrupted
        self.record[job.place] = job
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after == 0:
                raise RunInterrupted

    async def start_workflow(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        arg: str,
        *,
        invoker: AuthInvoker | None,
        idempotency_key: str | None,
    ) -> str:
        run_id = f"child-{len(self.started)}"
        self.started.append(run_id)
        await self.finish(replace(job, result=json.dumps(run_id)))
        return run_id

    async def start_workflows(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        args: Sequence[str],
        *,
        invoker: AuthInvoker | None,
    ) -> list[str]:
        raise NotImplementedError  # no node does

    async def park(self, job: ActiveJob, wait: JobExecution, timeout: timedelta | None) -> None:
        raise NotImplementedError  # no node waits

    async def start_thread(self, call: Callable[[], R]) -> asyncio.Future[R]:
        raise NotImplementedError  # no node is a plain function


class Tree:
    """Definitions with one job, which does what the node at the path it is given says."""

    name = "tree"
    workflows: Mapping[str, RunnableWorkflow] = {}
    wait_points: Mapping[str, AnswerableWaitPoint] = {}
    env: Mapping[str, EnvValue] = {}
    auth: AuthNamespace | None = None
    firings: Mapping[str, RunnableWorkflow] = {}
    schedules: Mapping[str, Schedule] = {}
    databases: Mapping[str, RunningDatabase] = {}
    resolver_listeners: Mapping[str, Sequence[str]] = {}
    capture_print = False

    def __init__(self, root: Node) -> None:
        self.root = root
        self.ran: Counter[str] = Counter()
        self.fails_once: set[str] = set()
        self.jobs: Mapping[str, RunnableJob] = {"node": NodeJob(self)}

    def jobs_of(self, workflow_name: str) -> Sequence[str]:
        return ["node"]

    def running(self, platform: Platform) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        return None

    def at(self, path: str) -> Node:
        node = self.root
        for step in path.split(".")[1:]:
            node = node.children[int(step)]
        return node


class NodeJob:
    """The one job of a `Tree`."""

    name = "node"

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    async def execute(self, arg: str, runtime: JobRuntime) -> str:
        path: str = json.loads(arg)
        node = self.tree.at(path)
        self.tree.ran[path] += 1
        results = await self.of_children(path, node, runtime)
        if node.starts_workflow:
            results.append(await runtime.start_workflow("other", '"x"', invoker=None, idempotency_key=None))
        if path in self.tree.fails_once:
            self.tree.fails_once.discard(path)
            raise JobFailedError("once", code="ONCE")
        if node.fails:
            raise JobFailedError("always", code="ALWAYS")
        return json.dumps([path, results])

    async def of_children(self, path: str, node: Node, runtime: JobRuntime) -> list[object]:
        paths = [f"{path}.{index}" for index in range(len(node.children))]
        if node.together:
            return list(await asyncio.gather(*(self.of_child(path, runtime) for path in paths)))
        return [await self.of_child(path, runtime) for path in paths]

    async def of_child(self, path: str, runtime: JobRuntime) -> object:
        try:
            return json.loads(await runtime.trigger(self.tree.jobs["node"], json.dumps(path)))
        except JobFailedError as error:
            if error.job_code == "ONCE":
                raise
            return error.message


async def attempt(tree: Tree, recorder: Recorder, dies_after: int | None = None) -> JobExecution | None:
    """One execution of the run; None when it was interrupted. The outcome of the main job is recorded."""
    recorder.dies_after = dies_after
    replay = Replay(RUN, tree, recorder, dict(recorder.record))
    try:
        outcome = await replay.run(NodeJobOfMain(tree))
    except RunInterrupted:
        return None
    recorder.record[MAIN] = outcome
    return outcome


class NodeJobOfMain(NodeJob):
    """The main job: the run's input is its path."""

    async def execute(self, arg: str, runtime: JobRuntime) -> str:
        return await super().execute('"0"', runtime)


nodes: st.SearchStrategy[Node] = st.recursive(
    st.builds(Node, fails=st.booleans(), starts_workflow=st.booleans()),
    lambda children: st.builds(
        Node,
        children=st.lists(children, max_size=4).map(tuple),
        together=st.booleans(),
        fails=st.booleans(),
        starts_workflow=st.booleans(),
    ),
    max_leaves=8,
)


def said(outcome: JobExecution | None) -> tuple[JobStatus, str | None, str | None] | None:
    if outcome is None:
        return None
    return outcome.status, outcome.result, None if outcome.error is None else outcome.error.message


@settings(max_examples=60)
@given(root=nodes)
def test_a_crash_after_any_recorded_job_changes_nothing(root: Node) -> None:
    """Whatever was recorded last before a crash, the replay ends the same and runs no recorded job again."""
    whole = Recorder()
    expected = said(asyncio.run(attempt(Tree(root), whole)))
    for last in range(1, len(whole.record)):
        tree, recorder = Tree(root), Recorder()
        assert asyncio.run(attempt(tree, recorder, dies_after=last)) is None
        before = {json.loads(job.input) for job in recorder.record.values() if not is_hidden(job)}
        tree.ran.clear()
        assert said(asyncio.run(attempt(tree, recorder))) == expected
        assert not before & set(tree.ran)
        assert recorder.started == whole.started


@settings(max_examples=60)
@given(root=nodes)
def test_a_crash_after_every_recorded_job_changes_nothing(root: Node) -> None:
    """A run that dies after each job it records, again and again, ends as one that never dies."""
    whole = Recorder()
    expected = said(asyncio.run(attempt(Tree(root), whole)))
    recorder = Recorder()
    tree = Tree(root)
    for _ in range(len(whole.record)):
        outcome = asyncio.run(attempt(tree, recorder, dies_after=1))
        if outcome is not None:
            break
    assert said(outcome) == expected
    assert list(recorder.record) == list(whole.record)
    leaves = {path for path in tree.ran if not tree.at(path).children and not tree.at(path).starts_workflow}
    assert all(tree.ran[path] == 1 for path in leaves)


@settings(max_examples=60)
@given(root=nodes, data=st.data())
def test_a_resume_runs_failures_again_and_nothing_that_succeeded(root: Node, data: st.DataObject) -> None:
    """A job that fails its run runs again on a resume, with those that called it; what succeeded never does."""
    whole = Recorder()
    tree = Tree(root)
    expected = said(asyncio.run(attempt(tree, whole)))
    failing = data.draw(st.sampled_from(sorted(tree.ran)))
    tree, recorder = Tree(root), Recorder()
    tree.fails_once = {failing}
    outcome = asyncio.run(attempt(tree, recorder))
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.code == "ONCE"
    succeeded = {
        json.loads(job.input)
        for job in recorder.record.values()
        if job.status is JobStatus.SUCCESS and not is_hidden(job)
    }
    for place in to_run_again(recorder.record.values()):
        del recorder.record[place]
    tree.ran.clear()
    assert said(asyncio.run(attempt(tree, recorder))) == expected
    assert tree.ran[failing] == 1
    assert not succeeded & set(tree.ran)
    assert len(recorder.started) == len(whole.started)


def test_a_finished_main_job_answers_from_the_record() -> None:
    """A run whose main job is recorded runs nothing."""
    tree, recorder = Tree(Node()), Recorder()
    first = asyncio.run(attempt(tree, recorder))
    assert asyncio.run(attempt(tree, recorder)) is first
    assert tree.ran == {"0": 1}


@pytest.mark.parametrize("swallows", ["gather", "except", "group"])
def test_an_interruption_can_not_be_swallowed(swallows: str) -> None:
    """A body that catches everything, or gathers with `return_exceptions`, does not end an interrupted run."""
    interrupted = Recorder(dies_after=1)
    tree = Tree(Node(children=(Node(), Node())))
    child = tree.jobs["node"]

    class Swallowing(NodeJob):
        async def execute(self, arg: str, runtime: JobRuntime) -> str:
            calls = [runtime.trigger(child, json.dumps(f"0.{index}")) for index in range(2)]
            if swallows == "gather":
                await asyncio.gather(*calls, return_exceptions=True)
            elif swallows == "group":
                async with asyncio.TaskGroup() as group:
                    for call in calls:
                        group.create_task(call)
            else:
                for call in calls:
                    with suppress(BaseException):
                        await call
            return '"went on"'

    replay = Replay(RUN, tree, interrupted, {})
    with pytest.raises(RunInterrupted):
        asyncio.run(replay.run(Swallowing(tree)))
    assert list(interrupted.record) == ["0.0"]


def test_a_draining_run_stops_between_two_jobs() -> None:
    """Once it drains, a run begins no further job; what had begun is recorded."""

    class Draining(Recorder):
        async def finish(self, job: JobExecution) -> None:
            await super().finish(job)
            replay.draining = True

    tree, recorder = Tree(Node(children=(Node(), Node()))), Draining()
    replay = Replay(RUN, tree, recorder, {})
    with pytest.raises(RunInterrupted):
        asyncio.run(replay.run(NodeJobOfMain(tree)))
    assert list(recorder.record) == ["0.0"]
    assert tree.ran == {"0": 1, "0.0": 1}


def test_a_job_that_has_ended_writes_nothing_more() -> None:
    """Logs and progress from a task that outlived its job are dropped: they must not undo its outcome."""
    noted: list[str] = []
    runtimes: list[JobRuntime] = []

    class Noting(Recorder):
        def note(self, job: ActiveJob) -> None:
            noted.append(job.place)

    class Logging(NodeJob):
        async def execute(self, arg: str, runtime: JobRuntime) -> str:
            runtimes.append(runtime)
            runtime.log("in time")
            return "1"

    tree = Tree(Node())
    outcome = asyncio.run(Replay(RUN, tree, Noting(), {}).run(Logging(tree)))
    noted.clear()
    runtimes[0].log("late")
    runtimes[0].progress(0.5, None)
    assert noted == []
    assert outcome.logs == ("in time",)
