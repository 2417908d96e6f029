"""What an executor waits for, and the arguments that its condition and operation get."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, overload

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    SecretStr,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from gqlplugin.checks import Source, caller_source, check_annotation, check_type
from gqlplugin.codec import JsonCodec
from gqlplugin.errors import DefinitionError
from gqlplugin.identity import NIL_UUID, AuthInvoker
from gqlplugin.platform.base import RunningDatabase
from gqlplugin.resolver import Resolver
from gqlplugin.schedule import MissedPolicy, Schedule
from gqlplugin.secret import Secret, SecretRef
from gqlplugin.workflow import Workflow

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Mapper

    from gqlplugin.database.record_changes import Subscription


class Registry(Protocol):
    """The definitions of an app."""

    @property
    def workflows(self) -> Mapping[str, Workflow[Any, Any]]: ...
    @property
    def resolvers(self) -> Mapping[str, Resolver[Any, Any]]: ...
    @property
    def databases(self) -> Mapping[str, RunningDatabase]: ...

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        """The machine user meant by a name or an invoker; unknown ones are refused."""
        ...


B = TypeVar("B")
O = TypeVar("O")  # noqa: E741 - the output of a resolver
R = TypeVar("R")


class ScheduleArgs(BaseModel):
    """What a schedule hands over.

    Attributes:
        scheduled_time: When it was due, in UTC; the operation may run later.
    """

    model_config = ConfigDict(frozen=True)

    scheduled_time: datetime


class IncomingWebhookArgs(BaseModel, Generic[B]):
    """A request that came in.

    Attributes:
        body: The parsed JSON or form, validated where the trigger names a model; None when there was neither.
        headers: By lower-case name; those that carry the proof of who sent it are left out.
        raw_body: The body as text.
        query: The parameters of the URL; of one that is repeated the last.
    """

    model_config = ConfigDict(frozen=True)

    body: B
    headers: dict[str, str]
    method: Literal["POST", "GET", "PUT", "DELETE"]
    raw_body: str
    query: dict[str, str] = Field(default_factory=dict)


class ResolverError(BaseModel):
    """Why a resolver failed, as its client saw it."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str


class ResolverExecutedArgs(BaseModel, Generic[O]):
    """A resolver that ran to its end.

    Attributes:
        result: What it returned; None when it failed.
        error: Why it failed; None when it succeeded.
    """

    model_config = ConfigDict(frozen=True)

    resolver_name: str
    success: bool
    result: O | None = None
    error: ResolverError | None = None
    workspace_id: str = NIL_UUID
    app_namespace: str = ""


@dataclass(frozen=True, kw_only=True)
class _RecordArgs:
    """A change of a record.

    Attributes:
        type_name: The name of the model.
        app_namespace: The name of the app.
    """

    type_name: str
    app_namespace: str
    workspace_id: str = NIL_UUID


@dataclass(frozen=True, kw_only=True)
class RecordCreatedArgs(_RecordArgs, Generic[R]):
    """A record that was created, as it was committed. The record belongs to no session, and has no relationships."""

    new_record: R


@dataclass(frozen=True, kw_only=True)
class RecordUpdatedArgs(_RecordArgs, Generic[R]):
    """A record that was changed, as it was before and after."""

    new_record: R
    old_record: R


@dataclass(frozen=True, kw_only=True)
class RecordDeletedArgs(_RecordArgs, Generic[R]):
    """A record that was deleted, as it was before."""

    old_record: R


MAX_BODY_BYTES = 1024 * 1024
"""Longest body of an incoming webhook that is read, unless its trigger says another."""

_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, section 5.6.2, in lower case

A = TypeVar("A")
BM = TypeVar("BM", bound="BaseModel")

TriggerKind = Literal[
    "schedule", "incoming-webhook", "record-created", "record-updated", "record-deleted", "resolver-executed"
]


