"""What a server serves: the definitions, and the platform behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.base import Definitions, Platform, RunnableWorkflow
from gqlplugin.platform.tailor.server.ids import workflow_id
from gqlplugin.platform.tailor.server.paging import PageTokens
from gqlplugin.platform.tailor.server.public_url import PublicUrl
from gqlplugin.platform.tailor.server.tokens import MachineUserTokens
from gqlplugin.source import Source
from gqlplugin.tasks import begin, result_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What the methods share.

    Attributes:
        public_url: Under which clients reach the server.
        extensions: Whether gqlplugin's own fields are read and written.
        started_at: When the server was made: the time of definitions whose files have none.
        writes: Those that are under way.
    """

    definitions: Definitions
    platform: Platform
    public_url: PublicUrl
    extensions: bool
    started_at: datetime
    page_tokens: PageTokens
    machine_user_tokens: MachineUserTokens
    writes: Writes

    def workflow(self, identifier: str) -> RunnableWorkflow:
        """The workflow with an ID.

        Raises:
            NotFoundError: There is none.
        """
        workflow = self._by_id.get(identifier)
        if workflow is None:
            raise NotFoundError(f"Workflow '{identifier}' not found.")
        return workflow

    def changed_at(self, workflow: RunnableWorkflow) -> datetime:
        """When the code of a workflow and its jobs was changed last."""
        return self._changed_at[workflow.name]

    @cached_property
    def defined_at(self) -> datetime:
        """When the code of the app was changed last."""
        return max(self._changed_at.values(), default=_changed_at([self.definitions.auth]) or self.started_at)

    @cached_property
    def _changed_at(self) -> Mapping[str, datetime]:
        """By the names of workflows: not when a server was started, as a restart changes no workflow."""
        jobs, found = self.definitions.jobs, {}
        for name, workflow in self.startable.items():
            parts = [workflow, *map(jobs.get, self.definitions.jobs_of(name))]
            found[name] = _changed_at(parts) or self.started_at
        return found

    @cached_property
    def _by_id(self) -> Mapping[str, RunnableWorkflow]:
        return {workflow_id(self.definitions.name, name): one for name, one in self.startable.items()}

    @cached_property
    def startable(self) -> Mapping[str, RunnableWorkflow]:
        """The workflows and, for clients of ours, the firings of executors, by name."""
        return {**self.definitions.workflows, **(self.definitions.firings if self.extensions else {})}


def _changed_at(definitions: Iterable[object]) -> datetime | None:
    """When the newest of the files that have the definitions was changed; None where there is no such file."""
    sources = (getattr(one, "source", None) for one in definitions)
    times = [time for one in sources if isinstance(one, Source) and (time := _modified_at(one.file)) is not None]
    return max(times, default=None)


def _modified_at(file: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(Path(file).stat().st_mtime, UTC)
    except OSError:  # typed in a shell, or in an archive
        return None


class Writes:
    """Calls that go on to their end when the request that made them is cancelled.

    A client that hangs up, or a time-out that passes, must not leave a start half done.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    async def finish(self, call: Coroutine[Any, Any, T]) -> T:
        """The call's result."""
        task = begin(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await result_of(task)

    async def wait(self) -> None:
        """Until none is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
