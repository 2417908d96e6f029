"""The Tailor Platform as a platform: a client of its operator service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self, TypeVar

import httpx
from pydantic import SecretStr

from gqlplugin.checks import check_counts, check_durations
from gqlplugin.errors import FailedPreconditionError, InvalidInputError, NotFoundError, PlatformUnavailableError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Binding, Definitions, Entering, bind, callable_from_any_loop, find_binding
from gqlplugin.platform.tailor.credentials import (
    Credentials,
    FixedToken,
    ProfileToken,
    TailorSettings,
    TokenEndpoint,
    check_url,
    check_workspace_id,
    is_loopback,
    read_login,
    read_workspace_id,
)
from gqlplugin.platform.tailor.exchange import CallError, missing
from gqlplugin.platform.tailor.messages import (
    ApplicationMessage,
    GetApplicationAnswer,
    ListApplicationsAnswer,
    ListMachineUsersAnswer,
    ListWorkflowsAnswer,
    WorkflowMessage,
)
from gqlplugin.platform.tailor.runs import (
    Starts,
    cancel,
    count_jobs,
    count_runs,
    get_job,
    get_jobs,
    get_run,
    get_workflow,
    list_runs,
    list_waits,
    look_at_run,
    resolve,
    resume,
)
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.platform.watch import Watches
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    JobExecution,
    Values,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    trim_job,
)

_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """A workflow that the platform knows.

    Attributes:
        id: A UUID.
        main_job: The name of its main job.
        job_functions: The names of the jobs it is made of.
    """

    id: str
    name: str
    main_job: str
    job_functions: tuple[str, ...]
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApplicationInfo:
    """An application.

    Attributes:
        auth_namespace: Where its machine users are; empty when it has none.
        url: Where it is served.
    """

    name: str
    auth_namespace: str
    url: str


@dataclass(frozen=True, slots=True)
class MachineUserInfo:
    """A machine user, without its secret."""

    id: str
    name: str
    client_id: str
    attributes: Mapping[str, Any]


L = TypeVar("L", ListApplicationsAnswer, ListMachineUsersAnswer, ListWorkflowsAnswer)


class Catalog:
    """Reads what there is in a workspace.

    Args:
        connected: Gives the transport, or refuses while there is none.
    """

    def __init__(self, connected: Callable[[], Transport]) -> None:
        self._connected = connected

    async def list_workflows(self) -> Sequence[WorkflowInfo]:
        """All workflows of the workspace."""
        pages = await _pages(self._connected(), "ListWorkflows", {}, ListWorkflowsAnswer)
        return [_workflow(one) for page in pages for one in page.workflows]

    async def get_workflow(self, name: str) -> WorkflowInfo:
        """A workflow by its name.

        Raises:
            NotFoundError: There is no such workflow.
        """
        return _workflow(await get_workflow(self._connected(), name))

    async def list_applications(self) -> Sequence[ApplicationInfo]:
        """All applications of the workspace."""
        pages = await _pages(self._connected(), "ListApplications", {}, ListApplicationsAnswer)
        return [_application(one) for page in pages for one in page.applications]

    async def get_application(self, name: str) -> ApplicationInfo:
        """An application by its name.

        Raises:
            NotFoundError: There is no such application.
        """
        with missing(f"There is no application {name!r}."):
            answer = await self._connected().call("GetApplication", {"applicationName": name}, GetApplicationAnswer)
        return _application(answer.application)

    async def list_machine_users(self, namespace: str) -> Sequence[MachineUserInfo]:
        """All machine users of an auth namespace.

        Raises:
            NotFoundError: There is no such namespace.
        """
        with missing(f"There is no auth namespace {namespace!r}."):
            pages = await _pages(
                self._connected(), "ListAuthMachineUsers", {"authNamespace": namespace}, ListMachineUsersAnswer
            )
        return [
            MachineUserInfo(one.id, one.name, one.client_id, one.attribute_map)
            for page in pages
            for one in page.machine_users
        ]


async def _pages(transport: Transport, method: str, message: Mapping[str, object], answer: type[L]) -> list[L]:
    pages: list[L] = []
    seen = {""}
    token: dict[str, object] = {}
    while True:
        page = await transport.call(method, {"pageSize": _PAGE_SIZE, **message, **token}, answer)
        pages.append(page)
        if page.next_page_token == "":
            return pages
        if page.next_page_token in seen:
            raise PlatformUnavailableError from CallError("unknown", f"the pages of {method} never end")
        seen.add(page.next_page_token)
        token = {"pageToken": page.next_page_token}


def _workflow(message: WorkflowMessage) -> WorkflowInfo:
    return WorkflowInfo(
        id=message.id,
        name=message.name,
        main_job=message.main_job_function_name,
        job_functions=tuple(message.job_functions),
        created_at=message.created_at,
        updated_at=message.updated_at,
    )


def _application(message: ApplicationMessage) -> ApplicationInfo:
    return ApplicationInfo(message.name, message.auth_namespace, message.url)


_logger = logging.getLogger("gqlplugin.tailor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given to `TailorPlatform`; None is looked up in the environment and the profile."""

    url: str | None
    workspace_id: str | None
    token: SecretStr | None
    profile: str | None
    timeout: timedelta
    poll_interval: timedelta
    max_poll_interval: timedelta
    max_connections: int
    transport: httpx.AsyncBaseTransport | None