class Trigger(ABC, Generic[A]):
    """What an executor waits for; `A` is what its condition and its operation get."""

    kind: ClassVar[TriggerKind]

    @property
    @abstractmethod
    def detail(self) -> str:
        """What exactly it waits for, for people: a cron expression, the name of a model or a resolver."""

    @abstractmethod
    def read(self, text: str, *, accepted: bool = False) -> A:
        """The arguments in a JSON text.

        Args:
            text: The JSON text.
            accepted: It was read before, when it came: what validators say now does not refuse it any more.

        Raises:
            pydantic.ValidationError: The text is not JSON, or doesn't fit.
        """

    def problems(self, app: Registry) -> Sequence[str]:
        """What is wrong with it in an app."""
        del app
        return ()

    def _accept(self, args: A) -> A:
        """Says to type checkers that `A` is neither co- nor contravariant: another trigger's operation is an error."""
        return args


class ScheduleTrigger(Trigger[ScheduleArgs]):
    """A schedule. Made by `schedule_trigger`."""

    kind = "schedule"
    _codec = JsonCodec(ScheduleArgs)

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    @property
    def detail(self) -> str:
        return f"{self.schedule.cron} ({self.schedule.timezone})"

    def read(self, text: str, *, accepted: bool = False) -> ScheduleArgs:
        del accepted
        return self._codec.load(text)


def schedule_trigger(cron: str, *, timezone: str = "UTC", missed: MissedPolicy = "last") -> ScheduleTrigger:
    """Wait for the times of a cron expression.

    ```python
    schedule_trigger("0 2 * * *", timezone="Europe/Berlin")
    ```

    Across changes of daylight-saving time, an expression that names hours fires once per local time: in a night whose
    hour is repeated not again, in one whose hour is skipped at the end of the gap. One for every hour keeps its pace;
    one for every second hour (`*/2`) follows the clock on the wall, as it does in Debian's cron.

    Args:
        cron: Five fields, or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` or `@annually`.
        timezone: An IANA name.
        missed: Which of the times fire that passed while no process was there to fire them: "last", "all" or "none".

    Raises:
        DefinitionError: The expression is malformed, has a step beyond its field or never comes true, or the timezone
            is unknown.
    """
    return ScheduleTrigger(Schedule.parse(cron, timezone=timezone, missed=missed, source=caller_source()))


class IncomingWebhookTrigger(Trigger[IncomingWebhookArgs[Any]]):
    """An incoming webhook. Made by `incoming_webhook_trigger`.

    Attributes:
        path_secrets: What the last segment of the URL's path may be; empty where requests are signed.
        signing_secrets: What a request may be signed with (Standard Webhooks).
        delivery_header: The lower-case name of the header with the sender's ID of a delivery.
        max_body_bytes: Longest body that is read.
    """

    kind = "incoming-webhook"

    def __init__(
        self,
        *,
        body: type[BaseModel] | None,
        path_secrets: Sequence[Secret],
        signing_secrets: Sequence[Secret],
        delivery_header: str | None,
        max_body_bytes: int,
    ) -> None:
        self.body = body
        self.path_secrets = tuple(path_secrets)
        self.signing_secrets = tuple(signing_secrets)
        self.delivery_header = delivery_header
        self.max_body_bytes = max_body_bytes
        args: type[IncomingWebhookArgs[Any]] = (
            IncomingWebhookArgs[Any] if body is None else IncomingWebhookArgs[body]  # type: ignore[valid-type]  # chosen at run time
        )
        self._codec = JsonCodec(args)

    @property
    def detail(self) -> str:
        return "signed requests" if self.signing_secrets else "requests with a secret in the path"

    def read(self, text: str, *, accepted: bool = False) -> IncomingWebhookArgs[Any]:
        return self._codec.load_accepted(text) if accepted else self._codec.load(text)

    def problems(self, app: Registry) -> Sequence[str]:
        del app
        try:
            self._codec.adapter.rebuild(raise_errors=True)  # does nothing where it is complete
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            return [f"waits for a body that can't be read from JSON: {reason}"]
        return []


