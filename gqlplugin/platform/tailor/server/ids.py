"""Identifiers that follow from names, so that they need not be kept, and the form of those that clients send."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f0b1d0e-5c0f-5d0b-9a53-0d4c6c1b7e21")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def workflow_id(app_name: str, workflow_name: str) -> str:
    """The ID of a workflow on every server of the app."""
    return _from_names("workflow", app_name, workflow_name)


def machine_user_id(namespace: str, name: str) -> str:
    """The ID of a machine user."""
    return _from_names("machine-user", namespace, name)


def client_id(namespace: str, name: str) -> str:
    """The ID under which a machine user asks for a token."""
    return _from_names("client", namespace, name)


def is_uuid(text: str) -> bool:
    """Whether this is a UUID in its usual form: braces and the like are not."""
    return _UUID.fullmatch(text) is not None


def _from_names(kind: str, owner: str, name: str) -> str:
    return str(uuid5(_NAMESPACE, f"{kind}/{owner}/{name}"))  # a name holds no slash, so no two pairs read the same