@dataclass(frozen=True, slots=True)
class Session:
    """What works while the platform is entered."""

    url: str
    credentials: Credentials
    transport: Transport
    starts: Starts
    watches: Watches

    async def close(self) -> None:
        """Tell those who wait, let what must not be cut off end, and close the connections."""
        await self.watches.close()
        await self.credentials.aclose()
        await self.transport.aclose()


async def open_session(options: Options, *, check_name: Callable[[str], None]) -> Session:
    """Find out where and as whom, and make the client. Nothing is sent yet.

    Raises:
        InvalidInputError: The URL or the workspace is missing or not valid.
        PlatformCredentialsError: There is no token, or it can't be read.
    """
    settings = TailorSettings()
    url = check_url(options.url if options.url is not None else settings.url)
    if (base := httpx.URL(url)).scheme == "http" and not is_loopback(base.host):
        _logger.warning("The token is sent to %s without encryption: use https where others can listen", base.host)
    profile = options.profile or settings.profile
    workspace_id = options.workspace_id or settings.workspace_id
    if not workspace_id:
        workspace_id = await asyncio.to_thread(read_workspace_id, settings, profile)
    workspace_id = check_workspace_id(workspace_id)
    token = options.token if options.token is not None else settings.token
    credentials: Credentials
    if token is not None:
        credentials = FixedToken(token)
        http = _client(options)
    else:
        user, login = await asyncio.to_thread(read_login, settings, profile)
        http = _client(options)
        endpoint = TokenEndpoint(http, url, settings.client_id, options.timeout)
        credentials = ProfileToken(settings.profile_path, user, login, endpoint)
    transport = Transport(http, url, workspace_id, credentials, options.timeout)
    return Session(
        url,
        credentials,
        transport,
        Starts(transport, check_name=check_name),
        Watches(partial(look_at_run, transport), options.poll_interval, options.max_poll_interval),
    )


def _client(options: Options) -> httpx.AsyncClient:
    seconds = options.timeout.total_seconds()
    # connecting gets a part of the time, so that a start that never got through can be told from one that is lost
    timeout = httpx.Timeout(seconds, connect=seconds / 4, pool=seconds / 2)
    limits = httpx.Limits(
        max_connections=options.max_connections, max_keepalive_connections=options.max_connections, keepalive_expiry=5
    )
    return httpx.AsyncClient(transport=options.transport, limits=limits, timeout=timeout, follow_redirects=False)


