"""What a server serves: the definitions, and the platform behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.base import Definitions, Platform, RunnableWorkflow
from gqlplugin.platform.tailor.server.ids import workflow_id
from gqlplugin.platform.tailor.server.paging import PageTokens
from gqlplugin.platform.tailor.server.public_url import PublicUrl
from gqlplugin.platform.tailor.server.tokens import MachineUserTokens
from gqlplugin.tasks import begin, result_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """What the methods share.

    Attributes:
        public_url: Under which clients reach the server.
        extensions: Whether gqlplugin's own fields are read and written.
        created_at: What clients are told that everything was created at.
        writes: Those that are under way.
    """

    definitions: Definitions
    platform: Platform
    public_url: PublicUrl
    extensions: bool
    created_at: datetime
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

    @cached_property
    def _by_id(self) -> Mapping[str, RunnableWorkflow]:
        return {workflow_id(self.definitions.name, name): one for name, one in self.startable.items()}

    @cached_property
    def startable(self) -> Mapping[str, RunnableWorkflow]:
        """The workflows and, for clients of ours, the firings of executors, by name."""
        return {**self.definitions.workflows, **(self.definitions.firings if self.extensions else {})}


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
