"""What the server serves: definitions, IDs, secrets, pages, and checks of requests."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from connectrpc.request import RequestContext
from google.protobuf.message import Message
from pydantic import SecretStr

from gqlplugin.checks import Source, is_startable_name, name_problem
from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.identity import MachineUser
from gqlplugin.oauth import sign, verify
from gqlplugin.platform.base import AuthNamespace, Definitions, Platform, RunnableWorkflow, id_of_names
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.serving import PublicUrl
from gqlplugin.platform.tailor.transport import EXTENSIONS_HEADER
from gqlplugin.secret import derive
from gqlplugin.tasks import begin, result_of

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def workflow_id(app_name: str, workflow_name: str) -> str:
    """The ID of a workflow on every server of the app."""
    return id_of_names("workflow", app_name, workflow_name)


def client_id(namespace: str, name: str) -> str:
    """The ID under which a machine user asks for a token."""
    return id_of_names("client", namespace, name)


def attribute_id(namespace: str, name: str) -> str:
    """The ID of an attribute of machine users."""
    return id_of_names("attribute", namespace, name)


def is_uuid(text: str) -> bool:
    """Whether this is a UUID in its usual form: braces and the like are not."""
    return _UUID.fullmatch(text) is not None


_AUDIENCE = "tailor.v1"
_OPERATOR_TOKEN = re.compile(r"[!-~]{16,}")


class OperatorToken:
    """The token that may call every method.

    Args:
        token: At least 16 printable ASCII characters, no spaces.

    Raises:
        InvalidInputError: It is not that.
    """

    def __init__(self, token: SecretStr | str) -> None:
        self._token = token if isinstance(token, SecretStr) else SecretStr(token)
        if not _OPERATOR_TOKEN.fullmatch(self._token.get_secret_value()):
            raise InvalidInputError(
                "The operator token must have at least 16 printable ASCII characters and no spaces: "
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
            )

    def matches(self, token: bytes) -> bool:
        """Whether this is the token, in a time that tells nothing about it."""
        return hmac.compare_digest(token, self._token.get_secret_value().encode())

    def derive(self, *label: str) -> bytes:
        """32 bytes for the purpose that a label names; none tells anything of the token or of another."""
        return derive(self._token.get_secret_value().encode(), *label)


@dataclass(frozen=True, slots=True)
class MachineUserClient:
    """The OAuth client of a machine user."""

    user: MachineUser
    client_id: str
    client_secret: SecretStr


class MachineUserTokens:
    """Issues the tokens of machine users, and verifies them.

    Args:
        operator: What the secrets follow from.
        auth: Who there is.
        lifetime: How long a token is valid; at least one second.

    Raises:
        InvalidInputError: The lifetime is shorter.
    """

    def __init__(self, operator: OperatorToken, auth: AuthNamespace | None, lifetime: timedelta) -> None:
        if lifetime < timedelta(seconds=1):
            raise InvalidInputError(f"token_lifetime must be at least one second, not {lifetime}.")
        self.lifetime = lifetime
        self.namespace = "" if auth is None else auth.namespace
        self._key = operator.derive("machine user tokens")
        users = {} if auth is None else auth.machine_users
        self.clients: Mapping[str, MachineUserClient] = MappingProxyType(
            {
                name: MachineUserClient(
                    users[name],
                    client_id(self.namespace, name),
                    SecretStr(_text(operator.derive("client secret", self.namespace, name))),
                )
                for name in sorted(users)
            }
        )

    def authenticate(self, identifier: str, secret: str) -> MachineUser | None:
        """The machine user whose client ID and secret these are, in a time that tells nothing about the secret."""
        found = None
        for client in self.clients.values():
            same_secret = hmac.compare_digest(client.client_secret.get_secret_value().encode(), secret.encode())
            if same_secret and client.client_id == identifier:
                found = client.user
        return found

    def issue(self, user: MachineUser) -> str:
        """A token for one of the machine users (RFC 7519)."""
        claims = {"sub": user.name, "namespace": self.namespace}
        return sign(self._key, claims, audience=_AUDIENCE, lifetime=self.lifetime)

    def verify(self, token: str | bytes) -> tuple[str, str] | None:
        """The namespace and the name of the machine user that a token was issued to; None when it is not valid."""
        claims = verify(self._key, token, audience=_AUDIENCE, require=["namespace"])
        if claims is None:
            return None
        namespace, name = claims["namespace"], claims["sub"]
        return (namespace, name) if namespace == self.namespace and name in self.clients else None


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


T = TypeVar("T")

_DEFAULT_SIZE = 100
_MAX_SIZE = 1000
_SEAL_BYTES = 12


class Paged(Protocol):
    """A request for a page."""

    @property
    def page_size(self) -> int: ...


class Listing(Paged, Protocol):
    """A request for a page of a listing in either direction."""

    @property
    def page_token(self) -> str: ...
    @property
    def page_direction(self) -> pb.PageDirection: ...


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing that is all in memory."""

    items: Sequence[T]
    next_page_token: str
    total_count: int


