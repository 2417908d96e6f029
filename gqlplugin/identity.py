"""Who starts a run, and as whom it runs (TAILOR.md section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

_EXECUTOR = "executor/"

NIL_UUID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class User:
    """The caller of an operation. `User()` is the anonymous caller, as the Tailor Platform shows one.

    Attributes:
        id: A stable identifier, unique among the callers of the app.
        type: "user", "machine_user", or "" for the anonymous caller.
        workspace_id: The workspace or tenant the caller belongs to.
        attributes: JSON values by name, such as roles; None for the anonymous caller.
        attribute_list: Identifiers of attributes, in the order the identity provider gives them.
    """

    id: str = NIL_UUID
    type: Literal["user", "machine_user", ""] = ""
    workspace_id: str = NIL_UUID
    attributes: Mapping[str, Any] | None = None
    attribute_list: tuple[str, ...] = ()

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is known to be calling."""
        return self.type == ""


def executor_user(executor_name: str) -> User:
    """Who starts the firings of an executor, and with them what the executor starts: nobody who can call."""
    return User(id=f"{_EXECUTOR}{executor_name}", type="machine_user", attributes={})


def is_executor_user(user: User) -> bool:
    """Whether a user has the ID of an executor: whoever calls with one is not to be taken for it."""
    return user.id.startswith(_EXECUTOR)


@dataclass(frozen=True, slots=True)
class AuthInvoker:
    """The machine user that a workflow runs as: a name within an auth namespace."""

    namespace: str
    machine_user_name: str


class InvokerFields(TypedDict):
    """An `AuthInvoker` as the Tailor Platform's functions take one, `{"namespace": ..., "machineUserName": ...}`."""

    namespace: str
    machineUserName: str


AnyInvoker: TypeAlias = AuthInvoker | str | InvokerFields
"""The machine user that something runs as: from `auth.invoker(...)`, its bare name, or namespace and name in a dict."""


@dataclass(frozen=True, slots=True)
class RunGrant:
    """What a run-scoped token lets its holder do, who is nobody known: read one run, and nothing else.

    Attributes:
        run_id: The run.
        may_cancel: Whether the holder may also cancel it.
    """

    run_id: str
    may_cancel: bool = False


@dataclass(frozen=True, slots=True)
class MachineUser:
    """A user that is not a person: its name, and what it may be told apart by."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def dump_user(user: User) -> str:
    """A user as JSON text, to keep."""
    if user is _ANONYMOUS or user == _ANONYMOUS:
        return _ANONYMOUS_TEXT
    attributes = None if user.attributes is None else dict(user.attributes)
    return _dump([user.id, user.type, user.workspace_id, attributes, user.attribute_list])


def load_user(text: str) -> User:
    """The user that `dump_user` made a text of."""
    if text == _ANONYMOUS_TEXT:
        return _ANONYMOUS
    id_, type_, workspace_id, attributes, attribute_list = json.loads(text)
    return User(id_, type_, workspace_id, attributes, tuple(attribute_list))


def dump_invoker(invoker: AuthInvoker | None) -> str | None:
    """An invoker as JSON text, to keep; None stays None."""
    return None if invoker is None else _dump([invoker.namespace, invoker.machine_user_name])


def load_invoker(text: str | None) -> AuthInvoker | None:
    """The invoker that `dump_invoker` made a text of."""
    return None if text is None else AuthInvoker(*json.loads(text))


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))  # ASCII, which every database can keep


_ANONYMOUS = User()
_ANONYMOUS_TEXT = _dump([_ANONYMOUS.id, "", _ANONYMOUS.workspace_id, None, []])