@callable_from_any_loop
class TailorPlatform(Catalog):
    """Starts workflows on the Tailor Platform, or on any server that speaks its contract, and tells of their runs.

    ```python
    platform = TailorPlatform(workspace_id="…", token="…")
    ```

    What is not given comes from `TAILOR_PLATFORM_URL`, `TAILOR_PLATFORM_WORKSPACE_ID` and `TAILOR_PLATFORM_TOKEN`, then
    from the profile file of the vendor's command line. No job runs in this process. gqlplugin's own server tells all
    that its platform keeps; of another server's runs the input, the caller and the progress are not known, and a
    listing has no outputs. Nor can another server cancel runs, answer those that wait, or start several at once.

    Args:
        url: The base URL.
        workspace_id: A UUID.
        token: A bearer token.
        profile: A profile of the profile file.
        timeout: For a call with all its attempts.
        poll_interval: How soon a watch looks again at a run that changes.
        max_poll_interval: The same, for a run that has not changed for a while.
        max_connections: Calls under way at once; the rest waits. A distant platform wants more, a near one fewer: for
            every call httpx looks at each connection, which takes longer than a short wait for a free one.
        transport: What sends the requests instead of httpx's own, such as `httpx.ASGITransport` in a test. It must
            raise `httpx.ConnectError` only where nothing was sent.

    Raises:
        InvalidInputError: The URL is not valid, a time is not above 0, or there may be no connection at all.
    """

    separate_workers = False

    def __init__(
        self,
        url: str | None = None,
        *,
        workspace_id: str | None = None,
        token: str | SecretStr | None = None,
        profile: str | None = None,
        timeout: timedelta = timedelta(seconds=30),
        poll_interval: timedelta = timedelta(milliseconds=250),
        max_poll_interval: timedelta = timedelta(seconds=5),
        max_connections: int = 16,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(self._connected_transport)
        check_durations(
            "TailorPlatform",
            {"timeout": timeout, "poll_interval": poll_interval, "max_poll_interval": max_poll_interval},
        )
        check_counts("TailorPlatform", {"max_connections": max_connections})
        if min(timeout, poll_interval, max_poll_interval) <= timedelta(0):
            raise InvalidInputError("`timeout`, `poll_interval` and `max_poll_interval` must be above 0.")
        if max_connections < 1:
            raise InvalidInputError(f"`max_connections` must be at least 1, not {max_connections}.")
        self._options = Options(
            url=None if url is None else check_url(url),
            workspace_id=workspace_id,
            token=SecretStr(token) if isinstance(token, str) else token,
            profile=profile,
            timeout=timeout,
            poll_interval=poll_interval,
            max_poll_interval=max_poll_interval,
            max_connections=max_connections,
            transport=transport,
        )
        self._entering = Entering(self, self._open)
        self._definitions: Definitions | None = None

    def __repr__(self) -> str:
        session = self._entering.resource
        url = self._options.url if session is None else session.url
        return "<TailorPlatform>" if url is None else f"<TailorPlatform {url!r}>"

    async def __aenter__(self) -> Self:
        await self._entering.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._entering.leave()

    @asynccontextmanager
    async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
        """While entered, the definitions are bound; their jobs run on the platform, not here.

        Raises:
            FailedPreconditionError: Other definitions are bound already.
        """
        self._entering.opened()
        if self._definitions is not None:
            raise FailedPreconditionError(f"{self!r} executes an app already: give each app a platform of its own.")
        self._definitions = definitions
        try:
            async with definitions.running(self):
                with bind(Binding(self, definitions)):
                    yield
        finally:
            self._definitions = None

    async def check_health(self) -> None:
        """Check that the server answers and takes the token, by listing a workflow; see `Platform.check_health`."""
        await self._connected_transport().check()

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
        """Start a run; see `Platform.start_workflow`.

        Raises:
            OutcomeUnknownError: The platform did not answer, and may have started it.
            UnsupportedError: The server is not gqlplugin's, and knows no idempotency keys and no IDs given to it.
        """
        return await self._entering.opened().starts.start(
            name, arg, caller=caller, invoker=invoker, idempotency_key=idempotency_key, run_id=run_id
        )

    async def takes_run_ids(self) -> bool:
        """Whether a run's ID can be chosen; see `Platform.takes_run_ids`."""
        return await self._connected_transport().has_extensions()

    async def start_workflows(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None = None
    ) -> list[str]:
        """Start one run per argument, all or none; see `Platform.start_workflows`.

        Raises:
            OutcomeUnknownError: The platform did not answer, and may have started them.
            UnsupportedError: The server is not gqlplugin's, and can't start several at once.
            InvalidInputError: The arguments are too large for one request.
        """
        return await self._entering.opened().starts.start_all(name, args, caller=caller, invoker=invoker)

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        """A run by its ID; see `Platform.get_execution`."""
        return await get_run(self._connected_transport(), run_id)

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        """The jobs of runs; see `Platform.get_jobs`."""
        found = await get_jobs(self._connected_transport(), run_ids)
        return {run_id: [trim_job(job, values) for job in given] for run_id, given in found.items()}

    async def get_job(self, job_id: str) -> JobExecution:
        """A job by its ID; see `Platform.get_job`.

        Raises:
            UnsupportedError: The server is not gqlplugin's, and can't tell of which run it is.
        """
        return await get_job(self._connected_transport(), job_id)

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        """A page of runs; see `Platform.list_executions`.

        Raises:
            UnsupportedError: The server is not gqlplugin's, and does not know who started a run.
        """
        return await list_runs(self._connected_transport(), where, first=first, after=after)

    async def count_executions(self, where: ExecutionFilter) -> int:
        """How many runs a listing has, as the server says; see `Platform.count_executions`.

        Raises:
            UnsupportedError: The server is not gqlplugin's, and does not know who started a run.
        """
        return await count_runs(self._connected_transport(), where)

    async def count_jobs(self) -> int:
        """How many jobs there are in all runs, as the server says; see `Platform.count_jobs`."""
        return await count_jobs(self._connected_transport())

    async def resume(self, run_id: str) -> None:
        """Run a failed or canceled run again; see `Platform.resume`.

        Raises:
            OutcomeUnknownError: The platform did not answer, and may have resumed it.
        """
        await resume(self._connected_transport(), run_id)

    async def cancel(self, run_id: str) -> None:
        """End a run that has not ended; see `Platform.cancel`.

        Raises:
            OutcomeUnknownError: The platform did not answer, and may have canceled it.
            UnsupportedError: The server is not gqlplugin's, and can't cancel runs.
        """
        await cancel(self._connected_transport(), run_id)

    async def resolve(self, run_id: str, wait_point: str, result: str, *, job_id: str | None = None) -> None:
        """Answer a run that waits; see `Platform.resolve`.

        Raises:
            OutcomeUnknownError: The platform did not answer, and may have taken the answer.
            UnsupportedError: The server is not gqlplugin's, and has no wait points.
        """
        await resolve(self._connected_transport(), run_id, wait_point, result, job_id=job_id)

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        """A page of the runs that wait; see `Platform.list_waits`.

        Raises:
            UnsupportedError: The server is not gqlplugin's, and has no wait points.
        """
        return await list_waits(self._connected_transport(), where, first=first, after=after)

    async def watch(self, run_id: str) -> AsyncIterator[WorkflowExecution]:
        """The run, again after every change that is noticed, until it has ended; see `Platform.watch`."""
        async with aclosing(self._entering.opened().watches.watch(run_id)) as runs:
            async for run in runs:
                yield run

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Session]:
        session = await open_session(self._options, check_name=self._check_name)
        try:
            yield session
        finally:
            await session.close()

    def _connected_transport(self) -> Transport:
        return self._entering.opened().transport

    def _check_name(self, name: str) -> None:
        binding = find_binding()
        definitions = self._definitions or (binding.definitions if binding is not None else None)
        if definitions is not None and name not in (*definitions.workflows, *definitions.firings):
            raise NotFoundError(f"App {definitions.name!r} has no workflow {name!r}.")
