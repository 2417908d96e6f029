"""What a platform does for the runs it replays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from gqlplugin.errors import Interruption
from gqlplugin.execution import JobExecution, WorkflowExecution
from gqlplugin.identity import AuthInvoker

if TYPE_CHECKING:
    from gqlplugin.platform.replay.active_job import ActiveJob

R = TypeVar("R")


class RunInterrupted(Interruption):
    """The run stops here and goes on from its record later: the record can't be kept now, or the process is leaving."""


class RunParked(RunInterrupted):
    """The run waits at a wait point, and is kept as such: nothing of it need stay in memory."""


class Recorder(Protocol):
    """What a platform does for the run it replays.

    Attributes:
        max_bytes: How large a result, or what a job gives to what it triggers, may be, in bytes of UTF-8.
    """

    max_bytes: int

    def note(self, job: ActiveJob) -> None:
        """Keep the state of a running job soon; nothing depends on it."""
        ...

    def give_up(self, job: ActiveJob) -> None:
        """Keep the last state of a job that its caller waits for no longer, before what the caller does next."""
        ...

    async def ready(self) -> None:
        """Wait until something more may be triggered: not while what it does can't be kept."""
        ...

    async def finish(self, job: JobExecution) -> None:
        """Keep the outcome of a job; it is durable when this returns.

        Raises:
            RunInterrupted: It can't be kept now.
        """
        ...

    async def park(self, job: ActiveJob, wait: JobExecution, timeout: timedelta | None) -> None:
        """Keep that the run waits, with the jobs that led there, down to `job`; it is durable when this returns.

        Raises:
            RunInterrupted: It can't be kept now.
        """
        ...

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
        """Start another run from `parent`, and keep its ID as the result of `job`: both or neither.

        Raises:
            RunInterrupted: It can't be done now.
        """
        ...

    async def start_workflows(
        self,
        parent: WorkflowExecution,
        job: JobExecution,
        name: str,
        args: Sequence[str],
        *,
        invoker: AuthInvoker | None,
    ) -> list[str]:
        """Start other runs from `parent`, and keep their IDs as the result of `job`: all or nothing.

        Raises:
            RunInterrupted: It can't be done now.
        """
        ...

    async def start_thread(self, call: Callable[[], R]) -> asyncio.Future[R]:
        """Start a call that blocks in a thread; the future is done when the thread has done its work."""
        ...