@overload
def incoming_webhook_trigger(
    *,
    body: type[BM],
    path_secrets: Sequence[Secret] = (),
    signing_secrets: Sequence[Secret] = (),
    delivery_header: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Trigger[IncomingWebhookArgs[BM]]: ...
@overload
def incoming_webhook_trigger(
    *,
    path_secrets: Sequence[Secret] = (),
    signing_secrets: Sequence[Secret] = (),
    delivery_header: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Trigger[IncomingWebhookArgs[Any]]: ...
def incoming_webhook_trigger(
    *,
    body: type[BaseModel] | None = None,
    path_secrets: Sequence[Secret] = (),
    signing_secrets: Sequence[Secret] = (),
    delivery_header: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Trigger[IncomingWebhookArgs[Any]]:
    """Wait for requests from elsewhere.

    ```python
    incoming_webhook_trigger(body=OrderPaid, signing_secrets=[secret("SHOP_WEBHOOK_SECRET")])
    ```

    With `signing_secrets` senders sign as Standard Webhooks has it, to `/webhooks/{executor}`; with `path_secrets` they
    know a secret, to `/webhooks/{executor}/{secret}`. Give several to change one without losing requests.

    Args:
        body: What the parsed body must fit; any JSON or form by default.
        path_secrets: At least 16 characters each, of those that need no escaping in a URL.
        signing_secrets: Base64, with or without `whsec_` before it; at least 24 bytes.
        delivery_header: The header with the sender's ID of a delivery, such as `x-github-delivery`: a second request
            with the same one starts nothing. By default `webhook-id` or `svix-id`, then `idempotency-key`. For signed
            requests it is always `webhook-id` or `svix-id`, which is signed.
        max_body_bytes: Longest body that is read. What is kept of a request holds its body twice, parsed and as text,
            and platforms have a limit of their own: 1 MiB unless they are told another.

    Raises:
        DefinitionError: There is no secret, or both kinds, the limit is below 1, or the header is none that can be
            relied upon.
    """
    source = caller_source()
    where = f"The incoming_webhook_trigger at {source}"
    _check_secrets(where, "path_secrets", path_secrets)
    _check_secrets(where, "signing_secrets", signing_secrets)
    check_annotation(where, "body", body)
    check_type(where, "max_body_bytes", max_body_bytes, int, "max_body_bytes=1024 * 1024")
    check_type(where, "delivery_header", delivery_header, (str, NoneType), 'delivery_header="x-github-delivery"')
    if bool(path_secrets) == bool(signing_secrets):
        raise DefinitionError(
            f"{where} takes path_secrets= or signing_secrets=, such as "
            'signing_secrets=[secret("SHOP_WEBHOOK_SECRET")]: anybody could send to it otherwise.'
        )
    if max_body_bytes < 1:
        raise DefinitionError(f"{where} takes max_body_bytes of at least 1.")
    if delivery_header is not None and not _HEADER.fullmatch(delivery_header.lower()):
        raise DefinitionError(f"{where}: {delivery_header!r} is no name of a header.")
    if delivery_header is not None and signing_secrets:
        raise DefinitionError(
            f"{where} takes no delivery_header= with signing_secrets=: the signature covers webhook-id alone."
        )
    return IncomingWebhookTrigger(
        body=body,
        path_secrets=path_secrets,
        signing_secrets=signing_secrets,
        delivery_header=None if delivery_header is None else delivery_header.lower(),
        max_body_bytes=max_body_bytes,
    )


def _check_secrets(where: str, name: str, given: object) -> None:
    """Refuse what is not a list of secrets, in words that don't show it: it may be a secret itself."""
    if not isinstance(given, Sequence) or not all(isinstance(one, SecretRef | SecretStr) for one in given):
        raise DefinitionError(f'{where} takes {name}= as a list of secrets: {name}=[secret("SHOP_WEBHOOK_SECRET")].')


class ResolverExecutedTrigger(Trigger[ResolverExecutedArgs[O]]):
    """The end of a resolver's body. Made by `resolver_executed_trigger`."""

    kind = "resolver-executed"

    def __init__(self, resolver: Resolver[Any, O]) -> None:
        self.resolver = resolver
        self._codec: JsonCodec[ResolverExecutedArgs[O]] = JsonCodec(ResolverExecutedArgs[resolver.output])  # type: ignore[name-defined]  # chosen at run time

    @property
    def detail(self) -> str:
        return self.resolver.name

    def read(self, text: str, *, accepted: bool = False) -> ResolverExecutedArgs[O]:
        return self._codec.load_accepted(text) if accepted else self._codec.load(text)

    def problems(self, app: Registry) -> Sequence[str]:
        resolver = self.resolver
        if app.resolvers.get(resolver.name) is not resolver:
            return [f"waits for resolver {resolver.name!r}, which is not in define_app(resolvers=[...])"]
        if resolver.publish_events is False:
            return [f"waits for resolver {resolver.name!r}, which has publish_events=False ({resolver.source})"]
        try:
            obstacles = self._codec.obstacles()
        except (PydanticUserError, PydanticUndefinedAnnotation):  # a type of Strawberry's, found when it is published
            return []
        return [
            f"waits for resolver {resolver.name!r}, whose result is lost: {one.place or 'it'} {one.reason}: "
            f"{one.instead}"
            for one in obstacles
        ]


def resolver_executed_trigger(resolver: Resolver[Any, O]) -> Trigger[ResolverExecutedArgs[O]]:
    """Wait for the end of a resolver's body, whether it succeeds or fails.

    A request whose input is refused does not run the body, and is no event. The event is kept before the client is
    answered.

    Args:
        resolver: Of the same app, and without `publish_events=False`.

    Raises:
        DefinitionError: It is not a resolver.
    """
    where = f"The resolver_executed_trigger at {caller_source()}"
    check_type(where, "resolver", resolver, Resolver, "what create_resolver(...) makes")
    return ResolverExecutedTrigger(resolver)


class RecordTrigger(Trigger[A]):
    """A change of a record. Made by `record_created_trigger` and its like.

    Attributes:
        model: The mapped class; its subclasses count.
    """

    event: ClassVar[Literal["created", "updated", "deleted"]]

    def __init__(self, model: type[Any], source: Source) -> None:
        self.model = model
        self._mapper = _mapper_of(model, f"record_{self.event}_trigger", source)
        if problems := self._column_problems():
            raise DefinitionError([f"{problem} ({source})" for problem in problems])

    @property
    def detail(self) -> str:
        return self.model.__name__

    def subscription(self, executor_name: str) -> Subscription:
        """What a database is to listen for."""
        from gqlplugin.database.record_changes import Subscription  # noqa: PLC0415 - only where there is SQLAlchemy

        return Subscription(self.model, self.event, executor_name)

    def problems(self, app: Registry) -> Sequence[str]:
        if not app.databases:
            wants = "define_app(databases=[define_database(...)])"
            return [f"waits for changes of {self.model.__name__}, and the app has no database: {wants}"]
        return [f"waits for changes of a record that can't be told of: {one}" for one in self._column_problems()]

    def _column_problems(self) -> list[str]:
        from gqlplugin.database.record_changes import column_problems  # noqa: PLC0415 - only where there is SQLAlchemy

        return [problem for mapper in self._mapper.self_and_descendants for problem in column_problems(mapper)]

    def _records(self, change: _Change) -> dict[str, Any]:
        """Instances of the class that the change names, and what else it says."""
        from gqlplugin.database.record_changes import codec_of  # noqa: PLC0415 - only where there is SQLAlchemy

        codec = codec_of(self._mapper_named(change.type_name))
        records = {name: codec.load(json.dumps(values)) for name, values in change.records().items()}
        return {**records, **change.about()}

    def _mapper_named(self, name: str) -> Mapper[Any]:
        for mapper in self._mapper.self_and_descendants:
            if mapper.class_.__name__ == name:
                return mapper
        problem = PydanticCustomError("model_unknown", "There is no such model among {known}", {"known": self.detail})
        raise ValidationError.from_exception_data(
            self.detail, [InitErrorDetails(type=problem, loc=("type_name",), input=name)]
        )

    @abstractmethod
    def read(self, text: str, *, accepted: bool = False) -> A:
        """The arguments in a JSON text, with records that belong to no session."""


class _Change(BaseModel):
    """A change as it is kept, whatever is in its records."""

    type_name: str
    app_namespace: str = ""
    workspace_id: str = NIL_UUID

    def records(self) -> Mapping[str, JsonValue]:
        return {name: getattr(self, name) for name in type(self).model_fields if name.endswith("_record")}

    def about(self) -> Mapping[str, str]:
        return {name: getattr(self, name) for name in _Change.model_fields}


class _Created(_Change):
    new_record: dict[str, JsonValue]


class _Updated(_Change):
    new_record: dict[str, JsonValue]
    old_record: dict[str, JsonValue]


class _Deleted(_Change):
    old_record: dict[str, JsonValue]


class _RecordCreatedTrigger(RecordTrigger[RecordCreatedArgs[R]], Generic[R]):
    kind = "record-created"
    event = "created"

    def read(self, text: str, *, accepted: bool = False) -> RecordCreatedArgs[R]:
        del accepted
        return RecordCreatedArgs(**self._records(_Created.model_validate_json(text)))


class _RecordUpdatedTrigger(RecordTrigger[RecordUpdatedArgs[R]], Generic[R]):
    kind = "record-updated"
    event = "updated"

    def read(self, text: str, *, accepted: bool = False) -> RecordUpdatedArgs[R]:
        del accepted
        return RecordUpdatedArgs(**self._records(_Updated.model_validate_json(text)))


class _RecordDeletedTrigger(RecordTrigger[RecordDeletedArgs[R]], Generic[R]):
    kind = "record-deleted"
    event = "deleted"

    def read(self, text: str, *, accepted: bool = False) -> RecordDeletedArgs[R]:
        del accepted
        return RecordDeletedArgs(**self._records(_Deleted.model_validate_json(text)))


def record_created_trigger(model: type[R]) -> Trigger[RecordCreatedArgs[R]]:
    """Wait for new records of a model, and of its subclasses.

    ```python
    create_executor("order-created", trigger=record_created_trigger(Order), operation=...)
    ```

    The event is kept in the transaction that makes the change: it fires if and only if that commits, and the events of
    one record fire in their order. It is noticed in any SQLAlchemy session, on a database of the app, in a process in
    which the app runs. Bulk statements, SQL as text and other programs are not seen: `publish` tells of those.

    Args:
        model: A class that SQLAlchemy maps. All its columns are written as JSON: by the type in `Mapped[...]`, else by
            that of the column.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordCreatedTrigger(model, caller_source())


def record_updated_trigger(model: type[R]) -> Trigger[RecordUpdatedArgs[R]]:
    """Wait for records of a model, and of its subclasses, of which a column gets another value.

    `old_record` is what the session had loaded, completed from the database. The rest is as for
    `record_created_trigger`.

    Args:
        model: A class that SQLAlchemy maps.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordUpdatedTrigger(model, caller_source())


def record_deleted_trigger(model: type[R]) -> Trigger[RecordDeletedArgs[R]]:
    """Wait for records of a model, and of its subclasses, that are deleted.

    What the database deletes by itself (`ON DELETE CASCADE`) is not seen: `publish` tells of it. The rest is as for
    `record_created_trigger`.

    Args:
        model: A class that SQLAlchemy maps.

    Raises:
        DefinitionError: It is not a mapped class, or a column can't be written as JSON.
    """
    return _RecordDeletedTrigger(model, caller_source())


def _mapper_of(model: Any, trigger: str, source: Source) -> Mapper[Any]:
    try:
        import gqlplugin.database  # noqa: F401, PLC0415 - says what is missing without SQLAlchemy
    except ImportError as error:
        raise DefinitionError(f"The {trigger} at {source} can't be made: {error}") from error
    from sqlalchemy import inspect  # noqa: PLC0415 - as above
    from sqlalchemy.orm import Mapper  # noqa: PLC0415

    name = getattr(model, "__name__", repr(model))
    mapper: object = inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, Mapper):
        raise DefinitionError(
            f"The {trigger} at {source} takes a class that SQLAlchemy maps to a table with a primary key, such as one "
            f"with __tablename__, and {name} is none{' (it is abstract)' if _is_base(model) else ''}."
        )
    return mapper


def _is_base(model: object) -> bool:
    return hasattr(model, "metadata") and not hasattr(model, "__table__")
