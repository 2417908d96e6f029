"""What conditions and operations get, by the kind of trigger (TAILOR.md section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from gqlplugin.identity import NIL_UUID

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
