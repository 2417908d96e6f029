"""Who starts a run, and as whom it runs (TAILOR.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True)
class AuthInvoker:
    """The machine user that a workflow runs as: a name within an auth namespace."""

    namespace: str
    machine_user_name: str


@dataclass(frozen=True, slots=True)
class MachineUser:
    """A user that is not a person: its name, and what it may be told apart by."""

    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
