"""The Temporal platform for tests that list what they have just started: its listings lag behind by moments."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from gqlplugin.errors import NotFoundError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import callable_from_any_loop
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.platform.temporal.reading import status_of
from gqlplugin.runs import ExecutionFilter, ExecutionPage, ExecutionStatus, WaitFilter, WaitPage

_AT_ONCE = 50
_PATIENCE_SECONDS = 60.0


@callable_from_any_loop
class SettledTemporalPlatform(TemporalPlatform):
    """Lists once the listing has caught up with the runs that were started here; else what it is."""

    _started: set[str]

    async def start_workflow(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None = None,
        idempotency_key: str | None = None,
        run_id: str | None = None,
    ) -> str:
        started = await super().start_workflow(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )
        self._known().add(started)
        return started

    async def start_workflows(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None = None
    ) -> list[str]:
        started = await super().start_workflows(name, args, caller=caller, invoker=invoker)
        self._known().update(started)
        return started

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        if after is None:
            await self._settle()
        return await super().list_executions(where, first=first, after=after)

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        if after is None:
            await self._settle()
        return await super().list_waits(where, first=first, after=after)

    def _known(self) -> set[str]:
        if not hasattr(self, "_started"):
            self._started = set()
        return self._started

    async def resume(self, run_id: str) -> None:
        await super().resume(run_id)
        self._known().add(run_id)

    async def _settle(self) -> None:
        waited_for = sorted(self._known())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for begin in range(0, len(waited_for), _AT_ONCE):
                part = set(waited_for[begin : begin + _AT_ONCE])
                while part:
                    part -= await self._caught_up(part)

    async def _caught_up(self, run_ids: Collection[str]) -> set[str]:
        """The runs that are listed as they are. One that has ended stays as it is until it is resumed."""
        listed = await self._listed(run_ids)
        statuses = {run_id: await self._status_of(run_id) for run_id in run_ids}
        caught_up = {run_id for run_id, status in statuses.items() if listed.get(run_id) == status}
        self._known().difference_update(
            run_id for run_id in caught_up if (status := statuses[run_id]) is None or status.is_final
        )
        return caught_up

    async def _listed(self, run_ids: Collection[str]) -> Mapping[str, ExecutionStatus]:
        client = self._entering.opened().client
        query = f"WorkflowId IN ({', '.join(map(repr, run_ids))})"
        found = [one async for one in client.list_workflows(query)]
        return {one.id: status_of(one) for one in sorted(found, key=lambda one: one.start_time)}

    async def _status_of(self, run_id: str) -> ExecutionStatus | None:
        try:
            return (await self.get_execution(run_id)).status
        except NotFoundError:
            return None
