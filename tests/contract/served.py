"""The Tailor client as a candidate: TailorPlatform, HTTP on loopback, the server, the embedded platform behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gqlplugin.app import define_app
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import (
    AnswerableWaitPoint,
    AuthNamespace,
    Definitions,
    EnvValue,
    Platform,
    RunnableJob,
    RunnableWorkflow,
    RunningDatabase,
)
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.schedule import Schedule
from gqlplugin.workflow import create_workflow
from tests.loopback import TOKEN, WORKSPACE, free_port, serving


@create_workflow_job(name="not-served-yet")
async def not_served_yet(input: Any) -> None:
    """Stands for the main job of a workflow that is started before its definition is served."""


class Lenient:
    """Definitions as the suite needs them served: any invoker may be, and so may the names that are told beforehand.

    The suite starts workflows under invokers that the app's auth does not define, and before the platform is given
    the definitions; a server for people knows its app from the beginning.
    """

    def __init__(self, definitions: Definitions, early: Mapping[str, RunnableWorkflow]) -> None:
        self._definitions = definitions
        self.name = "contract"
        self.workflows: Mapping[str, RunnableWorkflow] = {**early, **definitions.workflows}

    @property
    def auth(self) -> AuthNamespace | None:
        return self._definitions.auth

    @property
    def jobs(self) -> Mapping[str, RunnableJob]:
        return self._definitions.jobs

    @property
    def wait_points(self) -> Mapping[str, AnswerableWaitPoint]:
        return self._definitions.wait_points

    @property
    def env(self) -> Mapping[str, EnvValue]:
        return self._definitions.env

    @property
    def firings(self) -> Mapping[str, RunnableWorkflow]:
        return self._definitions.firings

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return self._definitions.schedules

    @property
    def databases(self) -> Mapping[str, RunningDatabase]:
        return self._definitions.databases

    @property
    def resolver_listeners(self) -> Mapping[str, Sequence[str]]:
        return self._definitions.resolver_listeners

    @property
    def capture_print(self) -> bool:
        return self._definitions.capture_print

    def running(self, platform: Platform) -> AbstractAsyncContextManager[None]:
        return self._definitions.running(platform)

    def jobs_of(self, workflow_name: str) -> Sequence[str]:
        known = workflow_name in {**self._definitions.workflows, **self._definitions.firings}
        return self._definitions.jobs_of(workflow_name) if known else []

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        assert not isinstance(invoker, str)
        return invoker


class ServedPlatform(TailorPlatform):
    """A platform whose server is on a port of its own in this process, as long as it is entered."""

    def __init__(self, directory: Path, *, extensions: bool) -> None:
        self._port = free_port()
        super().__init__(
            f"http://127.0.0.1:{self._port}",
            token=TOKEN,
            workspace_id=WORKSPACE,
            timeout=timedelta(hours=1),  # longer than the patience of the tests, so that nothing ends by it
            poll_interval=timedelta(milliseconds=5),
            max_poll_interval=timedelta(milliseconds=20),
        )
        self._journal = EmbeddedPlatform(directory / "runs.sqlite")
        self._extensions = extensions
        self._served_app: Definitions = define_app("contract")
        self._early: dict[str, RunnableWorkflow] = {}
        self._servers: list[AsyncExitStack] = []
        self._serve()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            if not self._servers:
                await stack.enter_async_context(self._journal)
                await stack.enter_async_context(serving(self, self._port))
            await super().__aenter__()
            self._servers.append(stack.pop_all())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        await self._servers.pop().aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = Starlette() if scope["type"] == "lifespan" else self._server
        await app(scope, receive, send)

    @asynccontextmanager
    async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
        async with self._journal.execute(definitions), super().execute(definitions):
            self._served_app = definitions
            self._serve()
            yield

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
        if not self._served_app.workflows and name not in self._early:
            self._early[name] = create_workflow(name=name, main_job=not_served_yet)
            self._serve()
        return await super().start_workflow(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    def _serve(self) -> None:
        self._server = create_server(
            Lenient(self._served_app, self._early),
            self._journal,
            token=TOKEN,
            execute=False,
            extensions=self._extensions,
        )
