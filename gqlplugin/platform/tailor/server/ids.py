"""Identifiers that follow from names, so that they need not be kept, and the form of those that clients send."""

from __future__ import annotations

import re

from gqlplugin.platform.base import id_of_names

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