class PageTokens:
    """Makes page tokens, and reads them.

    A token carries the place to go on at, under a seal that names the listing: it fits no other, and can't be made up.

    Args:
        key: What the seals are made with.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, listing: str, cursor: str) -> str:
        """The token that goes on after a cursor."""
        place = cursor.encode()
        return base64.urlsafe_b64encode(self._seal(listing, place) + place).decode()

    def read(self, listing: str, token: str) -> str | None:
        """The cursor in a token; None for the empty one, which asks for the first page.

        Raises:
            InvalidInputError: The token is not of this listing.
        """
        if not token:
            return None
        try:
            text = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            text = b""
        seal, place = text[:_SEAL_BYTES], text[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(listing, place)):
            raise InvalidInputError(
                "pageToken is not of this listing: pass the nextPageToken that the same request, with the same filter "
                "and direction, was answered with."
            )
        return place.decode()

    def page(self, listing: str, items: Mapping[str, T], request: Listing) -> Page[T]:
        """A page of items, in the order of their names."""
        descending = request.page_direction == pb.PAGE_DIRECTION_DESC
        listing = f"{listing} {'desc' if descending else 'asc'}"
        after = self.read(listing, request.page_token)
        names = sorted(items, reverse=descending)
        if after is not None:
            names = [name for name in names if (name < after if descending else name > after)]
        shown = names[: page_size(request)]
        more = len(names) > len(shown)
        return Page(
            items=[items[name] for name in shown],
            next_page_token=self.make(listing, shown[-1]) if more else "",
            total_count=len(items),
        )

    def _seal(self, listing: str, place: bytes) -> bytes:
        return hmac.digest(self._key, listing.encode() + b"\0" + place, "sha256")[:_SEAL_BYTES]


def page_size(request: Paged) -> int:
    """How many items a page may have: 100 unless the client says, and at most 1000."""
    return min(request.page_size or _DEFAULT_SIZE, _MAX_SIZE)


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


REQ = TypeVar("REQ")
RES = TypeVar("RES")


class WorkspaceCheck:
    """An interceptor that refuses requests for another workspace.

    Args:
        workspace_id: The only one there is; None takes any.
    """

    def __init__(self, workspace_id: str | None) -> None:
        self._workspace_id = workspace_id and workspace_id.lower()

    async def intercept_unary(
        self,
        call_next: Callable[[REQ, RequestContext[REQ, RES]], Awaitable[RES]],
        request: REQ,
        ctx: RequestContext[REQ, RES],
    ) -> RES:
        """Call the method."""
        assert isinstance(request, Message)  # noqa: S101 - Connect decodes nothing else
        workspace_id = uuid_in(request, "workspace_id")
        if self._workspace_id not in (None, workspace_id):
            raise NotFoundError(f"Workspace '{workspace_id}' not found.")
        return await call_next(request, ctx)


def is_ours(ctx: RequestContext[Any, Any]) -> bool:
    """Whether the client announces that it knows what gqlplugin adds; the vendor's knows the contract only."""
    return ctx.request_headers.get(EXTENSIONS_HEADER) == "1"


def uuid_in(request: Message, field: str) -> str:
    """The UUID in a field, in lower case.

    Raises:
        InvalidInputError: It is none.
    """
    text = _text_of(request, field)
    if not is_uuid(text):
        raise InvalidInputError(f"{json_name(request, field)} must be a UUID.")
    return text.lower()


def name_in(request: Message, field: str) -> str:
    """The name in a field.

    Raises:
        InvalidInputError: It is none (TAILOR.md section 2).
    """
    text = _text_of(request, field)
    if not is_startable_name(text):
        raise InvalidInputError(f"{json_name(request, field)}: {name_problem('workflow', text)}.")
    return text


def json_name(request: Message, field: str) -> str:
    """The name of a field as JSON has it."""
    return request.DESCRIPTOR.fields_by_name[field].json_name


@contextmanager
def found(run_id: str) -> Iterator[None]:
    """Say in the words of the contract that there is no such run."""
    try:
        yield
    except NotFoundError:
        raise NotFoundError(f"Execution '{run_id}' not found.") from None


def _text_of(request: Message, field: str) -> str:
    value: Any = getattr(request, field)
    return str(value)
